/* One end of an event channel, as the transport provides it: a descriptor to poll, a way to clear
 * it, and a way to notify the peer. These are plain eventfds unless the transport supplies
 * functions.
 */
#ifndef XENSND_CHANNEL_H
#define XENSND_CHANNEL_H

#include <stdint.h>

struct xn_channel {
    int wait_fd;
    int notify_fd;
    void *context;                 /* NULL: both are eventfds */
    int (*clear)(void *context);   /* 0 or a negative errno */
    int (*notify)(void *context);
};

void xn_channel_clear(const struct xn_channel *channel);
void xn_channel_notify(const struct xn_channel *channel);

#endif
