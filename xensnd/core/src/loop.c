#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

/* The first member of each kind. */
struct xn_loop_event {
    struct xn_loop_event *next;
    struct xn_loop *loop;
    pa_mainloop_api *api; /* of these two, by which it was made; libpulse checks that */
    bool is_freed;
    void (*end)(struct xn_loop_event *); /* before its memory is freed */
    void *data;
};

struct pa_io_event {
    struct xn_loop_event base;
    int fd;
    bool is_servers;
    pa_io_event_flags_t flags;
    pa_io_event_cb_t run;
    pa_io_event_destroy_cb_t destroy;
};

struct pa_time_event {
    struct xn_loop_event base;
    struct xn_task task;
    struct timeval time;
    pa_time_event_cb_t run;
    pa_time_event_destroy_cb_t destroy;
};

struct pa_defer_event {
    struct xn_loop_event base;
    pa_defer_event *next;
    bool is_enabled;
    pa_defer_event_cb_t run;
    pa_defer_event_destroy_cb_t destroy;
};

/* ---- events of all kinds -------------------------------------------------------------------- */

/* libpulse expects no failure. Without memory it ends the process, here as in its own mainloop. */
static void *new_event(pa_mainloop_api *api, size_t octets, void (*end)(struct xn_loop_event *),
                       void *data) {
    struct xn_loop *loop = api->userdata;
    struct xn_loop_event *event = pa_xmalloc0(octets);
    *event = (struct xn_loop_event){
        .next = loop->events, .loop = loop, .api = api, .end = end, .data = data};
    loop->events = event;
    return event;
}

static void free_later(struct xn_loop_event *event) {
    event->is_freed = true;
    event->loop->has_freed = true;
}

