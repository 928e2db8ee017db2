#include "schedule.h"

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

struct xn_window xn_window_of_both(struct xn_window a, struct xn_window b) {
    return (struct xn_window){earlier(a.from_usec, b.from_usec),
                              earlier(a.until_usec, b.until_usec)};
}

void xn_schedule_add(struct xn_schedule *schedule, struct xn_task *task) {
    task->window = xn_never;
    task->next = schedule->tasks;
    schedule->tasks = task;
}

void xn_schedule_remove(struct xn_schedule *schedule, struct xn_task *task) {
    for (struct xn_task **at = &schedule->tasks; *at; at = &(*at)->next) {
        if (*at != task) continue;
        *at = task->next;
        return;
    }
}

void xn_schedule_set(struct xn_task *task, struct xn_window window) { task->window = window; }

int64_t xn_schedule_latest_usec(const struct xn_schedule *schedule) {
    int64_t latest_usec = XN_NEVER;
    for (const struct xn_task *task = schedule->tasks; task; task = task->next)
        latest_usec = earlier(latest_usec, task->window.until_usec);
    return latest_usec;
}

void xn_schedule_run(struct xn_schedule *schedule, int64_t now_usec) {
    for (struct xn_task *task = schedule->tasks, *next; task; task = next) {
        next = task->next;
        if (task->window.from_usec > now_usec) continue;
        task->window = xn_never;
        task->run(task->owner, now_usec);
    }
}
