#include "vchan_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "served.h"
#include "vchan_parts.h"

/* What the guest did without a notification is looked at after so long. */
#define TICK_MIN_USEC 1000

/* An audio server that does nothing for so long has stalled, or for twice as long as what it queues:
 * it has no need to ask before. */
#define STALL_USEC 200000

/* ---- the pass: see vchan_parts.h ------------------------------------------------------------ */

void xn_vchan_violate(struct xn_vchan_stream *stream, enum xn_violation violation) {
    if (stream->violation) return;
    stream->violation = violation;
    xn_engine_wake_python(stream->sound.engine);
}

static void charge(struct xn_vchan_stream *stream, int64_t now_usec) {
    if (!xn_budget_is_open(stream->budget, now_usec)) return;
    switch (xn_budget_charge(stream->budget, now_usec, true, 0, 0)) {
    case XN_WITHIN_BUDGET:
        break;
    case XN_OVER_BUDGET:
        xn_engine_wake_python(stream->sound.engine);
        break;
    case XN_OVER_FOR_TOO_LONG:
        xn_vchan_violate(stream, XN_VIOLATION_STORM);
        break;
    }
}

static void look_for_end(struct xn_vchan_stream *stream) {
    bool is_gone = !xn_vchan_is_open(&stream->vchan);
    if (is_gone && !stream->is_gone) xn_engine_wake_python(stream->sound.engine);
    stream->is_gone = is_gone;
}

/* Returns whether a whole word can be read. */
static bool has_word(struct xn_vchan_stream *stream) {
    uint32_t octets;
    if (stream->violation) return false;
    if (xn_vchan_readable(&stream->vchan, &octets)) return octets >= XN_VCHAN_WORD_OCTETS;
    xn_vchan_violate(stream, XN_VIOLATION_RING_INDEX);
    return false;
}

static void look_for_word(struct xn_vchan_stream *stream) {
    if (stream->word_waits || !has_word(stream)) return;
    stream->word_waits = true;
    (void)xn_budget_charge_control(stream->budget, xn_now_usec(), true); /* it may open */
    xn_engine_wake_python(stream->sound.engine);
}

static void poll_channel(struct xn_vchan_stream *stream, int64_t now_usec) {
    bool listens = stream->has_begun && !stream->violation && !stream->is_gone &&
                   xn_budget_is_open(stream->budget, now_usec);
    if (listens != stream->is_polled)
        xn_engine_api(stream->sound.engine)
            ->io_enable(stream->io, listens ? PA_IO_EVENT_INPUT : PA_IO_EVENT_NULL);
    stream->is_polled = listens;
}

/* A playback that the server keeps asking needs no notification. Returns whether there is
 * something by now, of which none comes. */
static bool await_guest(struct xn_vchan_stream *stream) {
    uint32_t before, after;
    bool waits = stream->playback ? !stream->sound.audio || stream->underfed : !stream->word_waits;
    if (!waits || !stream->is_polled) return false;
    if (!xn_vchan_readable(&stream->vchan, &before)) return false;
    xn_vchan_ask(&stream->vchan, XN_VCHAN_WRITTEN);
    return xn_vchan_readable(&stream->vchan, &after) && after > before;
}

static void schedule(struct xn_vchan_stream *stream, int64_t now_usec) {
    int64_t due_usec = xn_vchan_due_usec(stream, now_usec);
    bool is_paused = stream->has_begun && !stream->violation && !stream->is_gone;
    if (is_paused && !stream->is_polled && stream->budget->resumes_usec < due_usec)
        due_usec = stream->budget->resumes_usec;
    stream->more = await_guest(stream);
    if (stream->more && now_usec + TICK_MIN_USEC < due_usec) due_usec = now_usec + TICK_MIN_USEC;
    xn_engine_schedule(stream->sound.engine, &stream->tick, (struct xn_window){due_usec, due_usec});
}

