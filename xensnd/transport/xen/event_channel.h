/* One end of an event channel of Xen, on a descriptor of its own so that it can be polled alone.
 *
 * The calls that open one return NULL with errno set. The rest may be called in any thread.
 */
#ifndef XENSND_EVENT_CHANNEL_H
#define XENSND_EVENT_CHANNEL_H

#include <stdint.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xentoollog.h>

struct xn_event_channel;

/* A new port that `domid` may bind. */
struct xn_event_channel *xn_event_channel_allocate(uint32_t domid);

/* Bound to a port that `domid` has allocated for us. It has fired once when this returns, since
 * Xen keeps no event that came before. */
struct xn_event_channel *xn_event_channel_bind(uint32_t domid, uint32_t remote_port);

/* The channel of this port that another process has opened. Owns the descriptor. */
struct xn_event_channel *xn_event_channel_adopt(int fd, uint32_t port);

void xn_event_channel_close(struct xn_event_channel *channel);

int xn_event_channel_fd(const struct xn_event_channel *channel);
uint32_t xn_event_channel_port(const struct xn_event_channel *channel);

/* As struct xn_channel of the core wants them: 0, or a negative errno. */
int xn_event_channel_clear(void *channel);
int xn_event_channel_notify(void *channel);

/* For Xen's libraries: what a guest offers in vain must not fill our log. Their errno says it. */
extern struct xentoollog_logger xn_silence;

#endif
