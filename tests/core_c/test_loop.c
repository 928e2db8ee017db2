/* The engine's mainloop, with the kernel's epoll: descriptors, times, deferred calls. */
#include "loop.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "engine.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct xn_loop loop;
static pa_mainloop_api *api;
static unsigned runs, destroyed;
static pa_io_event_flags_t reported;

int64_t xn_now_usec(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void begin(void) {
    runs = destroyed = 0;
    reported = PA_IO_EVENT_NULL;
    pthread_mutex_lock(&lock);
    CHECK(xn_loop_init(&loop, &lock));
    api = &loop.api;
}

static void end(void) {
    xn_loop_free(&loop);
    pthread_mutex_unlock(&lock);
}

static struct timeval in_usec(int64_t usec) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    usec += now.tv_nsec / 1000;
    return (struct timeval){.tv_sec = now.tv_sec + usec / 1000000, .tv_usec = usec % 1000000};
}

/* Lets a turn end although nothing is ready. */
static void turn_without_waiting(void) {
    CHECK_EQUAL(eventfd_write(loop.wake_fd, 1), 0);
    xn_loop_turn(&loop);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static void on_io(pa_mainloop_api *a, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                  void *data) {
    eventfd_t count;
    CHECK(a == api && event);
    reported = flags;
    runs++;
    if (data) api->io_free(*(pa_io_event **)data);
    if (flags & PA_IO_EVENT_INPUT) (void)eventfd_read(fd, &count);
}

static void on_io_destroyed(pa_mainloop_api *a, pa_io_event *event, void *data) {
    (void)a, (void)event, (void)data;
    destroyed++;
}

TEST(descriptor_that_is_ready_is_reported_while_it_is) {
    begin();
    int fd = eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE);
    api->io_new(api, fd, PA_IO_EVENT_INPUT, on_io, NULL);
    xn_loop_turn(&loop);
    CHECK_EQUAL(reported, PA_IO_EVENT_INPUT);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 2);
    turn_without_waiting();
    CHECK_EQUAL(runs, 2);
    end();
    close(fd);
}

TEST(only_what_was_asked_for_is_reported) {
    begin();
    int fd = eventfd(1, EFD_NONBLOCK);
    pa_io_event *event = api->io_new(api, fd, PA_IO_EVENT_NULL, on_io, NULL);
    turn_without_waiting();
    CHECK_EQUAL(runs, 0);
    api->io_enable(event, PA_IO_EVENT_OUTPUT);
    xn_loop_turn(&loop);
    CHECK_EQUAL(reported, PA_IO_EVENT_OUTPUT);
    api->io_enable(event, PA_IO_EVENT_INPUT);
    xn_loop_turn(&loop);
    CHECK_EQUAL(reported, PA_IO_EVENT_INPUT);
    end();
    close(fd);
}

TEST(hangup_is_reported_also_to_what_asks_for_nothing) {
    begin();
    int ends[2];
    CHECK_EQUAL(pipe(ends), 0);
    api->io_new(api, ends[0], PA_IO_EVENT_NULL, on_io, NULL);
    close(ends[1]);
    xn_loop_turn(&loop);
    CHECK_EQUAL(reported, PA_IO_EVENT_HANGUP);
    end();
    close(ends[0]);
}

TEST(what_another_call_has_freed_is_not_called) {
    begin();
    pa_io_event *events[2];
    int fds[2];
    for (unsigned i = 0; i < 2; i++) { /* whichever is called first frees the other one */
        fds[i] = eventfd(1, EFD_NONBLOCK);
        events[i] = api->io_new(api, fds[i], PA_IO_EVENT_INPUT, on_io, &events[1 - i]);
        api->io_set_destroy(events[i], on_io_destroyed);
    }
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 1);
    CHECK_EQUAL(destroyed, 1);
    end();
    CHECK_EQUAL(destroyed, 2);
    close(fds[0]);
    close(fds[1]);
}

/* ---- times ---------------------------------------------------------------------------------- */

static void on_time(pa_mainloop_api *a, pa_time_event *event, const struct timeval *time,
                    void *data) {
    (void)event, (void)time;
    CHECK(a == api);
    runs++;
    if (data) api->time_free(*(pa_time_event **)data);
}

