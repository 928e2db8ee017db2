/* The audio thread: one loop, in which libpulse works, and which also waits for the event channels
 * and runs the streams' clocks. Except for pure computation, the code in this folder runs in that
 * thread, or in another thread that holds its lock.
 *
 * If something needs a decision by Python, the engine writes to one eventfd. Python then checks
 * each stream.
 */
#ifndef XENSND_ENGINE_H
#define XENSND_ENGINE_H

#include <pulse/pulseaudio.h>
#include <stdbool.h>
#include <stdint.h>

#include "schedule.h"

struct xn_engine;

/* Returns NULL if the thread cannot be started. */
struct xn_engine *xn_engine_new(void);

/* Free everything that uses the engine first. */
void xn_engine_free(struct xn_engine *engine);

/* Returns a descriptor that becomes readable when Python has something to decide; Python clears it.
 * The engine owns it. */
int xn_engine_wake_fd(const struct xn_engine *engine);

/* Returns how often the thread has woken since it began. */
uint64_t xn_engine_wakeups(const struct xn_engine *engine);

void xn_engine_lock(struct xn_engine *engine);
void xn_engine_unlock(struct xn_engine *engine);
pa_mainloop_api *xn_engine_api(struct xn_engine *engine);

/* What libpulse is given to wait for its server: see struct xn_loop_server. */
struct xn_loop_server;
pa_mainloop_api *xn_engine_server_api(struct xn_engine *engine);
void xn_engine_add_server(struct xn_engine *engine, struct xn_loop_server *server);
void xn_engine_remove_server(struct xn_engine *engine, struct xn_loop_server *server);
void xn_engine_end_rest(struct xn_engine *engine);

void xn_engine_wake_python(struct xn_engine *engine);

/* Returns a place for what the clients of one kind of audio server share. */
void **xn_engine_shared(struct xn_engine *engine);

int64_t xn_now_usec(void);

void xn_engine_add_task(struct xn_engine *engine, struct xn_task *task);
void xn_engine_remove_task(struct xn_engine *engine, struct xn_task *task);

/* Runs the task in this window: see schedule.h. */
void xn_engine_schedule(struct xn_engine *engine, struct xn_task *task, struct xn_window window);

#endif
