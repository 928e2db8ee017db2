#include "pipewire_cycle.h"

#include <string.h>

int64_t pipewire_nsec_of(const struct pipewire_format *format, uint64_t octets) {
    return (int64_t)(octets / format->frame_octets * 1000000000u / format->info.rate);
}

/* ---- the real-time thread -------------------------------------------------------------------- */

static void ask(struct pipewire_cycle *cycle) {
    __atomic_store_n(&cycle->asks, true, __ATOMIC_RELEASE);
    pipewire_hub_wake(cycle->hub);
}

/* Returns when a sample is heard that is written at the beginning of the cycle. */
static int64_t heard_at_nsec(const struct pipewire_cycle *cycle, const struct pw_time *time) {
    int64_t at_nsec = time->now + (int64_t)(time->buffered * 1000000000u / cycle->format.info.rate);
    if (time->rate.denom == 0) return at_nsec;
    return at_nsec + time->delay * (int64_t)time->rate.num * 1000000000 / (int64_t)time->rate.denom;
}

static void set_heard(struct pipewire_cycle *cycle, int64_t at_nsec) {
    struct pipewire_heard *heard = &cycle->heard;
    __atomic_store_n(&heard->count, heard->count + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&heard->read, cycle->queue.read, __ATOMIC_RELAXED);
    __atomic_store_n(&heard->at_nsec, at_nsec, __ATOMIC_RELAXED);
    __atomic_store_n(&heard->count, heard->count + 1, __ATOMIC_RELEASE);
}

/* `octets` of `wanted` were samples of ours; the rest of them is silence. */
static void note_heard(struct pipewire_cycle *cycle, uint32_t octets, uint32_t wanted) {
    struct pw_time time;
    if (xn_pw->stream_get_time_n(cycle->stream, &time, sizeof time) < 0) return;
    if (time.now != cycle->began_nsec) cycle->done_octets = 0;
    cycle->began_nsec = time.now;
    int64_t after_nsec = pipewire_nsec_of(&cycle->format, cycle->done_octets + octets);
    if (octets > 0) set_heard(cycle, heard_at_nsec(cycle, &time) + after_nsec);
    cycle->done_octets += wanted;
    __atomic_store_n(&cycle->octets, cycle->done_octets, __ATOMIC_RELAXED);
}

/* Asks for more, but not in each cycle when there is none. */
static void note_taken(struct pipewire_cycle *cycle, uint32_t octets, uint32_t wanted) {
    uint32_t empty = cycle->empty_cycles;
    if (octets < wanted && empty == 0) __atomic_store_n(&cycle->dry, true, __ATOMIC_RELAXED);
    if (octets == 0 && empty == PIPEWIRE_EMPTY_CYCLES) return;
    __atomic_store_n(&cycle->empty_cycles, octets ? 0 : empty + 1, __ATOMIC_RELAXED);
    ask(cycle);
}

void pipewire_cycle_play(struct pipewire_cycle *cycle) {
    struct pw_buffer *buffer = xn_pw->stream_dequeue_buffer(cycle->stream);
    if (!buffer) return;
    struct spa_data *data = &buffer->buffer->datas[0];
    uint32_t frame_octets = cycle->format.frame_octets;
    uint64_t frames = data->data ? data->maxsize / frame_octets : 0;
    if (buffer->requested > 0 && buffer->requested < frames) frames = buffer->requested;
    uint32_t wanted = (uint32_t)frames * frame_octets;
    uint32_t octets = wanted ? xn_queue_read(&cycle->queue, data->data, wanted) : 0;
    if (octets < wanted)
        memset((uint8_t *)data->data + octets, cycle->format.silence_octet, wanted - octets);
    *data->chunk = (struct spa_chunk){.size = wanted, .stride = (int32_t)frame_octets};
    note_heard(cycle, octets, wanted);
    xn_pw->stream_queue_buffer(cycle->stream, buffer);
    note_taken(cycle, octets, wanted);
}

void pipewire_cycle_record(struct pipewire_cycle *cycle) {
    struct pw_buffer *buffer;
    uint32_t octets = 0;
    while ((buffer = xn_pw->stream_dequeue_buffer(cycle->stream)) != NULL) {
        const struct spa_data *data = &buffer->buffer->datas[0];
        uint32_t most = data->maxsize, size = data->chunk->size;
        uint32_t offset = data->chunk->offset < most ? data->chunk->offset : most;
        if (size > most - offset) size = most - offset;
        size -= size % cycle->format.frame_octets;
        /* If the engine's thread does not keep up, the newest are lost: an overrun. */
        if (data->data)
            octets += xn_queue_write(&cycle->queue, (const uint8_t *)data->data + offset, size);
        xn_pw->stream_queue_buffer(cycle->stream, buffer);
    }
    if (octets > 0) ask(cycle);
}

/* ---- the engine's thread --------------------------------------------------------------------- */

struct pipewire_heard pipewire_cycle_heard(const struct pipewire_cycle *cycle) {
    struct pipewire_heard heard;
    const struct pipewire_heard *shared = &cycle->heard;
    do {
        heard.count = __atomic_load_n(&shared->count, __ATOMIC_ACQUIRE);
        heard.read = __atomic_load_n(&shared->read, __ATOMIC_RELAXED);
        heard.at_nsec = __atomic_load_n(&shared->at_nsec, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (heard.count % 2 == 1 ||
             heard.count != __atomic_load_n(&shared->count, __ATOMIC_RELAXED));
    return heard;
}

bool pipewire_cycle_take_asks(struct pipewire_cycle *cycle) {
    return __atomic_exchange_n(&cycle->asks, false, __ATOMIC_ACQUIRE);
}

bool pipewire_cycle_take_dry(struct pipewire_cycle *cycle) {
    return __atomic_exchange_n(&cycle->dry, false, __ATOMIC_RELAXED);
}

bool pipewire_cycle_is_drained(const struct pipewire_cycle *cycle) {
    return xn_queue_fill(&cycle->queue) == 0 &&
           __atomic_load_n(&cycle->empty_cycles, __ATOMIC_RELAXED) == PIPEWIRE_EMPTY_CYCLES;
}

uint32_t pipewire_cycle_octets(const struct pipewire_cycle *cycle) {
    return __atomic_load_n(&cycle->octets, __ATOMIC_RELAXED);
}
