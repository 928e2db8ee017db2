/* How often one frontend may notify: a hundred times in ten milliseconds. One that rings more often
 * is not listened to before that window ends, and one that does so without end has broken the rules.
 */
#ifndef XENSND_THROTTLE_H
#define XENSND_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

struct xn_throttle {
    int64_t window_usec; /* when the window began */
    unsigned notifications;
    unsigned storms; /* windows on end that had too many */
    bool closed;     /* until the window ends */
};

/* To be called before anything else is asked, whenever time has passed. True: a window has ended
 * that was closed; the frontend may be listened to again. */
bool xn_throttle_advance(struct xn_throttle *throttle, int64_t now_usec);

/* Counts a notification. False: that was one too many, do not listen until the window ends. */
bool xn_throttle_admits(struct xn_throttle *throttle);

/* Whether it has gone on for so long that it is no misfortune. */
bool xn_throttle_is_storm(const struct xn_throttle *throttle);

/* When the window ends; INT64_MAX: it is not closed. */
int64_t xn_throttle_ends_usec(const struct xn_throttle *throttle);

#endif
