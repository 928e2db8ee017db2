/* The engine, libpulse's mainloop and an audio server for tests of backend.c: one thread, a clock
 * that stands still until a test lets time pass, and a server that asks when a test says so.
 */
#ifndef FAKE_ENGINE_H
#define FAKE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"
#include "engine.h"

/* Everything from the start: no tasks, nothing polled, no server. */
struct xn_engine *fake_engine_new(void);

extern int64_t fake_now_usec;
extern unsigned fake_python_wakeups;
extern unsigned fake_locked; /* how often the engine's lock was taken */

/* How late each run of a task is: 0, 1, 0, 1, ... times this. */
extern int64_t fake_jitter_usec;

/* Runs what becomes due. */
void fake_pass_usec(int64_t usec);

/* When the next task is due; XN_NEVER: none. */
int64_t fake_next_due_usec(void);

/* A channel that counts what it is told to do. */
struct fake_channel {
    unsigned notified;
    unsigned cleared;
};
struct xn_channel fake_channel_end(struct fake_channel *channel);

/* The peer notifies. True: somebody polled and has run; else it is kept until somebody does. */
bool fake_arrive(void);
bool fake_is_polled(void);

/* The audio server: how far behind it says it is (-1: it cannot say), and whether it failed. */
extern int64_t fake_latency_usec;
extern bool fake_server_failed;
bool fake_is_attached(void);
bool fake_is_running(void); /* uncorked */

/* It asks for so much, and takes what it is given. Returns octets. */
uint32_t fake_server_asks(uint32_t octets);
void fake_server_records(const void *from, uint32_t octets);

/* It wants so much more whenever it was given all that it wanted: a server that never has enough. */
extern uint32_t fake_server_wants_again;

/* What it was given last, modulo this. */
#define FAKE_SERVER_HAS 65536
extern uint8_t fake_server_has[FAKE_SERVER_HAS];

/* How far the stack had grown, at most, when the server was asked or given something. */
uintptr_t fake_deepest_stack(void);

#endif
