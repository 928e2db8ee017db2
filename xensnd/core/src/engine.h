/* The thread that sound lives in: libpulse's threaded mainloop, which also polls the event
 * channels and runs the streams' clocks. Everything in this folder that is not pure bookkeeping
 * runs in that thread, or in another one that holds its lock.
 *
 * Python learns from one eventfd that something needs a decision, and then asks each stream.
 */
#ifndef XENSND_ENGINE_H
#define XENSND_ENGINE_H

#include <pulse/pulseaudio.h>
#include <stdbool.h>
#include <stdint.h>

struct xn_engine;

/* Something that wants to run again at a time. Its owner embeds it. */
struct xn_task {
    struct xn_task *next;
    int64_t due_usec; /* monotonic; XN_NEVER: not wanted */
    void (*run)(void *owner, int64_t now_usec);
    void *owner;
};

#define XN_NEVER INT64_MAX

/* NULL if the thread cannot be started. */
struct xn_engine *xn_engine_new(void);

/* Everything that belongs to the engine was freed before. */
void xn_engine_free(struct xn_engine *engine);

/* Readable when Python is wanted; Python clears it. Owned by the engine. */
int xn_engine_wake_fd(const struct xn_engine *engine);

/* How often the thread has woken, since it began. */
uint64_t xn_engine_wakeups(const struct xn_engine *engine);

void xn_engine_lock(struct xn_engine *engine);
void xn_engine_unlock(struct xn_engine *engine);
pa_mainloop_api *xn_engine_api(struct xn_engine *engine);
void xn_engine_count_wakeup(struct xn_engine *engine);
void xn_engine_wake_python(struct xn_engine *engine);

int64_t xn_now_usec(void);

void xn_engine_add_task(struct xn_engine *engine, struct xn_task *task);
void xn_engine_remove_task(struct xn_engine *engine, struct xn_task *task);

/* Run the task at `due_usec`. Tasks of one time share a wakeup. */
void xn_engine_schedule(struct xn_engine *engine, struct xn_task *task, int64_t due_usec);

#endif