static void reap(struct xn_loop *loop) {
    while (loop->has_freed) {
        loop->has_freed = false;
        for (struct xn_loop_event **at = &loop->events; *at;) {
            struct xn_loop_event *event = *at;
            if (!event->is_freed) {
                at = &event->next;
                continue;
            }
            *at = event->next;
            event->end(event);
            pa_xfree(event);
        }
    }
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static uint32_t to_epoll(pa_io_event_flags_t flags) {
    return (flags & PA_IO_EVENT_INPUT ? (uint32_t)EPOLLIN : 0) |
           (flags & PA_IO_EVENT_OUTPUT ? (uint32_t)EPOLLOUT : 0);
}

static pa_io_event_flags_t from_epoll(uint32_t events) {
    return (events & EPOLLIN ? PA_IO_EVENT_INPUT : 0) |
           (events & EPOLLOUT ? PA_IO_EVENT_OUTPUT : 0) |
           (events & EPOLLHUP ? PA_IO_EVENT_HANGUP : 0) |
           (events & EPOLLERR ? PA_IO_EVENT_ERROR : 0);
}

static void control(pa_io_event *event, int operation) {
    struct xn_loop *loop = event->base.loop;
    struct epoll_event wanted = {.events = to_epoll(event->flags), .data.ptr = event};
    if (epoll_ctl(loop->epoll_fd, operation, event->fd, &wanted) < 0) abort();
    if (event->is_servers) return;
    if (epoll_ctl(loop->resting_epoll_fd, operation, event->fd, &wanted) < 0) abort();
}

static void end_io(struct xn_loop_event *base) {
    pa_io_event *event = (pa_io_event *)base;
    if (event->destroy) event->destroy(base->api, event, base->data);
}

static pa_io_event *io_new(pa_mainloop_api *api, int fd, pa_io_event_flags_t flags,
                           pa_io_event_cb_t run, void *data) {
    pa_io_event *event = new_event(api, sizeof *event, end_io, data);
    event->fd = fd;
    event->is_servers = api == &event->base.loop->server_api;
    event->flags = flags;
    event->run = run;
    control(event, EPOLL_CTL_ADD);
    return event;
}

static void io_enable(pa_io_event *event, pa_io_event_flags_t flags) {
    if (event->flags == flags) return;
    event->flags = flags;
    control(event, EPOLL_CTL_MOD);
}

static void io_free(pa_io_event *event) {
    control(event, EPOLL_CTL_DEL);
    free_later(&event->base);
}

static void io_set_destroy(pa_io_event *event, pa_io_event_destroy_cb_t destroy) {
    event->destroy = destroy;
}

static void run_ready(struct xn_loop *loop, int count) {
    for (int i = 0; i < count; i++) {
        pa_io_event *event = loop->ready[i].data.ptr;
        if (!event || event->base.is_freed) continue; /* none: xn_loop_wake_by() */
        /* The kernel always reports the latter two. */
        pa_io_event_flags_t wanted = event->flags | PA_IO_EVENT_HANGUP | PA_IO_EVENT_ERROR;
        pa_io_event_flags_t flags = from_epoll(loop->ready[i].events) & wanted;
        if (flags) event->run(event->base.api, event, event->fd, flags, event->base.data);
    }
}

/* ---- times ---------------------------------------------------------------------------------- */

/* libpulse gives the time by the wall clock to every mainloop that is not its own. */
static int64_t to_monotonic_usec(const struct timeval *time) {
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    return xn_now_usec() + ((int64_t)time->tv_sec - wall.tv_sec) * 1000000 +
           ((int64_t)time->tv_usec - wall.tv_nsec / 1000);
}

static void on_time(void *owner, int64_t now_usec) {
    (void)now_usec;
    pa_time_event *event = owner;
    event->run(event->base.api, event, &event->time, event->base.data);
}

static void end_time(struct xn_loop_event *base) {
    pa_time_event *event = (pa_time_event *)base;
    xn_schedule_remove(&base->loop->schedule, &event->task);
    if (event->destroy) event->destroy(base->api, event, base->data);
}

static void time_restart(pa_time_event *event, const struct timeval *time) {
    xn_schedule_set(&event->task, xn_never);
    if (!time) return;
    event->time = *time;
    int64_t usec = to_monotonic_usec(time);
    xn_schedule_set(&event->task, (struct xn_window){usec, usec});
    xn_loop_wake_by(event->base.loop, usec);
}

static pa_time_event *time_new(pa_mainloop_api *api, const struct timeval *time,
                               pa_time_event_cb_t run, void *data) {
    pa_time_event *event = new_event(api, sizeof *event, end_time, data);
    event->run = run;
    event->task = (struct xn_task){.run = on_time, .owner = event};
    xn_schedule_add(&event->base.loop->schedule, &event->task);
    time_restart(event, time);
    return event;
}

static void time_free(pa_time_event *event) {
    xn_schedule_set(&event->task, xn_never);
    free_later(&event->base);
}

static void time_set_destroy(pa_time_event *event, pa_time_event_destroy_cb_t destroy) {
    event->destroy = destroy;
}

/* ---- deferred calls ------------------------------------------------------------------------- */

static void end_defer(struct xn_loop_event *base) {
    pa_defer_event *event = (pa_defer_event *)base, **at = &base->loop->defer_events;
    while (*at != event) at = &(*at)->next;
    *at = event->next;
    if (event->destroy) event->destroy(base->api, event, base->data);
}

static void defer_enable(pa_defer_event *event, int enable) {
    struct xn_loop *loop = event->base.loop;
    if (event->is_enabled == (enable != 0)) return;
    event->is_enabled = enable != 0;
    if (!enable) {
        loop->deferred--;
        return;
    }
    loop->deferred++;
    xn_loop_wake_by(loop, 0);
}

static pa_defer_event *defer_new(pa_mainloop_api *api, pa_defer_event_cb_t run, void *data) {
    struct xn_loop *loop = api->userdata;
    pa_defer_event *event = new_event(api, sizeof *event, end_defer, data);
    event->run = run;
    event->next = loop->defer_events;
    loop->defer_events = event;
    defer_enable(event, 1);
    return event;
}

static void defer_free(pa_defer_event *event) {
    defer_enable(event, 0);
    free_later(&event->base);
}

static void defer_set_destroy(pa_defer_event *event, pa_defer_event_destroy_cb_t destroy) {
    event->destroy = destroy;
}

/* Each once: what enables itself again has its next turn later. */
static void run_deferred(struct xn_loop *loop) {
    if (loop->deferred == 0) return;
    for (pa_defer_event *event = loop->defer_events; event; event = event->next)
        if (event->is_enabled) event->run(event->base.api, event, event->base.data);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void quit(pa_mainloop_api *api, int status) { (void)api, (void)status; }

/* The counter of wake_fd is never read: each write to it is reported once. */
static bool poll_wake_fd(struct xn_loop *loop, int epoll_fd) {
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLET};
    return epoll_fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &wanted) == 0;
}

