#include "budget.h"

#include <stdlib.h>

/* Approximate costs on a CPU of ten years ago: of one wakeup, in which ring, clock and audio server
 * are checked and the peer is notified; and of answering one request. */
#define WAKEUP_NSEC 5000
#define REQUEST_NSEC 100

/* A twentieth of one core. By this estimate, a stream of the smallest period (64 frames at 48 kHz)
 * whose frontend waits for each answer uses 0.4 % of a core, and a desktop's stream with periods of
 * 10 ms 0.05 %. */
#define ENGINE_NSEC_A_SECOND 50000000
/* More than one for each frame of a playback stream and a capture stream at 48 kHz. */
#define REQUESTS_A_SECOND 100000
/* Unused budget is kept for so long. It suffices to fill a new buffer, even by WRITEs of one
 * frame. */
#define KEPT_USEC 500000

#define USUAL_PERCENT 100

/* Control requests are counted in thousandths. Fewer are kept than Python keeps, who counts them a
 * little later. */
#define CONTROL_REQUEST INT64_C(1000)
#define CONTROL_A_SECOND (XN_CONTROL_REQUESTS_A_SECOND * CONTROL_REQUEST)

#define PAUSE_MIN_USEC 10000
#define PAUSE_MAX_USEC (PAUSE_MIN_USEC << 8)
/* After so long within its budget, a guest's next pause is the shortest again. */
#define FORGIVEN_USEC 1000000

void xn_budget_init(struct xn_budget *budget) {
    *budget = (struct xn_budget){
        .percent = USUAL_PERCENT, .refilled_usec = -KEPT_USEC, .resumes_usec = -FORGIVEN_USEC};
}

struct xn_budget *xn_budget_new(void) {
    struct xn_budget *budget = malloc(sizeof *budget);
    if (budget) xn_budget_init(budget);
    return budget;
}

void xn_budget_free(struct xn_budget *budget) { free(budget); }

void xn_budget_set_percent(struct xn_budget *budget, unsigned percent) {
    __atomic_store_n(&budget->percent, percent, __ATOMIC_RELAXED);
}

/* Counters are written only under the engine's lock, and read without it. */
static void add(uint64_t *counter, uint64_t count) {
    __atomic_store_n(counter, *counter + count, __ATOMIC_RELAXED);
}

static uint64_t read(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }

void xn_budget_stats(const struct xn_budget *budget, struct xn_budget_stats *stats) {
    *stats = (struct xn_budget_stats){
        .requests = read(&budget->stats.requests),
        .refused = read(&budget->stats.refused),
        .notifications = read(&budget->stats.notifications),
        .engine_usec = read(&budget->engine_nsec) / 1000,
        .pauses = read(&budget->stats.pauses),
        .paused_usec = read(&budget->stats.paused_usec),
    };
}

bool xn_budget_is_open(const struct xn_budget *budget, int64_t now_usec) {
    return now_usec >= budget->resumes_usec;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t share_of(int64_t a_second, unsigned percent) {
    return a_second / USUAL_PERCENT * percent;
}

static int64_t refilled(int64_t left, int64_t a_second, int64_t kept, int64_t usec) {
    return smaller(left + a_second / 1000 * usec / 1000, kept);
}

static int64_t kept_of(int64_t a_second) { return a_second / 1000 * KEPT_USEC / 1000; }

static int64_t control_kept_of(int64_t a_second) { return a_second * 4 / 5; }

static void refill(struct xn_budget *budget, int64_t now_usec) {
    /* Whole milliseconds, so that no fraction of a request is lost. */
    int64_t usec = (now_usec - budget->refilled_usec) / 1000 * 1000;
    if (usec <= 0) return;
    budget->refilled_usec += usec;
    usec = smaller(usec, 2 * KEPT_USEC); /* more makes no difference */
    unsigned percent = __atomic_load_n(&budget->percent, __ATOMIC_RELAXED);
    int64_t requests = share_of(REQUESTS_A_SECOND, percent);
    int64_t engine_nsec = share_of(ENGINE_NSEC_A_SECOND, percent);
    int64_t control = share_of(CONTROL_A_SECOND, percent);
    budget->requests_left = refilled(budget->requests_left, requests, kept_of(requests), usec);
    budget->engine_nsec_left =
        refilled(budget->engine_nsec_left, engine_nsec, kept_of(engine_nsec), usec);
    budget->control_left = refilled(budget->control_left, control, control_kept_of(control), usec);
}

bool xn_budget_charge_control(struct xn_budget *budget, int64_t now_usec, bool opens) {
    refill(budget, now_usec);
    int64_t cost = (opens ? XN_OPEN_COUNTS_AS : 1) * CONTROL_REQUEST;
    budget->control_left = larger(budget->control_left - cost, -control_kept_of(CONTROL_A_SECOND));
    return budget->control_left >= 0;
}

static enum xn_verdict pause(struct xn_budget *budget, int64_t now_usec) {
    bool goes_on = now_usec - budget->resumes_usec < FORGIVEN_USEC;
    if (goes_on && budget->pause_usec >= PAUSE_MAX_USEC) return XN_OVER_FOR_TOO_LONG;
    budget->pause_usec = goes_on ? 2 * budget->pause_usec : PAUSE_MIN_USEC;
    budget->resumes_usec = now_usec + budget->pause_usec;
    add(&budget->stats.pauses, 1);
    add(&budget->stats.paused_usec, (uint64_t)budget->pause_usec);
    return XN_OVER_BUDGET;
}

enum xn_verdict xn_budget_charge(struct xn_budget *budget, int64_t now_usec, bool woken,
                                 unsigned requests, unsigned refused) {
    int64_t cost_nsec = (woken ? WAKEUP_NSEC : 0) + (int64_t)requests * REQUEST_NSEC;
    refill(budget, now_usec);
    budget->requests_left -= requests;
    budget->engine_nsec_left -= cost_nsec;
    add(&budget->stats.requests, requests);
    add(&budget->stats.refused, refused);
    add(&budget->stats.notifications, woken);
    add(&budget->engine_nsec, (uint64_t)cost_nsec);
    if (budget->requests_left >= 0 && budget->engine_nsec_left >= 0) return XN_WITHIN_BUDGET;
    return pause(budget, now_usec);
}
