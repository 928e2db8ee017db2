#include "vchan_parts.h"

#define TICK_USEC 20000

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t whole_frames(uint32_t octets) { return octets - octets % XN_VCHAN_FRAME_OCTETS; }

static uint64_t octets_in(int64_t usec) {
    if (usec <= 0) return 0;
    return (uint64_t)usec * XN_VCHAN_RATE_HZ / 1000000u * XN_VCHAN_FRAME_OCTETS;
}

static void note_progress(struct xn_vchan_stream *stream, int64_t now_usec) {
    stream->progress_usec = now_usec;
    stream->stalled = false;
}

/* ---- playback ------------------------------------------------------------------------------- */

/* Returns what the guest has written, in whole frames. */
static uint32_t written(struct xn_vchan_stream *stream) {
    uint32_t octets;
    if (stream->violation) return 0;
    if (!xn_vchan_readable(&stream->vchan, &octets)) {
        xn_vchan_violate(stream, XN_VIOLATION_RING_INDEX);
        return 0;
    }
    return whole_frames(octets);
}

/* Waking a guest costs more than all else that is done for it, and the server asks for little at a
 * time. So a guest that has written ahead is told of room in larger parts. */
static void tell_room(struct xn_vchan_stream *stream, uint32_t octets) {
    uint32_t size = stream->vchan.from_guest.size;
    stream->untold_octets += octets;
    if (written(stream) >= smaller(XN_VCHAN_AHEAD_OCTETS, size / 2) &&
        stream->untold_octets < smaller(XN_VCHAN_ROOM_OCTETS, size / 4))
        return;
    stream->untold_octets = 0;
    if (xn_vchan_owes(&stream->vchan, XN_VCHAN_READ)) xn_channel_notify(&stream->channel);
}

static void consume(struct xn_vchan_stream *stream, uint32_t octets) {
    xn_vchan_consume(&stream->vchan, octets);
    stream->stats.position_octets += octets;
    tell_room(stream, octets);
}

static uint8_t *given_at(struct xn_vchan_given *given, uint64_t count) {
    return &given->last[count % XN_VCHAN_GIVEN_OCTETS];
}

/* Copies what is due next: first what has to be given again. Returns the octets. */
static uint32_t copy_next(struct xn_vchan_stream *stream, uint8_t *to, uint32_t octets) {
    struct xn_vchan_given *given = stream->given;
    uint64_t from = stream->again < given->octets ? stream->again : given->octets;
    /* One part at a time: up to the end of the memory of what was given. */
    octets = smaller(octets, XN_VCHAN_GIVEN_OCTETS - (uint32_t)(from % XN_VCHAN_GIVEN_OCTETS));
    if (from < given->octets) {
        octets = smaller(octets, (uint32_t)(given->octets - from));
        __builtin_memcpy(to, given_at(given, from), octets);
    } else {
        xn_vchan_peek(&stream->vchan, given_at(given, from), octets);
        __builtin_memcpy(to, given_at(given, from), octets);
        given->octets += octets;
        consume(stream, octets);
    }
    stream->again = from + octets;
    return octets;
}

/* Returns true if the server got all that it wanted. */
static bool give(struct xn_vchan_stream *stream, uint32_t wanted) {
    while (wanted > 0) {
        uint64_t again = stream->given->octets - stream->again;
        uint32_t available = again ? (uint32_t)again : written(stream);
        uint32_t octets = smaller(wanted, available);
        uint8_t *to = octets ? xn_audio_begin_write(stream->sound.audio, &octets) : NULL;
        if (!to) return false;
        octets = whole_frames(octets);
        if (octets) octets = copy_next(stream, to, octets);
        stream->stats.octets += octets;
        if (!xn_audio_commit(stream->sound.audio, to, octets) || octets == 0) return false;
        wanted -= octets;
    }
    return true;
}

static void note_heard(struct xn_vchan_stream *stream) {
    int64_t latency_usec;
    if (!xn_audio_latency_usec(stream->sound.audio, &latency_usec)) return;
    uint64_t queued = octets_in(latency_usec), heard = stream->again;
    heard = queued < heard ? heard - queued : 0;
    if (heard > stream->given->heard) stream->given->heard = heard;
}

