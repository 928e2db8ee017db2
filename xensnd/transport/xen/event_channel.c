#include "event_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>

struct xn_event_channel {
    xenevtchn_handle *handle;
    evtchn_port_t port;
};

static void drop_message(struct xentoollog_logger *logger, xentoollog_level level, int error,
                        const char *context, const char *format, va_list arguments) {
    (void)logger, (void)level, (void)error, (void)context, (void)format, (void)arguments;
}

static void keep_logger(struct xentoollog_logger *logger) { (void)logger; }

struct xentoollog_logger xn_silence = {.vmessage = drop_message, .destroy = keep_logger};

static struct xn_event_channel *open_unbound(void) {
    struct xn_event_channel *channel = calloc(1, sizeof *channel);
    if (!channel) return NULL;
    channel->handle = xenevtchn_open(&xn_silence, 0);
    if (!channel->handle) {
        free(channel);
        return NULL;
    }
    int fd = xenevtchn_fd(channel->handle);
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0) return channel;
    xn_event_channel_close(channel);
    return NULL;
}

/* Notes the port that binding gave. If it failed, closes the channel and returns NULL, with errno
 * as binding set it. */
static struct xn_event_channel *bound(struct xn_event_channel *channel,
                                      xenevtchn_port_or_error_t port) {
    if (port >= 0) {
        channel->port = (evtchn_port_t)port;
        return channel;
    }
    int error = errno;
    xn_event_channel_close(channel);
    errno = error;
    return NULL;
}

struct xn_event_channel *xn_event_channel_allocate(uint32_t domid) {
    struct xn_event_channel *channel = open_unbound();
    return channel ? bound(channel, xenevtchn_bind_unbound_port(channel->handle, domid)) : NULL;
}

struct xn_event_channel *xn_event_channel_bind(uint32_t domid, uint32_t remote_port) {
    struct xn_event_channel *channel = open_unbound();
    if (!channel) return NULL;
    return bound(channel, xenevtchn_bind_interdomain(channel->handle, domid, remote_port));
}

struct xn_event_channel *xn_event_channel_adopt(int fd, uint32_t port) {
    struct xn_event_channel *channel = calloc(1, sizeof *channel);
    if (!channel) return NULL;
    channel->port = port;
    channel->handle = xenevtchn_fdopen(&xn_silence, fd, 0);
    /* A process that used it before may have ended between an event and unmasking. */
    if (channel->handle) (void)xenevtchn_unmask(channel->handle, channel->port);
    if (channel->handle) return channel;
    free(channel);
    return NULL;
}

void xn_event_channel_close(struct xn_event_channel *channel) {
    (void)xenevtchn_close(channel->handle);
    free(channel);
}

int xn_event_channel_fd(const struct xn_event_channel *channel) {
    return xenevtchn_fd(channel->handle);
}

uint32_t xn_event_channel_port(const struct xn_event_channel *channel) { return channel->port; }

/* The port has been masked since its event. The caller checks the ring after this, so an event in
 * between is seen there or makes the descriptor readable again. */
int xn_event_channel_clear(void *data) {
    struct xn_event_channel *channel = data;
    xenevtchn_port_or_error_t port = xenevtchn_pending(channel->handle);
    if (port < 0) return errno == EAGAIN ? 0 : -errno;
    return xenevtchn_unmask(channel->handle, (evtchn_port_t)port) == 0 ? 0 : -errno;
}

int xn_event_channel_notify(void *data) {
    struct xn_event_channel *channel = data;
    return xenevtchn_notify(channel->handle, channel->port) == 0 ? 0 : -errno;
}