static void run_pass(struct xn_vchan_stream *stream, int64_t now_usec, bool notified) {
    xn_mark_served(stream->served, 1);
    if (notified) charge(stream, now_usec);
    if (stream->has_begun) look_for_end(stream);
    if (stream->playback) {
        xn_vchan_note_idle(stream, now_usec); /* before it is given what the guest has written */
        xn_vchan_fill_server(stream);
    } else {
        if (stream->has_begun) look_for_word(stream);
        xn_vchan_take_recorded(stream, now_usec);
    }
    xn_vchan_follow_clock(stream, now_usec);
    poll_channel(stream, now_usec);
    schedule(stream, now_usec);
    xn_mark_served(stream->served, 0);
}

static void on_event(pa_mainloop_api *api, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                     void *data) {
    (void)api, (void)event, (void)fd, (void)flags;
    struct xn_vchan_stream *stream = data;
    xn_channel_clear(&stream->channel);
    run_pass(stream, xn_now_usec(), true);
}

static void on_tick(void *owner, int64_t now_usec) {
    struct xn_vchan_stream *stream = owner;
    run_pass(stream, now_usec, stream->more); /* what a notification would have caused */
}

static void on_audio_event(void *owner, enum xn_audio_event event) {
    struct xn_vchan_stream *stream = owner;
    int64_t now_usec = xn_now_usec();
    if (!stream->sound.audio) return; /* xn_audio_new() has not returned yet */
    if (event != XN_AUDIO_RECORDED) stream->progress_usec = now_usec;
    if (event == XN_AUDIO_WANTS) stream->stalled = false;
    if (event == XN_AUDIO_CHANGED && xn_audio_has_failed(stream->sound.audio))
        stream->stalled = true;
    run_pass(stream, now_usec, false);
}

/* ---- its life ------------------------------------------------------------------------------- */

struct xn_vchan_stream *xn_vchan_stream_new(struct xn_engine *engine, bool playback,
                                            const struct xn_vchan *vchan,
                                            const struct xn_channel *channel,
                                            struct xn_vchan_given *given,
                                            struct xn_budget *budget, uint32_t *served,
                                            struct xn_gate *gate) {
    struct xn_vchan_stream *stream = calloc(1, sizeof *stream);
    if (!stream) return NULL;
    if (!playback && !xn_vchan_waiting_init(&stream->waiting)) {
        free(stream);
        return NULL;
    }
    stream->playback = playback;
    stream->vchan = *vchan;
    stream->channel = *channel;
    stream->given = given ? given : &stream->own_given;
    xn_budget_init(&stream->own_budget);
    stream->budget = budget ? budget : &stream->own_budget;
    stream->served = served ? served : &stream->own_served;
    xn_sound_init(&stream->sound, engine, gate);
    stream->tick.run = on_tick;
    stream->tick.owner = stream;
    xn_engine_lock(engine);
    xn_engine_add_task(engine, &stream->tick);
    pa_mainloop_api *api = xn_engine_api(engine);
    stream->io = api->io_new(api, channel->wait_fd, PA_IO_EVENT_NULL, on_event, stream);
    xn_engine_unlock(engine);
    return stream;
}

/* What the last process gave and was not heard; nothing, if its counts cannot be right. */
static uint64_t unheard_from(const struct xn_vchan_given *given) {
    uint64_t octets = given->octets - given->heard;
    bool is_valid = given->heard <= given->octets && octets <= XN_VCHAN_GIVEN_OCTETS &&
                    given->octets % XN_VCHAN_FRAME_OCTETS == 0 &&
                    octets % XN_VCHAN_FRAME_OCTETS == 0;
    return is_valid ? given->heard : given->octets;
}

void xn_vchan_stream_begin(struct xn_vchan_stream *stream, bool succeeds) {
    xn_engine_lock(stream->sound.engine);
    if (!succeeds) stream->given->octets = stream->given->heard = 0;
    stream->again = unheard_from(stream->given);
    stream->has_begun = true;
    xn_vchan_connect(&stream->vchan);
    run_pass(stream, xn_now_usec(), false);
    xn_channel_notify(&stream->channel);
    xn_engine_unlock(stream->sound.engine);
}

