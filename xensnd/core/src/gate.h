/* Whether octets of a microphone may cross into a guest's buffer. The engine asks before each part
 * that it copies; any thread closes it, without the engine's lock, and a deadline does so without
 * any thread. Closed, the guest gets silence.
 */
#ifndef XENSND_GATE_H
#define XENSND_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* As much is copied at most between one question and the next. */
#define XN_GATE_OCTETS 4096u

struct xn_gate {
    int64_t until_usec; /* monotonic; before it the gate is open. 0: it is closed */
    bool is_crossed;    /* a part is being copied */
};

/* INT64_MAX: without a deadline. */
void xn_gate_open(struct xn_gate *gate, int64_t until_usec);

/* Waits for the part that is being copied, if one is. When it returns, nothing crosses any more. */
void xn_gate_close(struct xn_gate *gate);

/* True: one part may be copied now, and then xn_gate_leave(). */
bool xn_gate_enter(struct xn_gate *gate, int64_t now_usec);
void xn_gate_leave(struct xn_gate *gate);

#endif
