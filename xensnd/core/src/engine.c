#include "engine.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct xn_engine {
    pa_threaded_mainloop *mainloop;
    pa_mainloop_api *api;
    /* A timerfd, since each change of libpulse's own time events wakes its mainloop. */
    int timer_fd;
    pa_io_event *timer_io;
    int64_t timer_due_usec;
    struct xn_task *tasks;
    bool running_tasks; /* the timer is set after all have run */
    int wake_fd;
    uint64_t wakeups;
    void *shared;
};

int64_t xn_now_usec(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void set_timer(struct xn_engine *engine) {
    int64_t due_usec = XN_NEVER;
    for (struct xn_task *task = engine->tasks; task; task = task->next)
        if (task->due_usec < due_usec) due_usec = task->due_usec;
    if (due_usec == engine->timer_due_usec) return;
    engine->timer_due_usec = due_usec;
    struct itimerspec at = {0}; /* zero: never */
    if (due_usec != XN_NEVER) {
        at.it_value.tv_sec = due_usec / 1000000;
        at.it_value.tv_nsec = due_usec % 1000000 * 1000 + 1; /* zero would disarm it */
    }
    (void)timerfd_settime(engine->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void run_tasks(pa_mainloop_api *api, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                      void *data) {
    (void)api, (void)event, (void)flags;
    struct xn_engine *engine = data;
    uint64_t expirations;
    (void)!read(fd, &expirations, sizeof expirations);
    int64_t now_usec = xn_now_usec();
    engine->wakeups++;
    engine->timer_due_usec = XN_NEVER;
    engine->running_tasks = true;
    for (struct xn_task *task = engine->tasks, *next; task; task = next) {
        next = task->next;
        if (task->due_usec > now_usec) continue;
        task->due_usec = XN_NEVER;
        task->run(task->owner, now_usec);
    }
    engine->running_tasks = false;
    set_timer(engine);
}

struct xn_engine *xn_engine_new(void) {
    struct xn_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return NULL;
    engine->timer_due_usec = XN_NEVER;
    engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    engine->mainloop = pa_threaded_mainloop_new();
    if (engine->wake_fd < 0 || engine->timer_fd < 0 || !engine->mainloop) goto failed;
    pa_threaded_mainloop_set_name(engine->mainloop, "xensnd-core");
    engine->api = pa_threaded_mainloop_get_api(engine->mainloop);
    engine->timer_io = engine->api->io_new(engine->api, engine->timer_fd, PA_IO_EVENT_INPUT,
                                           run_tasks, engine);
    if (pa_threaded_mainloop_start(engine->mainloop) == 0) return engine;
failed:
    if (engine->mainloop) pa_threaded_mainloop_free(engine->mainloop);
    if (engine->wake_fd >= 0) close(engine->wake_fd);
    if (engine->timer_fd >= 0) close(engine->timer_fd);
    free(engine);
    return NULL;
}

void xn_engine_free(struct xn_engine *engine) {
    pa_threaded_mainloop_stop(engine->mainloop);
    engine->api->io_free(engine->timer_io);
    pa_threaded_mainloop_free(engine->mainloop);
    close(engine->wake_fd);
    close(engine->timer_fd);
    free(engine);
}

int xn_engine_wake_fd(const struct xn_engine *engine) { return engine->wake_fd; }
uint64_t xn_engine_wakeups(const struct xn_engine *engine) { return engine->wakeups; }
void xn_engine_lock(struct xn_engine *engine) { pa_threaded_mainloop_lock(engine->mainloop); }
void xn_engine_unlock(struct xn_engine *engine) { pa_threaded_mainloop_unlock(engine->mainloop); }
pa_mainloop_api *xn_engine_api(struct xn_engine *engine) { return engine->api; }
void xn_engine_count_wakeup(struct xn_engine *engine) { engine->wakeups++; }
void **xn_engine_shared(struct xn_engine *engine) { return &engine->shared; }
void xn_engine_wake_python(struct xn_engine *engine) { (void)eventfd_write(engine->wake_fd, 1); }

void xn_engine_add_task(struct xn_engine *engine, struct xn_task *task) {
    task->due_usec = XN_NEVER;
    task->next = engine->tasks;
    engine->tasks = task;
}

void xn_engine_remove_task(struct xn_engine *engine, struct xn_task *task) {
    for (struct xn_task **at = &engine->tasks; *at; at = &(*at)->next) {
        if (*at != task) continue;
        *at = task->next;
        return;
    }
}

void xn_engine_schedule(struct xn_engine *engine, struct xn_task *task, int64_t due_usec) {
    task->due_usec = due_usec;
    /* The timer is set earlier here, but not later: a task that is postponed again and again would
     * cost a system call each time. */
    if (due_usec < engine->timer_due_usec && !engine->running_tasks) set_timer(engine);
}