static void release_audio(struct xn_vchan_stream *stream, bool drain) {
    if (!stream->sound.audio) return;
    stream->stats.gaps += xn_audio_gaps(stream->sound.audio);
    xn_audio_free(stream->sound.audio, drain);
    stream->sound.audio = NULL;
    stream->stalled = false;
}

static void end(struct xn_vchan_stream *stream, bool goes_on) {
    xn_engine_lock(stream->sound.engine);
    /* What the server has not played yet is given to it again by the next process. */
    release_audio(stream, !goes_on);
    if (stream->has_begun && !goes_on) {
        xn_vchan_disconnect(&stream->vchan);
        xn_channel_notify(&stream->channel);
    }
    xn_engine_api(stream->sound.engine)->io_free(stream->io);
    xn_engine_remove_task(stream->sound.engine, &stream->tick);
    xn_engine_unlock(stream->sound.engine);
    xn_vchan_waiting_free(&stream->waiting);
    free(stream);
}

void xn_vchan_stream_free(struct xn_vchan_stream *stream) { end(stream, false); }

void xn_vchan_stream_hand_over(struct xn_vchan_stream *stream) { end(stream, true); }

bool xn_vchan_stream_is_open(struct xn_vchan_stream *stream) {
    xn_engine_lock(stream->sound.engine);
    bool is_open = xn_vchan_is_open(&stream->vchan);
    xn_engine_unlock(stream->sound.engine);
    return is_open;
}

enum xn_violation xn_vchan_stream_violation(struct xn_vchan_stream *stream) {
    xn_engine_lock(stream->sound.engine);
    enum xn_violation violation = stream->violation;
    xn_engine_unlock(stream->sound.engine);
    return violation;
}

bool xn_vchan_stream_next_word(struct xn_vchan_stream *stream, uint32_t *word) {
    xn_engine_lock(stream->sound.engine);
    bool waits = stream->word_waits && has_word(stream);
    if (waits) xn_vchan_peek(&stream->vchan, word, XN_VCHAN_WORD_OCTETS);
    xn_engine_unlock(stream->sound.engine);
    return waits;
}

void xn_vchan_stream_drop_word(struct xn_vchan_stream *stream) {
    xn_engine_lock(stream->sound.engine);
    if (stream->word_waits) {
        xn_vchan_consume(&stream->vchan, XN_VCHAN_WORD_OCTETS);
        if (xn_vchan_owes(&stream->vchan, XN_VCHAN_READ)) xn_channel_notify(&stream->channel);
        stream->word_waits = false;
        run_pass(stream, xn_now_usec(), false);
    }
    xn_engine_unlock(stream->sound.engine);
}

/* ---- what Python decides -------------------------------------------------------------------- */

void xn_vchan_stream_reset(struct xn_vchan_stream *stream) {
    xn_engine_lock(stream->sound.engine);
    release_audio(stream, true);
    xn_gate_close(stream->sound.gate);
    stream->running = false;
    xn_vchan_waiting_clear(&stream->waiting);
    memset(&stream->stats, 0, sizeof stream->stats);
    run_pass(stream, xn_now_usec(), false);
    xn_engine_unlock(stream->sound.engine);
}

void xn_vchan_stream_start(struct xn_vchan_stream *stream) {
    xn_engine_lock(stream->sound.engine);
    if (!stream->running) {
        int64_t now_usec = xn_now_usec();
        stream->running = stream->begins = true;
        stream->progress_usec = now_usec;
        stream->stalled = stream->overrun = false;
        xn_vchan_begin_clock(stream, now_usec);
        run_pass(stream, now_usec, false);
        if (stream->sound.audio) xn_audio_start(stream->sound.audio);
    }
    xn_engine_unlock(stream->sound.engine);
}