TEST(time_is_waited_for_and_reported_once) {
    begin();
    int64_t begun_usec = xn_now_usec();
    struct timeval soon = in_usec(3000);
    api->time_new(api, &soon, on_time, NULL);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 1);
    CHECK(xn_now_usec() >= begun_usec + 2900); /* the two clocks are not read at once */
    turn_without_waiting();
    CHECK_EQUAL(runs, 1);
    end();
}

TEST(time_that_was_put_off_or_ended_is_not_reported) {
    begin();
    struct timeval now = in_usec(0), later = in_usec(3600 * INT64_C(1000000));
    pa_time_event *event = api->time_new(api, &now, on_time, NULL);
    api->time_restart(event, &later);
    turn_without_waiting();
    api->time_restart(event, NULL);
    turn_without_waiting();
    CHECK_EQUAL(runs, 0);
    api->time_restart(event, &now);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 1);
    end();
}

TEST(times_may_free_themselves) {
    begin();
    struct timeval now = in_usec(0);
    pa_time_event *first, *second;
    first = api->time_new(api, &now, on_time, &first);
    second = api->time_new(api, &now, on_time, &second);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 2);
    CHECK(!loop.schedule.tasks);
    end();
}

TEST(time_that_another_one_has_freed_is_not_reported) {
    begin();
    struct timeval now = in_usec(0);
    pa_time_event *first, *second; /* whichever is called first frees the other one */
    first = api->time_new(api, &now, on_time, &second);
    second = api->time_new(api, &now, on_time, &first);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 1);
    end();
}

/* ---- deferred calls ------------------------------------------------------------------------- */

static void on_deferred(pa_mainloop_api *a, pa_defer_event *event, void *data) {
    CHECK(a == api);
    if (++runs == 3 || data) api->defer_enable(event, 0);
}

TEST(deferred_call_is_made_in_each_turn_until_it_is_disabled) {
    begin();
    pa_defer_event *event = api->defer_new(api, on_deferred, NULL);
    for (unsigned turn = 1; turn <= 3; turn++) {
        xn_loop_turn(&loop); /* which does not wait */
        CHECK_EQUAL(runs, turn);
    }
    turn_without_waiting();
    CHECK_EQUAL(runs, 3);
    api->defer_free(event);
    turn_without_waiting();
    CHECK(!loop.defer_events && !loop.events);
    end();
}

static void on_io_that_defers(pa_mainloop_api *a, pa_io_event *event, int fd,
                              pa_io_event_flags_t flags, void *data) {
    on_io(a, event, fd, flags, NULL);
    api->defer_enable(data, 1);
}

TEST(what_a_descriptor_defers_is_called_in_the_same_turn) {
    begin();
    int fd = eventfd(1, EFD_NONBLOCK);
    pa_defer_event *deferred = api->defer_new(api, on_deferred, &runs);
    api->defer_enable(deferred, 0);
    api->io_new(api, fd, PA_IO_EVENT_INPUT, on_io_that_defers, deferred);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 2);
    end();
    close(fd);
}

/* ---- servers that may wait ------------------------------------------------------------------ */

static enum xn_loop_need needed(void *need) { return *(enum xn_loop_need *)need; }

static void on_servers_io(pa_mainloop_api *a, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                          void *data) {
    CHECK(a == &loop.server_api); /* libpulse ends the process if it is called by another one */
    on_io(api, event, fd, flags, data);
}

/* Makes two servers with these needs, and a descriptor of one of them that is ready. Returns it. */
static int begin_with_servers(enum xn_loop_need first, enum xn_loop_need second) {
    static enum xn_loop_need needs[2];
    static struct xn_loop_server servers[2];
    begin();
    needs[0] = first, needs[1] = second;
    for (unsigned i = 0; i < 2; i++) {
        servers[i] = (struct xn_loop_server){.need = needed, .owner = &needs[i]};
        xn_loop_add_server(&loop, &servers[i]);
    }
    int fd = eventfd(1, EFD_NONBLOCK);
    loop.server_api.io_new(&loop.server_api, fd, PA_IO_EVENT_INPUT, on_servers_io, NULL);
    return fd;
}

static struct xn_task due_task;
static unsigned runs_before;

static void on_due(void *owner, int64_t now_usec) {
    (void)owner, (void)now_usec;
    runs_before = runs;
}

