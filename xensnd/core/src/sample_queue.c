#include "sample_queue.h"

#include <stdlib.h>
#include <string.h>

/* What one side stores with `release`, the other loads with `acquire`: the samples before it are
 * then there as well, or are no longer used. */
static uint64_t load(const uint64_t *shared) { return __atomic_load_n(shared, __ATOMIC_ACQUIRE); }

static void store(uint64_t *shared, uint64_t value) {
    __atomic_store_n(shared, value, __ATOMIC_RELEASE);
}

static uint32_t smaller(uint64_t a, uint64_t b) { return (uint32_t)(a < b ? a : b); }

bool xn_queue_init(struct xn_queue *queue, uint32_t frames, uint32_t frame_octets) {
    *queue = (struct xn_queue){.size = frames * frame_octets};
    queue->data = calloc(frames, frame_octets);
    return queue->data != NULL;
}

void xn_queue_free(struct xn_queue *queue) { free(queue->data); }

static uint32_t fill(uint64_t written, uint64_t read) {
    return written > read ? (uint32_t)(written - read) : 0;
}

uint32_t xn_queue_fill(const struct xn_queue *queue) {
    return fill(load(&queue->written), load(&queue->read));
}

void *xn_queue_room(struct xn_queue *queue, uint32_t *octets) {
    uint64_t read = load(&queue->read);
    if (queue->written < read) store(&queue->written, read);
    uint32_t place = (uint32_t)(queue->written % queue->size);
    uint32_t room = queue->size - fill(queue->written, read);
    *octets = smaller(*octets, smaller(room, queue->size - place));
    return queue->data + place;
}

void xn_queue_commit(struct xn_queue *queue, uint32_t octets) {
    store(&queue->written, queue->written + octets);
}

uint32_t xn_queue_write(struct xn_queue *queue, const void *from, uint32_t octets) {
    uint32_t done = 0;
    while (done < octets) {
        uint32_t part = octets - done;
        void *to = xn_queue_room(queue, &part);
        if (part == 0) break;
        memcpy(to, (const uint8_t *)from + done, part);
        xn_queue_commit(queue, part);
        done += part;
    }
    return done;
}

uint32_t xn_queue_take_back(struct xn_queue *queue, uint32_t octets, uint32_t keep) {
    uint32_t now = xn_queue_fill(queue);
    uint32_t most = now > keep ? now - keep : 0;
    uint32_t taken = smaller(octets, most);
    store(&queue->written, queue->written - taken);
    return taken;
}

const void *xn_queue_peek(const struct xn_queue *queue, uint32_t *octets) {
    uint32_t place = (uint32_t)(queue->read % queue->size);
    *octets = smaller(fill(load(&queue->written), queue->read), queue->size - place);
    return queue->data + place;
}

void xn_queue_drop(struct xn_queue *queue, uint32_t octets) {
    store(&queue->read, queue->read + octets);
}

uint32_t xn_queue_read(struct xn_queue *queue, void *to, uint32_t octets) {
    uint32_t done = 0;
    while (done < octets) {
        uint32_t part;
        const void *from = xn_queue_peek(queue, &part);
        part = smaller(part, octets - done);
        if (part == 0) break;
        memcpy((uint8_t *)to + done, from, part);
        xn_queue_drop(queue, part);
        done += part;
    }
    return done;
}
