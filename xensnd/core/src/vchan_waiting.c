#include "vchan_waiting.h"

#include <stdlib.h>
#include <string.h>

#include "schedule.h"
#include "vchan_stream.h"

bool xn_vchan_waiting_init(struct xn_vchan_waiting *waiting) {
    return xn_queue_init(&waiting->queue, XN_VCHAN_WAITING_OCTETS / XN_VCHAN_FRAME_OCTETS,
                         XN_VCHAN_FRAME_OCTETS);
}

void xn_vchan_waiting_free(struct xn_vchan_waiting *waiting) { xn_queue_free(&waiting->queue); }

static void wipe(struct xn_vchan_waiting *waiting) {
    memset(waiting->queue.data, 0, waiting->queue.size);
}

uint32_t xn_vchan_waiting_keep(struct xn_vchan_waiting *waiting, const struct xn_gate *gate,
                               const uint8_t *from, uint32_t octets, int64_t now_usec) {
    struct xn_queue *queue = &waiting->queue;
    /* The count comes first: if the gate is closed after that, it is another one. */
    xn_vchan_waiting_follow(waiting, gate);
    bool is_kept = from && xn_gate_is_open(gate, now_usec);
    uint32_t waits = xn_queue_fill(queue), done = octets > queue->size ? octets - queue->size : 0;
    uint32_t room = queue->size - waits, dropped = done;
    if (waits == 0) waiting->since_usec = now_usec;
    if (octets - done > room) {
        xn_queue_drop(queue, octets - done - room);
        dropped += octets - done - room;
    }
    while (done < octets) {
        uint32_t part = octets - done;
        void *to = xn_queue_room(queue, &part);
        if (is_kept)
            memcpy(to, from + done, part);
        else
            memset(to, 0, part);
        xn_queue_commit(queue, part);
        done += part;
    }
    return dropped;
}

void xn_vchan_waiting_follow(struct xn_vchan_waiting *waiting, const struct xn_gate *gate) {
    uint32_t closings = xn_gate_closings(gate);
    if (closings == waiting->closings) return;
    wipe(waiting);
    waiting->closings = closings;
}

uint32_t xn_vchan_waiting_trim(struct xn_vchan_waiting *waiting, uint32_t most, int64_t now_usec) {
    uint32_t octets = xn_queue_fill(&waiting->queue);
    if (octets <= most || now_usec < waiting->since_usec + XN_VCHAN_WAITING_USEC) return 0;
    xn_queue_drop(&waiting->queue, octets - most);
    return octets - most;
}

void xn_vchan_waiting_clear(struct xn_vchan_waiting *waiting) {
    uint32_t octets = xn_queue_fill(&waiting->queue);
    if (octets == 0) return;
    wipe(waiting);
    xn_queue_drop(&waiting->queue, octets);
}

int64_t xn_vchan_waiting_due_usec(const struct xn_vchan_waiting *waiting, int64_t now_usec) {
    int64_t due_usec = waiting->since_usec + XN_VCHAN_WAITING_USEC;
    bool is_due = xn_queue_fill(&waiting->queue) > 0 && now_usec < due_usec;
    return is_due ? due_usec : XN_NEVER;
}
