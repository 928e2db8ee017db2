/* Decides whether microphone data may be copied into a guest's buffer. The engine checks the gate
 * before each part that it copies. Any thread can close it, without the engine's lock, and it
 * closes by itself at its deadline. While it is closed, the guest gets silence.
 *
 * It is open as long as the stream is allowed, in either direction. Of playback it says only whether
 * START and STOP may be served before Python has seen them: see backend_trigger.c.
 */
#ifndef XENSND_GATE_H
#define XENSND_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* The most octets copied between two checks. */
#define XN_GATE_OCTETS 4096u

struct xn_gate {
    int64_t until_usec; /* monotonic; the gate is open until then. 0: closed */
    bool is_crossed;    /* a part is being copied */
    uint32_t closings;  /* how often it was closed */
};

/* Opens the gate until `until_usec`; INT64_MAX: without a deadline. */
void xn_gate_open(struct xn_gate *gate, int64_t until_usec);

/* Closes the gate, and waits for a part that is being copied. After it returns, no data passes. */
void xn_gate_close(struct xn_gate *gate);

/* The same, if the gate may be crossed in another process, which may hang. Returns false if a part is
 * still being copied after `usec`: end that process. */
bool xn_gate_close_within(struct xn_gate *gate, int64_t usec);

/* Returns whether it is open: the stream is allowed, and the decision still holds. It may be closed
 * at any moment after that. */
bool xn_gate_is_open(const struct xn_gate *gate, int64_t now_usec);

/* Returns true if one part may be copied now; xn_gate_leave() must follow. */
bool xn_gate_enter(struct xn_gate *gate, int64_t now_usec);
void xn_gate_leave(struct xn_gate *gate);

/* Returns how often it was closed. What was recorded before the last time must not pass, even if the
 * gate is open again. */
uint32_t xn_gate_closings(const struct xn_gate *gate);

#endif
