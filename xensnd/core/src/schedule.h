/* What has to run when, and how late it may run. A wakeup that comes anyway in that time serves, so
 * that tasks share wakeups with one another, and with what the audio server and the guests cause.
 *
 * Pure computation: no system calls, no allocation, no locks.
 */
#ifndef XENSND_SCHEDULE_H
#define XENSND_SCHEDULE_H

#include <stdint.h>

#define XN_NEVER INT64_MAX

/* When something has to happen, on the monotonic clock: at the earliest and at the latest. */
struct xn_window {
    int64_t from_usec, until_usec;
};

static const struct xn_window xn_never = {XN_NEVER, XN_NEVER};

/* Returns the window for what serves both: it is the first for either. */
struct xn_window xn_window_of_both(struct xn_window a, struct xn_window b);

/* A function to be run at some time. Its owner embeds this structure. */
struct xn_task {
    struct xn_task *next;
    struct xn_window window; /* xn_never: not scheduled */
    void (*run)(void *owner, int64_t now_usec);
    void *owner;
};

struct xn_schedule {
    struct xn_task *tasks;
};

void xn_schedule_add(struct xn_schedule *schedule, struct xn_task *task);
void xn_schedule_remove(struct xn_schedule *schedule, struct xn_task *task);

/* Lets the task run once, in this window. */
void xn_schedule_set(struct xn_task *task, struct xn_window window);

/* Returns when somebody has to call xn_schedule_run() at the latest; XN_NEVER: no task is
 * scheduled. */
int64_t xn_schedule_latest_usec(const struct xn_schedule *schedule);

/* Runs each task that is due, which may set or remove itself. */
void xn_schedule_run(struct xn_schedule *schedule, int64_t now_usec);

#endif
