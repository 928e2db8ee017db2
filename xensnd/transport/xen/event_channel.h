/* One end of a Xen event channel, with a descriptor of its own, so that it can be polled by itself.
 *
 * The functions that open one return NULL and set errno on failure. The others may be called in any
 * thread.
 */
#ifndef XENSND_EVENT_CHANNEL_H
#define XENSND_EVENT_CHANNEL_H

#include <stdint.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xentoollog.h>

struct xn_event_channel;

/* Allocates a port that `domid` may bind. */
struct xn_event_channel *xn_event_channel_allocate(uint32_t domid);

/* Binds a port that `domid` has allocated for us. An event is pending when this returns, since Xen
 * keeps no event from before. */
struct xn_event_channel *xn_event_channel_bind(uint32_t domid, uint32_t remote_port);

/* The channel of this port that another process has opened. Owns the descriptor. */
struct xn_event_channel *xn_event_channel_adopt(int fd, uint32_t port);

void xn_event_channel_close(struct xn_event_channel *channel);

int xn_event_channel_fd(const struct xn_event_channel *channel);
uint32_t xn_event_channel_port(const struct xn_event_channel *channel);

/* Functions for struct xn_channel of the core. Return 0 or a negative errno. */
int xn_event_channel_clear(void *channel);
int xn_event_channel_notify(void *channel);

/* A logger for Xen's libraries that drops every message: a guest that offers invalid grants must
 * not fill our log. The errors are in errno. */
extern struct xentoollog_logger xn_silence;

#endif
