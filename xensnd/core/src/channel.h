/* One end of an event channel, as the transport hands it over: something to poll, a way to clear
 * it, a way to notify the peer. Plain eventfds unless the transport brings functions of its own.
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