/* Returns whether a turn waits for the time, and not for the server; and reads that first then. */
static bool rests_until_due(int64_t usec) {
    int64_t due_usec = xn_now_usec() + usec;
    due_task = (struct xn_task){.run = on_due};
    xn_schedule_add(&loop.schedule, &due_task);
    xn_schedule_set(&due_task, (struct xn_window){due_usec, due_usec});
    runs_before = 0;
    xn_loop_turn(&loop);
    bool rests = runs_before == 1;
    xn_schedule_remove(&loop.schedule, &due_task);
    CHECK_EQUAL(rests, xn_now_usec() >= due_usec);
    CHECK_EQUAL(runs, 1);
    return rests;
}

TEST(server_that_is_fed_is_read_when_the_loop_wakes_for_something_else) {
    int fd = begin_with_servers(XN_LOOP_IS_FED, XN_LOOP_NEEDS_NOTHING);
    CHECK(rests_until_due(5000));
    end();
    close(fd);
    fd = begin_with_servers(XN_LOOP_IS_FED, XN_LOOP_IS_FED);
    CHECK(rests_until_due(5000));
    end();
    close(fd);
}

enum { LONG_USEC = 10000000 };

TEST(server_is_read_at_once_if_one_waits_or_none_is_fed) {
    int fd = begin_with_servers(XN_LOOP_IS_FED, XN_LOOP_WAITS);
    CHECK(!rests_until_due(LONG_USEC));
    end();
    close(fd);
    fd = begin_with_servers(XN_LOOP_NEEDS_NOTHING, XN_LOOP_NEEDS_NOTHING);
    CHECK(!rests_until_due(LONG_USEC));
    end();
    close(fd);
}

TEST(guest_ends_the_rest) {
    int fd = begin_with_servers(XN_LOOP_IS_FED, XN_LOOP_NEEDS_NOTHING), guests = eventfd(1, 0);
    api->io_new(api, guests, PA_IO_EVENT_INPUT, on_io, NULL);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 2); /* both were read */
    end();
    close(fd);
    close(guests);
}

static void *feed_no_more(void *data) {
    pthread_mutex_lock(&lock);
    while (!loop.rests || !loop.waits) {
        pthread_mutex_unlock(&lock);
        usleep(100);
        pthread_mutex_lock(&lock);
    }
    CHECK(loop.waits_until_usec > 0);
    xn_loop_end_rest(&loop);
    CHECK_EQUAL(loop.waits_until_usec, 0);
    pthread_mutex_unlock(&lock);
    return data;
}

TEST(server_that_another_thread_finds_hungry_is_read_at_once) {
    int fd = begin_with_servers(XN_LOOP_IS_FED, XN_LOOP_NEEDS_NOTHING);
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, feed_no_more, NULL), 0);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 1);
    pthread_join(thread, NULL);
    end();
    close(fd);
}

/* ---- other threads -------------------------------------------------------------------------- */

static void *defer_something(void *data) {
    pthread_mutex_lock(&lock);
    while (!loop.waits) { /* it has not come so far */
        pthread_mutex_unlock(&lock);
        usleep(100);
        pthread_mutex_lock(&lock);
    }
    api->defer_enable(data, 1);
    pthread_mutex_unlock(&lock);
    return NULL;
}

TEST(call_that_another_thread_defers_ends_the_waiting) {
    begin();
    pthread_t thread;
    pa_defer_event *deferred = api->defer_new(api, on_deferred, &runs);
    api->defer_enable(deferred, 0);
    CHECK_EQUAL(pthread_create(&thread, NULL, defer_something, deferred), 0);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 1);
    pthread_join(thread, NULL);
    end();
}

static void *enable_something(void *data) {
    pthread_mutex_lock(&lock);
    while (!loop.waits) {
        pthread_mutex_unlock(&lock);
        usleep(100);
        pthread_mutex_lock(&lock);
    }
    api->io_enable(data, PA_IO_EVENT_INPUT);
    pthread_mutex_unlock(&lock);
    return NULL;
}

TEST(descriptor_that_another_thread_enables_is_waited_for_at_once) {
    begin();
    pthread_t thread;
    int fd = eventfd(1, EFD_NONBLOCK);
    pa_io_event *event = api->io_new(api, fd, PA_IO_EVENT_NULL, on_io, NULL);
    CHECK_EQUAL(pthread_create(&thread, NULL, enable_something, event), 0);
    xn_loop_turn(&loop);
    CHECK_EQUAL(runs, 1);
    pthread_join(thread, NULL);
    end();
    close(fd);
}
