/* A mainloop over epoll, with the interface that libpulse's functions want. The engine's thread
 * turns it.
 *
 * libpulse has a mainloop of its own. It writes to a pipe and reads from it twice for each packet
 * that it sends, and its poll() takes longer with each guest that has a channel. Here a packet costs
 * no more than its own system calls, and idle descriptors cost nothing.
 *
 * Everything is called under the engine's lock, which xn_loop_turn() gives up while it waits. What
 * others change meanwhile takes effect at once. The memory of an event that was freed is kept until
 * the end of the turn, since the kernel may have reported it already. Free an event before you close
 * its descriptor.
 */
#ifndef XENSND_LOOP_H
#define XENSND_LOOP_H

#include <pthread.h>
#include <pulse/pulseaudio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "schedule.h"

/* So many descriptors are served in one turn. Where more are ready, epoll lets them alternate. */
#define XN_LOOP_READY_MAX 64

struct xn_loop_event;

/* A connection to a server. The loop rests while at least one of them is fed and no other one waits:
 * then it does not wake for their descriptors, and reads them when it has woken for something else. Who
 * says that a server is fed has a task that runs before it is not. */
enum xn_loop_need { XN_LOOP_NEEDS_NOTHING, XN_LOOP_IS_FED, XN_LOOP_WAITS };
struct xn_loop_server {
    struct xn_loop_server *next;
    enum xn_loop_need (*need)(void *owner); /* asked before each rest */
    void *owner;
};

struct xn_loop {
    pa_mainloop_api api;
    pa_mainloop_api server_api; /* the same, for the descriptors of servers */
    struct xn_loop_server *servers;
    struct xn_schedule schedule;
    pthread_mutex_t *lock;
    int epoll_fd, wake_fd;
    int resting_epoll_fd; /* without the descriptors of servers */
    bool waits, rests;
    int64_t waits_until_usec;
    struct xn_loop_event *events; /* of all kinds */
    bool has_freed;               /* some of them were freed in this turn */
    pa_defer_event *defer_events;
    unsigned deferred; /* so many of these are enabled */
    struct epoll_event ready[XN_LOOP_READY_MAX];
};

/* Returns false if it gets no file descriptors. Free it in any case. */
bool xn_loop_init(struct xn_loop *loop, pthread_mutex_t *lock);

/* Free all that uses it first. */
void xn_loop_free(struct xn_loop *loop);

/* Waits for a descriptor, or for the latest time of the schedule. Then calls what is ready, what is
 * due, and what is deferred, also what these have deferred. */
void xn_loop_turn(struct xn_loop *loop);

void xn_loop_add_server(struct xn_loop *loop, struct xn_loop_server *server);
void xn_loop_remove_server(struct xn_loop *loop, struct xn_loop_server *server);

/* Ends the rest, if there is one: a server is not fed any more. */
void xn_loop_end_rest(struct xn_loop *loop);

/* Ends the waiting, unless it lasts no longer than up to this time anyway. */
void xn_loop_wake_by(struct xn_loop *loop, int64_t usec);

#endif
