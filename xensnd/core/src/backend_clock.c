#include "backend_parts.h"

/* If the audio server stalls, the stream waits for half its buffer's length, and at least so long,
 * before it runs on the clock. Linux gives up after max(100 ms, 1.1 buffers). */
#define STALL_MIN_USEC 50000
/* What need not be on time waits so long for a wakeup that comes anyway. */
#define PATIENT_USEC 10000

/* Positions are not checked more often than this, however short the periods are. */
#define TICK_MIN_USEC 1000
/* A full event page, and a stream without an audio server, are checked this often. */
#define TICK_MAX_USEC 20000
/* On the clock, a guest that has written so much has the next pass long before its end, and long
 * before sound after silence has to be found: see backend_silence.c. */
#define FAR_AHEAD_USEC 50000

static uint64_t position_to_report(const struct xn_backend *backend) {
    return backend->playback ? xn_pcm_playback_report(backend->pcm)
                             : xn_pcm_capture_report(backend->pcm);
}

void xn_backend_report(struct xn_backend *backend) {
    bool reported = false;
    uint64_t position;
    if (!backend->pcm->buffer) return;
    while ((position = position_to_report(backend)) != 0) {
        if (xn_event_writer_position(&backend->events, position) < 0) break;
        xn_pcm_reported(backend->pcm, position);
        reported = true;
    }
    if (reported) xn_channel_notify(&backend->events_channel);
}

/* Returns whether the position follows the clock, and not the audio server. */
static bool is_on_clock(const struct xn_backend *backend) {
    return !backend->sound.audio || backend->stalled || backend->is_corked;
}

static int64_t stall_usec(const struct xn_backend *backend) {
    int64_t half = xn_pcm_octets_to_usec(backend->pcm, backend->pcm->config.buffer_octets) / 2;
    return half > STALL_MIN_USEC ? half : STALL_MIN_USEC;
}

void xn_backend_note_idle(struct xn_backend *backend, int64_t now_usec) {
    if (!backend->playback || is_on_clock(backend)) return;
    bool is_idle = xn_pcm_available(backend->pcm) == 0 && !backend->is_held &&
                   !xn_audio_has_failed(backend->sound.audio);
    if (is_idle) backend->progress_usec = now_usec;
}

static void watch_for_stall(struct xn_backend *backend, int64_t now_usec) {
    if (is_on_clock(backend)) return;
    xn_backend_note_idle(backend, now_usec);
    if (now_usec - backend->progress_usec <= stall_usec(backend)) return;
    backend->stalled = true;
    backend->stats.stalled++;
}

static void advance_playback(struct xn_backend *backend, int64_t now_usec) {
    struct xn_pcm *pcm = backend->pcm;
    int64_t latency_usec;
    backend->is_held = false;
    if (is_on_clock(backend)) {
        uint64_t before = pcm->taken;
        xn_pcm_advance_playback(pcm, now_usec, NULL, true);
        if (!backend->is_corked) backend->stats.discarded_octets += pcm->taken - before;
    } else if (xn_audio_latency_usec(backend->sound.audio, &latency_usec)) {
        uint32_t queued = xn_pcm_usec_to_octets(pcm, latency_usec);
        uint64_t heard = queued < pcm->taken ? pcm->taken - queued : 0;
        xn_pcm_advance_playback(pcm, now_usec, &heard, false);
    } else if (pcm->taken > pcm->position) {
        xn_pcm_hold(pcm, now_usec);
        backend->is_held = true;
    } else {
        xn_pcm_advance_playback(pcm, now_usec, NULL, false);
    }
}

static void advance_capture(struct xn_backend *backend, int64_t now_usec) {
    if (!is_on_clock(backend)) return; /* the server's data is the clock */
    uint32_t due = xn_pcm_capture_due(backend->pcm, now_usec);
    backend->stats.discarded_octets +=
        xn_pcm_capture(backend->pcm, NULL, due, now_usec);
}

