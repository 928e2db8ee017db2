#include "throttle.h"

#define WINDOW_USEC 10000
/* The smallest period, 64 frames of 48 kHz, needs 8. */
#define NOTIFICATIONS_A_WINDOW 100
#define STORMS_MAX 200

bool xn_throttle_advance(struct xn_throttle *throttle, int64_t now_usec) {
    if (now_usec - throttle->window_usec < WINDOW_USEC) return false;
    bool was_closed = throttle->closed;
    throttle->storms = was_closed ? throttle->storms + 1 : 0;
    throttle->window_usec = now_usec;
    throttle->notifications = 0;
    throttle->closed = false;
    return was_closed;
}

bool xn_throttle_admits(struct xn_throttle *throttle) {
    throttle->closed = ++throttle->notifications > NOTIFICATIONS_A_WINDOW;
    return !throttle->closed;
}

bool xn_throttle_is_storm(const struct xn_throttle *throttle) {
    return throttle->storms >= STORMS_MAX;
}

int64_t xn_throttle_ends_usec(const struct xn_throttle *throttle) {
    return throttle->closed ? throttle->window_usec + WINDOW_USEC : INT64_MAX;
}
