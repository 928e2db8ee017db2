/* What one guest may make the audio thread do, with all its streams together: so many requests and
 * so much engine time a second, and a burst besides. A guest that wants more waits: none of its
 * channels is listened to for a while, which doubles as long as it goes on, from 10 ms to 2.56 s;
 * then it has broken the rules. Its sound goes on meanwhile, as far as it has written it.
 *
 * Engine time is reckoned from what the guest did, not measured: a machine that is emulated, or
 * busy with something else, makes no guest look greedy.
 */
#ifndef XENSND_BUDGET_H
#define XENSND_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct xn_budget_stats { /* since the budget was made */
    uint64_t requests;      /* served, those refused among them */
    uint64_t refused;       /* READ and WRITE outside the buffer, or without one */
    uint64_t notifications; /* wakeups of the engine that were the guest's doing */
    uint64_t engine_usec;   /* reckoned */
    uint64_t pauses;        /* how often it was over its budget */
    uint64_t paused_usec;   /* and for how long it has to wait for that, or had to */
};

struct xn_budget {
    int64_t refilled_usec; /* when what is left was reckoned */
    int64_t requests_left, engine_nsec_left; /* below zero: over budget */
    int64_t pause_usec;    /* the last pause's length, */
    int64_t resumes_usec;  /* and its end */
    uint64_t engine_nsec;
    struct xn_budget_stats stats;
};

/* NULL if there is no memory. The streams that share it are freed before it is. */
struct xn_budget *xn_budget_new(void);
void xn_budget_free(struct xn_budget *budget);
void xn_budget_init(struct xn_budget *budget);

/* From any thread. */
void xn_budget_stats(const struct xn_budget *budget, struct xn_budget_stats *stats);

/* The rest is the engine's, under its lock. */

/* Whether the guest is listened to now. */
bool xn_budget_is_open(const struct xn_budget *budget, int64_t now_usec);

enum xn_verdict {
    XN_WITHIN_BUDGET,
    XN_OVER_BUDGET, /* a pause begins */
    XN_OVER_FOR_TOO_LONG,
};

/* Charges what was done for the guest just now. `woken`: the guest woke the engine for it. */
enum xn_verdict xn_budget_charge(struct xn_budget *budget, int64_t now_usec, bool woken,
                                 unsigned requests, unsigned refused);

#endif