void xn_vchan_stream_stop(struct xn_vchan_stream *stream) {
    xn_engine_lock(stream->sound.engine);
    if (stream->running) {
        stream->running = false;
        /* What the server has is heard: it is no longer in the guest's ring. */
        if (stream->sound.audio) xn_audio_stop(stream->sound.audio, stream->playback);
        xn_vchan_waiting_clear(&stream->waiting);
        run_pass(stream, xn_now_usec(), false);
    }
    xn_engine_unlock(stream->sound.engine);
}

/* What the server records comes in parts of half its latency. */
static uint32_t capture_latency_usec(uint32_t latency_usec) {
    const uint32_t most =
        2 * XN_VCHAN_PART_OCTETS / XN_VCHAN_FRAME_OCTETS * 1000000ull / XN_VCHAN_RATE_HZ;
    return latency_usec < most ? latency_usec : most;
}

bool xn_vchan_stream_attach_audio(struct xn_vchan_stream *stream, struct xn_client *client,
                                  const struct xn_audio_config *config, const char **error) {
    const struct xn_audio_owner owner = {.on_event = on_audio_event, .owner = stream};
    struct xn_audio_config own = *config;
    if (!stream->playback) own.latency_usec = capture_latency_usec(config->latency_usec);
    xn_vchan_stream_detach_audio(stream);
    xn_engine_lock(stream->sound.engine);
    stream->stalled = false;
    stream->patience_usec = 2 * (int64_t)own.latency_usec;
    if (stream->patience_usec < STALL_USEC) stream->patience_usec = STALL_USEC;
    stream->progress_usec = xn_now_usec();
    stream->sound.audio = xn_audio_new(client, &own, &owner, error);
    if (stream->sound.audio && stream->running) xn_audio_start(stream->sound.audio);
    run_pass(stream, xn_now_usec(), false);
    xn_engine_unlock(stream->sound.engine);
    return stream->sound.audio != NULL;
}

void xn_vchan_stream_detach_audio(struct xn_vchan_stream *stream) {
    xn_engine_lock(stream->sound.engine);
    /* What the server had queued is dropped, and not given again. */
    if (stream->sound.audio) stream->again = stream->given->heard = stream->given->octets;
    release_audio(stream, false);
    run_pass(stream, xn_now_usec(), false);
    xn_engine_unlock(stream->sound.engine);
}

struct xn_sound *xn_vchan_stream_sound(struct xn_vchan_stream *stream) { return &stream->sound; }

void xn_vchan_stream_stats(struct xn_vchan_stream *stream, struct xn_backend_stats *stats) {
    int64_t latency_usec;
    uint32_t octets;
    xn_engine_lock(stream->sound.engine);
    *stats = stream->stats;
    stats->server_latency_usec = -1;
    if (stream->playback && xn_vchan_readable(&stream->vchan, &octets))
        stats->buffered_octets = octets;
    if (stream->sound.audio) {
        stats->gaps += xn_audio_gaps(stream->sound.audio);
        if (xn_audio_latency_usec(stream->sound.audio, &latency_usec))
            stats->server_latency_usec = latency_usec;
    }
    xn_engine_unlock(stream->sound.engine);
}

static uint32_t copy_recent(const uint8_t *octets, uint32_t size, uint64_t end, uint8_t *to,
                            uint32_t count) {
    for (uint32_t i = 0; i < count; i++) to[i] = octets[(end - count + i) % size];
    return count;
}

uint32_t xn_vchan_stream_recent(struct xn_vchan_stream *stream, void *to, uint32_t octets) {
    const struct xn_vchan_ring *ring = &stream->vchan.to_guest;
    const struct xn_vchan_given *given = stream->given;
    xn_engine_lock(stream->sound.engine);
    uint32_t size = stream->playback ? XN_VCHAN_GIVEN_OCTETS : ring->size;
    uint64_t moved = stream->playback ? given->octets : stream->stats.position_octets;
    if (octets > size) octets = size;
    if (octets > moved) octets = (uint32_t)moved;
    uint32_t count = stream->playback ? copy_recent(given->last, size, given->octets, to, octets)
                                      : copy_recent(ring->octets, size, ring->position, to, octets);
    xn_engine_unlock(stream->sound.engine);
    return count;
}