void xn_backend_advance(struct xn_backend *backend, int64_t now_usec) {
    if (!backend->pcm->running) return;
    watch_for_stall(backend, now_usec);
    if (backend->playback)
        advance_playback(backend, now_usec);
    else
        advance_capture(backend, now_usec);
}

bool xn_backend_passes_suffice(const struct xn_backend *backend) {
    const struct xn_pcm *pcm = backend->pcm;
    if (!backend->playback || !pcm->running) return false;
    if (!is_on_clock(backend)) return !backend->underfed;
    return xn_pcm_available(pcm) >= xn_pcm_usec_to_octets(pcm, FAR_AHEAD_USEC);
}

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

static struct xn_window within(int64_t from_usec, int64_t usec) {
    return (struct xn_window){from_usec, from_usec + usec};
}

/* Returns whether the audio server need not be heard before the next pass. */
static bool is_fed(const struct xn_backend *backend, int64_t now_usec) {
    return backend->playback && backend->pcm->running && !is_on_clock(backend) &&
           !backend->underfed && backend->fed_usec > now_usec;
}

static struct xn_window feed_window(const struct xn_backend *backend, int64_t now_usec) {
    int64_t early_usec = backend->latency_usec / 10;
    return is_fed(backend, now_usec) ? within(backend->fed_usec - early_usec, early_usec) : xn_never;
}

/* Returns when the position has to be reported if nothing else happens before. */
static struct xn_window report_window(const struct xn_backend *backend, int64_t now_usec) {
    const struct xn_pcm *pcm = backend->pcm;
    bool on_clock = is_on_clock(backend);
    if (pcm->report_now || (pcm->buffer && pcm->position >= xn_pcm_period_end(pcm)))
        return within(now_usec + TICK_MAX_USEC, 0); /* the event page is full */
    if (!pcm->running) return xn_never;
    if (!backend->playback && !on_clock) return xn_never; /* the server's data is the clock */
    struct xn_window window =
        backend->playback ? xn_pcm_playback_window(pcm, on_clock) : xn_pcm_capture_window(pcm);
    if (xn_pcm_octets_to_usec(pcm, pcm->config.period_octets) < TICK_MIN_USEC) {
        window.from_usec = later(window.from_usec, now_usec + TICK_MIN_USEC);
        window.until_usec = later(window.until_usec, now_usec + TICK_MIN_USEC);
    }
    return on_clock ? xn_window_of_both(window, within(now_usec + TICK_MAX_USEC, 0)) : window;
}

static struct xn_window stall_window(const struct xn_backend *backend) {
    if (!backend->pcm->running || is_on_clock(backend)) return xn_never;
    return within(backend->progress_usec + stall_usec(backend) + 1, PATIENT_USEC);
}

static struct xn_window rewrite_window(const struct xn_backend *backend) {
    bool waits = backend->playback && backend->sound.audio && backend->pcm->running &&
                 xn_audio_is_ready(backend->sound.audio) && xn_pcm_rewritten(backend->pcm) > 0;
    return waits ? within(backend->rewrite_usec, 0) : xn_never;
}

static struct xn_window pause_window(const struct xn_backend *backend) {
    bool is_paused = backend->has_begun && !backend->violation && !backend->is_polled;
    return is_paused ? within(backend->budget->resumes_usec, 0) : xn_never;
}

void xn_backend_schedule(struct xn_backend *backend, int64_t now_usec) {
    struct xn_window window = report_window(backend, now_usec);
    window = xn_window_of_both(window, stall_window(backend));
    window = xn_window_of_both(window, rewrite_window(backend));
    window = xn_window_of_both(window, pause_window(backend));
    window = xn_window_of_both(window, feed_window(backend, now_usec));
    if (backend->sound.audio) xn_audio_set_fed(backend->sound.audio, is_fed(backend, now_usec));
    if (backend->more_requests)
        window = xn_window_of_both(window, within(now_usec + TICK_MIN_USEC, 0));
    xn_engine_schedule(backend->sound.engine, &backend->tick, window);
}
