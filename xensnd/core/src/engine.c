#include "engine.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct xn_engine {
    pthread_t thread;
    pthread_mutex_t mutex; /* held by the thread, except while it polls */
    bool ends;
    pa_mainloop *mainloop;
    struct xn_schedule schedule;
    bool polls;
    int64_t polls_until_usec;
    int wake_fd;
    uint64_t wakeups;
    void *shared;
};

int64_t xn_now_usec(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- the thread ----------------------------------------------------------------------------- */

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

/* Polls until the schedule needs a turn, which libpulse knows nothing of: its own time events have
 * only milliseconds, and each change of one wakes the mainloop. */
static int poll_unlocked(struct pollfd *fds, unsigned long count, int timeout_msec, void *data) {
    struct xn_engine *engine = data;
    int64_t now_usec = xn_now_usec();
    int64_t until_usec = xn_schedule_latest_usec(&engine->schedule);
    if (timeout_msec >= 0) until_usec = earlier(until_usec, now_usec + 1000 * (int64_t)timeout_msec);
    int64_t left_usec = until_usec > now_usec ? until_usec - now_usec : 0;
    struct timespec timeout = {left_usec / 1000000, left_usec % 1000000 * 1000};
    engine->polls_until_usec = until_usec;
    engine->polls = true;
    pthread_mutex_unlock(&engine->mutex);
    int result = ppoll(fds, count, until_usec == XN_NEVER ? NULL : &timeout, NULL);
    pthread_mutex_lock(&engine->mutex);
    engine->polls = false;
    engine->wakeups++;
    return result;
}

static void *run(void *data) {
    struct xn_engine *engine = data;
    pthread_setname_np(pthread_self(), "xensnd-core");
    pthread_mutex_lock(&engine->mutex);
    while (!engine->ends && pa_mainloop_iterate(engine->mainloop, 1, NULL) >= 0)
        xn_schedule_run(&engine->schedule, xn_now_usec());
    pthread_mutex_unlock(&engine->mutex);
    return NULL;
}

static bool init_mutex(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes) != 0) return false;
    /* Whoever holds it works for the audio thread, and as urgently. */
    (void)pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    int error = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return error == 0;
}

/* Signals are for the thread that Python runs in. */
static bool start_thread(struct xn_engine *engine) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&engine->thread, NULL, run, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

struct xn_engine *xn_engine_new(void) {
    struct xn_engine *engine = calloc(1, sizeof *engine);
    if (!engine) return NULL;
    engine->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->mainloop = pa_mainloop_new();
    bool has_mutex = init_mutex(&engine->mutex);
    if (engine->wake_fd >= 0 && engine->mainloop && has_mutex) {
        pa_mainloop_set_poll_func(engine->mainloop, poll_unlocked, engine);
        if (start_thread(engine)) return engine;
    }
    if (has_mutex) pthread_mutex_destroy(&engine->mutex);
    if (engine->mainloop) pa_mainloop_free(engine->mainloop);
    if (engine->wake_fd >= 0) close(engine->wake_fd);
    free(engine);
    return NULL;
}

void xn_engine_free(struct xn_engine *engine) {
    xn_engine_lock(engine);
    engine->ends = true;
    pa_mainloop_wakeup(engine->mainloop);
    xn_engine_unlock(engine);
    pthread_join(engine->thread, NULL);
    pthread_mutex_destroy(&engine->mutex);
    pa_mainloop_free(engine->mainloop);
    close(engine->wake_fd);
    free(engine);
}

/* ---- what others ask ------------------------------------------------------------------------ */

int xn_engine_wake_fd(const struct xn_engine *engine) { return engine->wake_fd; }
uint64_t xn_engine_wakeups(const struct xn_engine *engine) { return engine->wakeups; }
void **xn_engine_shared(struct xn_engine *engine) { return &engine->shared; }
void xn_engine_lock(struct xn_engine *engine) { pthread_mutex_lock(&engine->mutex); }
void xn_engine_unlock(struct xn_engine *engine) { pthread_mutex_unlock(&engine->mutex); }
void xn_engine_wake_python(struct xn_engine *engine) { (void)eventfd_write(engine->wake_fd, 1); }

pa_mainloop_api *xn_engine_api(struct xn_engine *engine) {
    return pa_mainloop_get_api(engine->mainloop);
}

void xn_engine_add_task(struct xn_engine *engine, struct xn_task *task) {
    xn_schedule_add(&engine->schedule, task);
}

void xn_engine_remove_task(struct xn_engine *engine, struct xn_task *task) {
    xn_schedule_remove(&engine->schedule, task);
}

void xn_engine_schedule(struct xn_engine *engine, struct xn_task *task, struct xn_window window) {
    xn_schedule_set(task, window);
    if (!engine->polls || window.until_usec >= engine->polls_until_usec) return;
    engine->polls_until_usec = window.until_usec;
    pa_mainloop_wakeup(engine->mainloop);
}
