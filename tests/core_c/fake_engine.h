/* The engine, its loop and an audio server for tests of the backend: one thread, a clock
 * that a test advances, and a server that asks for data when a test wants it.
 */
#ifndef FAKE_ENGINE_H
#define FAKE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"
#include "engine.h"

/* Starts again: no tasks, no polled channel, no server. */
struct xn_engine *fake_engine_new(void);

extern int64_t fake_now_usec;
extern unsigned fake_python_wakeups;
extern unsigned fake_locked; /* how often the engine's lock was taken */

/* Every second wakeup for a task is late by this. */
extern int64_t fake_jitter_usec;

/* Advances the clock, and wakes for tasks when it has to. Returns how often it has woken. */
unsigned fake_pass_usec(int64_t usec);

/* Returns when it has to wake for a task; XN_NEVER: it has not. */
int64_t fake_next_due_usec(void);

/* Wakes for another reason, as the functions below do: runs the tasks that may run now. */
void fake_wake(void);

/* A channel that counts its calls. */
struct fake_channel {
    unsigned notified;
    unsigned cleared;
    unsigned last; /* which of all channels' notifications its last one was */
};
struct xn_channel fake_channel_end(struct fake_channel *channel);

/* Notifies the channel as the peer does. Returns true if the backend polled it and has run.
 * Otherwise the event is kept until the channel is polled. */
bool fake_arrive(void);
bool fake_is_polled(void);

/* The audio server: its latency (-1: it is not known), that which the stream made last was to have,
 * and whether it has failed. */
extern int64_t fake_latency_usec;
extern uint32_t fake_asked_latency_usec;
extern bool fake_server_failed;
bool fake_is_attached(void);
bool fake_is_running(void); /* uncorked */
extern uint32_t fake_had_when_started; /* what it had been given when it was uncorked */

/* Lets the server ask for so much, and takes what it is given. Returns the octets. */
uint32_t fake_server_asks(uint32_t octets);
void fake_server_records(const void *from, uint32_t octets);

/* So much of what it was given the server plays already. */
extern uint32_t fake_server_plays;

/* After it was given all that it wanted, the server wants so much more at once: it never has
 * enough. */
extern uint32_t fake_server_wants_again;

/* It plays so much of what is written over unchanged. */
extern uint32_t fake_server_keeps;

/* Whether it takes more than it asks for, and whether the stream has said that it has enough. */
extern bool fake_server_takes_ahead, fake_is_fed;

/* What the server was given last, at its offset modulo this. */
#define FAKE_SERVER_HAS 65536
extern uint8_t fake_server_has[FAKE_SERVER_HAS];

/* Returns the greatest depth of the stack when the server was asked or given something. */
uintptr_t fake_deepest_stack(void);

#endif
