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

struct xn_loop {
    pa_mainloop_api api;
    struct xn_schedule schedule;
    pthread_mutex_t *lock;
    int epoll_fd, wake_fd;
    bool waits;
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

/* Ends the waiting, unless it lasts no longer than up to this time anyway. */
void xn_loop_wake_by(struct xn_loop *loop, int64_t usec);

#endif
