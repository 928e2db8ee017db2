#include "engine.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

struct xn_engine {
    pthread_t thread;
    pthread_mutex_t mutex; /* held by the thread, except while it waits */
    bool ends;
    struct xn_loop loop;
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

static void *run(void *data) {
    struct xn_engine *engine = data;
    pthread_setname_np(pthread_self(), "xensnd-core");
    pthread_mutex_lock(&engine->mutex);
    while (!engine->ends) {
        xn_loop_turn(&engine->loop);
        engine->wakeups++;
    }
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
    bool has_mutex = init_mutex(&engine->mutex);
    bool has_loop = xn_loop_init(&engine->loop, &engine->mutex);
    if (engine->wake_fd >= 0 && has_mutex && has_loop && start_thread(engine)) return engine;
    xn_loop_free(&engine->loop);
    if (has_mutex) pthread_mutex_destroy(&engine->mutex);
    if (engine->wake_fd >= 0) close(engine->wake_fd);
    free(engine);
    return NULL;
}

void xn_engine_free(struct xn_engine *engine) {
    xn_engine_lock(engine);
    engine->ends = true;
    xn_loop_wake_by(&engine->loop, 0);
    xn_engine_unlock(engine);
    pthread_join(engine->thread, NULL);
    xn_loop_free(&engine->loop);
    pthread_mutex_destroy(&engine->mutex);
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

pa_mainloop_api *xn_engine_api(struct xn_engine *engine) { return &engine->loop.api; }

pa_mainloop_api *xn_engine_server_api(struct xn_engine *engine) {
    return &engine->loop.server_api;
}

void xn_engine_add_server(struct xn_engine *engine, struct xn_loop_server *server) {
    xn_loop_add_server(&engine->loop, server);
}

void xn_engine_remove_server(struct xn_engine *engine, struct xn_loop_server *server) {
    xn_loop_remove_server(&engine->loop, server);
}

void xn_engine_end_rest(struct xn_engine *engine) { xn_loop_end_rest(&engine->loop); }

void xn_engine_add_task(struct xn_engine *engine, struct xn_task *task) {
    xn_schedule_add(&engine->loop.schedule, task);
}

void xn_engine_remove_task(struct xn_engine *engine, struct xn_task *task) {
    xn_schedule_remove(&engine->loop.schedule, task);
}

void xn_engine_schedule(struct xn_engine *engine, struct xn_task *task, struct xn_window window) {
    xn_schedule_set(task, window);
    xn_loop_wake_by(&engine->loop, window.until_usec);
}
