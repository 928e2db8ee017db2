/* The work that one guest may cause in the audio thread, with all its streams: a number of requests
 * and an amount of engine time a second, and a burst. A guest over its budget is paused: none of
 * its channels is polled for a while. Its sound goes on meanwhile, as far as it has written it.
 * While the guest stays over its budget, each pause is twice as long as the last, from 10 ms to
 * 2.56 s. If that does not help, it is a violation of the protocol.
 *
 * Engine time is estimated from what the guest did, not measured: a measurement would count against
 * the guest that the machine is emulated or busy.
 */
#ifndef XENSND_BUDGET_H
#define XENSND_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct xn_budget_stats { /* since the budget was made */
    uint64_t requests;      /* served, including those refused */
    uint64_t refused;       /* READ and WRITE outside the buffer, or with no open PCM */
    uint64_t notifications; /* wakeups of the engine that the guest caused */
    uint64_t engine_usec;   /* estimated */
    uint64_t pauses;        /* times that the guest went over its budget */
    uint64_t paused_usec;   /* length of these pauses, including the present one */
};

struct xn_budget {
    unsigned percent;      /* of the usual amount a second */
    int64_t refilled_usec; /* when the next three were last refilled */
    int64_t requests_left, engine_nsec_left; /* below zero: over budget */
    int64_t control_left; /* in thousandths of a request; below zero: Python has to see it first */
    int64_t pause_usec;    /* length of the last pause */
    int64_t resumes_usec;  /* end of the last pause */
    uint64_t engine_nsec;
    struct xn_budget_stats stats;
};

/* Control requests of a guest a second, and as how many of them an OPEN counts, since it maps a
 * buffer. Python lets those beyond it wait. */
#define XN_CONTROL_REQUESTS_A_SECOND 500
#define XN_OPEN_COUNTS_AS 20

/* Returns NULL if there is no memory. Free the streams that share it first. */
struct xn_budget *xn_budget_new(void);
void xn_budget_free(struct xn_budget *budget);
void xn_budget_init(struct xn_budget *budget);

/* May be called in any thread. `percent`: 1 to 1000. */
void xn_budget_set_percent(struct xn_budget *budget, unsigned percent);
void xn_budget_stats(const struct xn_budget *budget, struct xn_budget_stats *stats);

/* The functions below must be called under the engine's lock. */

/* Returns whether the guest is served now, that is, not paused. */
bool xn_budget_is_open(const struct xn_budget *budget, int64_t now_usec);

/* Charges a control request, which Python charges as well. Returns whether the guest has sent so few
 * of them that Python will admit this one too. */
bool xn_budget_charge_control(struct xn_budget *budget, int64_t now_usec, bool opens);

enum xn_verdict {
    XN_WITHIN_BUDGET,
    XN_OVER_BUDGET, /* a pause begins */
    XN_OVER_FOR_TOO_LONG,
};

/* Charges the work that was just done. `woken`: the guest woke the engine for it. */
enum xn_verdict xn_budget_charge(struct xn_budget *budget, int64_t now_usec, bool woken,
                                 unsigned requests, unsigned refused);

#endif