bool xn_loop_init(struct xn_loop *loop, pthread_mutex_t *lock) {
    *loop = (struct xn_loop){
        .api = {.userdata = loop,
                .io_new = io_new,
                .io_enable = io_enable,
                .io_free = io_free,
                .io_set_destroy = io_set_destroy,
                .time_new = time_new,
                .time_restart = time_restart,
                .time_free = time_free,
                .time_set_destroy = time_set_destroy,
                .defer_new = defer_new,
                .defer_enable = defer_enable,
                .defer_free = defer_free,
                .defer_set_destroy = defer_set_destroy,
                .quit = quit},
        .lock = lock,
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
        .resting_epoll_fd = epoll_create1(EPOLL_CLOEXEC),
        .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
    };
    loop->server_api = loop->api;
    return loop->wake_fd >= 0 && poll_wake_fd(loop, loop->epoll_fd) &&
           poll_wake_fd(loop, loop->resting_epoll_fd);
}

void xn_loop_free(struct xn_loop *loop) {
    for (struct xn_loop_event *event = loop->events; event; event = event->next) free_later(event);
    reap(loop);
    if (loop->epoll_fd >= 0) close(loop->epoll_fd);
    if (loop->resting_epoll_fd >= 0) close(loop->resting_epoll_fd);
    if (loop->wake_fd >= 0) close(loop->wake_fd);
}

static bool may_rest(const struct xn_loop *loop) {
    bool is_one_fed = false;
    if (loop->deferred) return false;
    for (const struct xn_loop_server *server = loop->servers; server; server = server->next) {
        enum xn_loop_need need = server->need(server->owner);
        if (need == XN_LOOP_WAITS) return false;
        is_one_fed = is_one_fed || need == XN_LOOP_IS_FED;
    }
    return is_one_fed;
}

/* Returns how many descriptors are ready. */
static int wait_unlocked(struct xn_loop *loop, int epoll_fd, int64_t now_usec, int64_t until_usec) {
    int64_t left_usec = until_usec > now_usec ? until_usec - now_usec : 0;
    struct timespec timeout = {left_usec / 1000000, left_usec % 1000000 * 1000};
    loop->waits_until_usec = until_usec;
    loop->waits = true;
    pthread_mutex_unlock(loop->lock);
    int count = epoll_pwait2(epoll_fd, loop->ready, XN_LOOP_READY_MAX,
                             until_usec == XN_NEVER ? NULL : &timeout, NULL);
    if (count < 0 && errno != EINTR) abort(); /* or it would never wait again */
    pthread_mutex_lock(loop->lock);
    loop->waits = false;
    return count;
}

static int await_ready(struct xn_loop *loop) {
    int64_t now_usec = xn_now_usec();
    int64_t until_usec = loop->deferred ? 0 : xn_schedule_latest_usec(&loop->schedule);
    loop->rests = may_rest(loop);
    if (loop->rests) {
        (void)wait_unlocked(loop, loop->resting_epoll_fd, now_usec, until_usec);
        loop->rests = false;
        until_usec = 0;
    }
    return wait_unlocked(loop, loop->epoll_fd, now_usec, until_usec);
}

void xn_loop_turn(struct xn_loop *loop) {
    run_ready(loop, await_ready(loop));
    xn_schedule_run(&loop->schedule, xn_now_usec());
    run_deferred(loop);
    reap(loop);
}

void xn_loop_add_server(struct xn_loop *loop, struct xn_loop_server *server) {
    server->next = loop->servers;
    loop->servers = server;
}

void xn_loop_remove_server(struct xn_loop *loop, struct xn_loop_server *server) {
    for (struct xn_loop_server **at = &loop->servers; *at; at = &(*at)->next) {
        if (*at != server) continue;
        *at = server->next;
        return;
    }
}

void xn_loop_wake_by(struct xn_loop *loop, int64_t usec) {
    if (!loop->waits || usec >= loop->waits_until_usec) return;
    loop->waits_until_usec = usec;
    (void)eventfd_write(loop->wake_fd, 1);
}

void xn_loop_end_rest(struct xn_loop *loop) {
    if (loop->rests) xn_loop_wake_by(loop, 0);
}
