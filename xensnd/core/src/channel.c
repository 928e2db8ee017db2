#include "channel.h"

#include <sys/eventfd.h>

/* Errors are ignored: notifying fails only if the peer is gone, which the store reports. */

void xn_channel_clear(const struct xn_channel *channel) {
    eventfd_t count;
    if (channel->context) {
        (void)channel->clear(channel->context);
    } else {
        (void)eventfd_read(channel->wait_fd, &count);
    }
}

void xn_channel_notify(const struct xn_channel *channel) {
    if (channel->context) {
        (void)channel->notify(channel->context);
    } else {
        (void)eventfd_write(channel->notify_fd, 1);
    }
}
