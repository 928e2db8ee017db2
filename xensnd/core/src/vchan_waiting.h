/* Recordings for which the guest's ring has no room yet: the audio server may be late, and then gives
 * more at once than a small ring holds. They wait until the guest has read, and are in order.
 *
 * So much may wait at first. But who has not read after a moment hears what it reads late, so then
 * the oldest is dropped. If the gate is closed, what waits is wiped, and becomes silence.
 */
#ifndef XENSND_VCHAN_WAITING_H
#define XENSND_VCHAN_WAITING_H

#include "gate.h"
#include "sample_queue.h"

#define XN_VCHAN_WAITING_OCTETS 16384u /* 93 ms */
/* A guest that is woken reads within this. */
#define XN_VCHAN_WAITING_USEC 20000

struct xn_vchan_waiting {
    struct xn_queue queue;
    int64_t since_usec; /* since when something waits */
    uint32_t closings;  /* how often the gate had been closed when it was recorded */
};

/* Returns false if there is no memory. */
bool xn_vchan_waiting_init(struct xn_vchan_waiting *waiting);
void xn_vchan_waiting_free(struct xn_vchan_waiting *waiting);

/* Keeps it behind what waits already; silence, if the gate is closed or `from` is NULL. The oldest
 * makes room for it. Returns how much of that was dropped. */
uint32_t xn_vchan_waiting_keep(struct xn_vchan_waiting *waiting, const struct xn_gate *gate,
                               const uint8_t *from, uint32_t octets, int64_t now_usec);

/* Makes it silence, if the gate was closed since it was recorded. */
void xn_vchan_waiting_follow(struct xn_vchan_waiting *waiting, const struct xn_gate *gate);

/* Drops the oldest, if something has waited for long and there is more than `most`. Returns the
 * octets. */
uint32_t xn_vchan_waiting_trim(struct xn_vchan_waiting *waiting, uint32_t most, int64_t now_usec);

/* Wipes and drops all. */
void xn_vchan_waiting_clear(struct xn_vchan_waiting *waiting);

/* Returns when it has to be trimmed. */
int64_t xn_vchan_waiting_due_usec(const struct xn_vchan_waiting *waiting, int64_t now_usec);

#endif