void xn_vchan_fill_server(struct xn_vchan_stream *stream) {
    if (!stream->sound.audio || !stream->running || !xn_audio_is_ready(stream->sound.audio)) return;
    stream->underfed = !give(stream, xn_audio_writable(stream->sound.audio));
    note_heard(stream);
}

/* ---- capture -------------------------------------------------------------------------------- */

/* Returns how much is missing until the guest has `most` to read. */
static uint32_t missing(struct xn_vchan_stream *stream, uint32_t most) {
    uint32_t unread;
    if (stream->violation) return 0;
    if (!xn_vchan_unread(&stream->vchan, &unread)) {
        xn_vchan_violate(stream, XN_VIOLATION_RING_INDEX);
        return 0;
    }
    return unread < most ? whole_frames(most - unread) : 0;
}

/* Returns how much the guest may be given now. */
static uint32_t room(struct xn_vchan_stream *stream) {
    return missing(stream, smaller(stream->vchan.to_guest.size, XN_VCHAN_QUEUED_OCTETS));
}

/* Puts one part, or silence instead if the gate is closed or `from` is NULL. */
static void put_part(struct xn_vchan_stream *stream, const uint8_t *from, uint32_t octets) {
    bool crosses = from && xn_gate_enter(stream->sound.gate, xn_now_usec());
    xn_vchan_put(&stream->vchan, crosses ? from : NULL, octets);
    if (crosses) xn_gate_leave(stream->sound.gate);
    *(crosses ? &stream->stats.octets : &stream->stats.discarded_octets) += octets;
    stream->stats.position_octets += octets;
}

/* What comes first is so many octets. */
static void begin_recording(struct xn_vchan_stream *stream, uint32_t octets) {
    stream->begins = false;
    if (stream->vchan.to_guest.size <= XN_VCHAN_FRAGMENT_OCTETS) return;
    uint32_t silence = missing(stream, XN_VCHAN_BEGIN_OCTETS);
    if (silence <= octets) return;
    silence = whole_frames(silence - octets);
    xn_vchan_put(&stream->vchan, NULL, silence);
    stream->stats.position_octets += silence;
}

/* Returns how much of it the guest had room for. */
static uint32_t put_what_fits(struct xn_vchan_stream *stream, const uint8_t *from,
                              uint32_t octets) {
    uint32_t done = 0, fits = smaller(whole_frames(octets), room(stream));
    while (done < fits) {
        uint32_t part = smaller(fits - done, XN_GATE_OCTETS);
        put_part(stream, from ? from + done : NULL, part);
        done += part;
    }
    return done;
}

/* Returns how much of what waits the guest had room for. */
static uint32_t put_waiting(struct xn_vchan_stream *stream) {
    struct xn_queue *queue = &stream->waiting.queue;
    uint32_t done = 0, octets, fits;
    xn_vchan_waiting_follow(&stream->waiting, stream->sound.gate);
    do {
        const void *from = xn_queue_peek(queue, &octets);
        fits = put_what_fits(stream, from, octets);
        xn_queue_drop(queue, fits);
        done += fits;
    } while (fits);
    return done;
}

static bool waits(const struct xn_vchan_stream *stream) {
    return xn_queue_fill(&stream->waiting.queue) > 0;
}

static void note_lost(struct xn_vchan_stream *stream, uint32_t octets) {
    if (octets && !stream->overrun) stream->stats.gaps++;
    stream->stats.late_octets += octets;
    stream->overrun = octets > 0;
}

/* Gives it to the guest, after what waits. What the guest has no room for waits, or is lost as in
 * hardware. */
