#include "engine.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Tasks that are due within this time run at once, so that streams share wakeups. */
#define TOGETHER_USEC 500

struct xn_engine {
    pa_threaded_mainloop *mainloop;
    pa_mainloop_api *api;
    pa_time_event *timer;
    int64_t timer_due_usec;
    struct xn_task *tasks;
    int wake_fd;
    uint64_t wakeups;
};

int64_t xn_now_usec(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void set_timer(struct xn_engine *engine, int64_t due_usec) {
    engine->timer_due_usec = due_usec;
    if (due_usec == XN_NEVER) {
        engine->api->time_restart(engine->timer, NULL);
        return;
    }
    int64_t wait_usec = due_usec - xn_now_usec();
    struct timeval at;
    pa_gettimeofday(&at);
    pa_timeval_add(&at, wait_usec > 0 ? (pa_usec_t)wait_usec : 0);
    engine->api->time_restart(engine->timer, &at);
}

static void run_tasks(pa_mainloop_api *api, pa_time_event *event, const struct timeval *at,
                      void *data) {
    (void)api, (void)event, (void)at;
    struct xn_engine *engine = data;
    int64_t now_usec = xn_now_usec();
    engine->wakeups++;
    engine->timer_due_usec = XN_NEVER;
    for (struct xn_task *task = engine->tasks, *next; task; task = next) {
        next = task->next;
        if (task->due_usec > now_usec + TOGETHER_USEC) continue;
        task->due_usec = XN_NEVER;
        task->run(task->owner, now_usec);
    }
    int64_t due_usec = XN_NEVER;
    for (struct xn_task *task = engine->tasks; task; task = task->next)
        if (task->due_usec < due_usec) due_usec = task->due_usec;
    set_timer(engine, due_usec);
}

struct xn_engine *xn_engine_new(void) {
    struct xn_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return NULL;
    engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->mainloop = pa_threaded_mainloop_new();
    if (engine->wake_fd < 0 || !engine->mainloop) goto failed;
    pa_threaded_mainloop_set_name(engine->mainloop, "xensnd-core");
    engine->api = pa_threaded_mainloop_get_api(engine->mainloop);
    struct timeval never = {0};
    engine->timer = engine->api->time_new(engine->api, &never, run_tasks, engine);
    set_timer(engine, XN_NEVER);
    if (pa_threaded_mainloop_start(engine->mainloop) == 0) return engine;
failed:
    if (engine->mainloop) pa_threaded_mainloop_free(engine->mainloop);
    if (engine->wake_fd >= 0) close(engine->wake_fd);
    free(engine);
    return NULL;
}

void xn_engine_free(struct xn_engine *engine) {
    pa_threaded_mainloop_stop(engine->mainloop);
    engine->api->time_free(engine->timer);
    pa_threaded_mainloop_free(engine->mainloop);
    close(engine->wake_fd);
    free(engine);
}

int xn_engine_wake_fd(const struct xn_engine *engine) { return engine->wake_fd; }
uint64_t xn_engine_wakeups(const struct xn_engine *engine) { return engine->wakeups; }
void xn_engine_lock(struct xn_engine *engine) { pa_threaded_mainloop_lock(engine->mainloop); }
void xn_engine_unlock(struct xn_engine *engine) { pa_threaded_mainloop_unlock(engine->mainloop); }
pa_mainloop_api *xn_engine_api(struct xn_engine *engine) { return engine->api; }
void xn_engine_count_wakeup(struct xn_engine *engine) { engine->wakeups++; }
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
    if (due_usec < engine->timer_due_usec) set_timer(engine, due_usec);
}