static void put(struct xn_vchan_stream *stream, const uint8_t *from, uint32_t octets,
                int64_t now_usec) {
    struct xn_vchan_waiting *waiting = &stream->waiting;
    if (stream->begins && octets) begin_recording(stream, octets);
    uint32_t waited = put_waiting(stream);
    uint32_t direct = waits(stream) ? 0 : put_what_fits(stream, from, octets);
    uint32_t lost = xn_vchan_waiting_keep(waiting, stream->sound.gate, from ? from + direct : NULL,
                                          whole_frames(octets) - direct, now_usec);
    if (waits(stream)) {
        xn_vchan_ask(&stream->vchan, XN_VCHAN_READ);
        waited += put_waiting(stream); /* it may have read meanwhile */
    }
    lost += xn_vchan_waiting_trim(waiting, missing(stream, XN_VCHAN_QUEUED_OCTETS), now_usec);
    if (octets || lost) note_lost(stream, lost);
    if (waited + direct && xn_vchan_owes(&stream->vchan, XN_VCHAN_WRITTEN))
        xn_channel_notify(&stream->channel);
}

void xn_vchan_take_recorded(struct xn_vchan_stream *stream, int64_t now_usec) {
    const void *from;
    uint32_t octets;
    if (waits(stream)) put(stream, NULL, 0, now_usec);
    while (stream->sound.audio && xn_audio_peek(stream->sound.audio, &from, &octets)) {
        if (stream->running) {
            note_progress(stream, now_usec);
            put(stream, from, octets, now_usec);
        }
        xn_audio_drop(stream->sound.audio);
    }
}

/* ---- the clock ------------------------------------------------------------------------------ */

static bool is_on_clock(const struct xn_vchan_stream *stream) {
    return !stream->sound.audio || stream->stalled;
}

void xn_vchan_begin_clock(struct xn_vchan_stream *stream, int64_t now_usec) {
    stream->clock_usec = now_usec;
    stream->clock_octets = 0;
}

void xn_vchan_note_idle(struct xn_vchan_stream *stream, int64_t now_usec) {
    if (!stream->playback || is_on_clock(stream)) return;
    bool is_idle = (stream->underfed || written(stream) == 0) &&
                   !xn_audio_has_failed(stream->sound.audio);
    if (is_idle) stream->progress_usec = now_usec;
}

static void watch_for_stall(struct xn_vchan_stream *stream, int64_t now_usec) {
    if (is_on_clock(stream)) return;
    xn_vchan_note_idle(stream, now_usec);
    if (now_usec - stream->progress_usec <= stream->patience_usec) return;
    stream->stalled = true;
    stream->stats.stalled++;
}

static void discard(struct xn_vchan_stream *stream, uint64_t due, int64_t now_usec) {
    uint32_t there = written(stream);
    uint32_t octets = due < there ? (uint32_t)due : there;
    if (octets) consume(stream, octets);
    if (octets) stream->again = stream->given->octets; /* what came before it is late */
    stream->clock_octets += octets;
    stream->stats.discarded_octets += octets;
    /* What the guest writes later is not late: its time begins then. */
    if (octets < due) xn_vchan_begin_clock(stream, now_usec);
}

void xn_vchan_follow_clock(struct xn_vchan_stream *stream, int64_t now_usec) {
    if (stream->running) watch_for_stall(stream, now_usec);
    if (!stream->running || !is_on_clock(stream)) {
        xn_vchan_begin_clock(stream, now_usec);
        return;
    }
    uint64_t due = octets_in(now_usec - stream->clock_usec) - stream->clock_octets;
    if (stream->playback) {
        discard(stream, due, now_usec);
    } else {
        put(stream, NULL, (uint32_t)(due < UINT32_MAX ? due : UINT32_MAX), now_usec);
        stream->clock_octets += due; /* what the guest had no room for is lost */
    }
}

int64_t xn_vchan_due_usec(const struct xn_vchan_stream *stream, int64_t now_usec) {
    uint32_t octets;
    if (!stream->running || stream->violation) return XN_NEVER;
    if (!is_on_clock(stream)) {
        int64_t stalls_usec = stream->progress_usec + stream->patience_usec + 1;
        if (stream->playback) return stream->underfed ? XN_NEVER : stalls_usec;
        int64_t trim_usec = xn_vchan_waiting_due_usec(&stream->waiting, now_usec);
        return trim_usec < stalls_usec ? trim_usec : stalls_usec;
    }
    if (stream->playback && (!xn_vchan_readable(&stream->vchan, &octets) || !whole_frames(octets)))
        return XN_NEVER; /* until the guest writes */
    return (now_usec / TICK_USEC + 1) * TICK_USEC; /* streams share these wakeups */
}
