#include "backend_parts.h"

/* If the audio server stalls, the stream waits for half its buffer's length, and at least so long,
 * before it runs on the clock. Linux gives up after max(100 ms, 1.1 buffers). */
#define STALL_MIN_USEC 50000

/* The end of a period is reported up to so much later, together with those of other streams. */
#define TOGETHER_USEC 1500
/* Positions are not checked more often than this, however short the periods are. */
#define TICK_MIN_USEC 1000
/* A full event page, and a stream without an audio server, are checked this often. */
#define TICK_MAX_USEC 20000

void xn_backend_report(struct xn_backend *backend) {
    bool reported = false;
    uint64_t position;
    if (!backend->pcm->buffer) return;
    while ((position = xn_pcm_report(backend->pcm)) != 0) {
        if (xn_event_writer_position(&backend->events, position) < 0) break;
        xn_pcm_reported(backend->pcm, position);
        reported = true;
    }
    if (reported) xn_channel_notify(&backend->events_channel);
}

/* Returns whether the position follows the clock, and not the audio server. */
static bool is_on_clock(const struct xn_backend *backend) {
    return !backend->audio || backend->stalled || backend->is_corked;
}

static int64_t stall_usec(const struct xn_backend *backend) {
    int64_t half = xn_pcm_octets_to_usec(backend->pcm, backend->pcm->config.buffer_octets) / 2;
    return half > STALL_MIN_USEC ? half : STALL_MIN_USEC;
}

static void watch_for_stall(struct xn_backend *backend, int64_t now_usec) {
    if (is_on_clock(backend)) return;
    /* A server that plays and asks for nothing while there is nothing to play has not stalled. */
    if (backend->playback && xn_pcm_available(backend->pcm) == 0 && !backend->is_held &&
        !xn_audio_has_failed(backend->audio))
        backend->progress_usec = now_usec;
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
    } else if (xn_audio_latency_usec(backend->audio, &latency_usec)) {
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

bool xn_backend_is_fed(const struct xn_backend *backend) {
    return backend->playback && backend->pcm->running && !is_on_clock(backend) &&
           !backend->underfed;
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

/* Rounds up to a grid that all streams share. The grid of short periods is finer. */
static int64_t on_grid(const struct xn_backend *backend, int64_t due_usec) {
    int64_t period_usec = xn_pcm_octets_to_usec(backend->pcm, backend->pcm->config.period_octets);
    int64_t step = later(earlier(TOGETHER_USEC, period_usec / 4), TOGETHER_USEC / 10);
    return due_usec > INT64_MAX - step ? due_usec : (due_usec + step - 1) / step * step;
}

/* Returns when the position has to be reported if nothing else happens before. */
static int64_t report_due_usec(const struct xn_backend *backend, int64_t now_usec) {
    const struct xn_pcm *pcm = backend->pcm;
    bool on_clock = is_on_clock(backend);
    if (pcm->report_now || (pcm->buffer && pcm->position >= xn_pcm_period_end(pcm)))
        return now_usec + TICK_MAX_USEC; /* the event page is full */
    if (!pcm->running) return XN_NEVER;
    if (!backend->playback && !on_clock) return XN_NEVER; /* the server's data is the clock */
    int64_t due_usec = on_grid(backend, backend->playback ? xn_pcm_playback_due_usec(pcm, on_clock)
                                                          : xn_pcm_capture_due_usec(pcm));
    bool is_short = xn_pcm_octets_to_usec(pcm, pcm->config.period_octets) < TICK_MIN_USEC;
    due_usec = later(due_usec, now_usec + (is_short ? TICK_MIN_USEC : 0));
    return on_clock ? earlier(due_usec, now_usec + TICK_MAX_USEC) : due_usec;
}

static int64_t stall_due_usec(const struct xn_backend *backend) {
    if (!backend->pcm->running || is_on_clock(backend)) return XN_NEVER;
    return backend->progress_usec + stall_usec(backend) + 1;
}

static int64_t rewrite_due_usec(const struct xn_backend *backend) {
    bool waits = backend->audio && backend->pcm->running && xn_audio_is_ready(backend->audio) &&
                 xn_pcm_rewritten(backend->pcm) > 0;
    return waits ? backend->rewrite_usec : XN_NEVER;
}

void xn_backend_schedule(struct xn_backend *backend, int64_t now_usec) {
    int64_t due_usec = earlier(report_due_usec(backend, now_usec), stall_due_usec(backend));
    if (backend->playback) due_usec = earlier(due_usec, rewrite_due_usec(backend));
    bool is_paused = backend->has_begun && !backend->violation && !backend->is_polled;
    if (is_paused) due_usec = earlier(due_usec, backend->budget->resumes_usec);
    if (backend->more_requests) due_usec = earlier(due_usec, now_usec + TICK_MIN_USEC);
    xn_engine_schedule(backend->engine, &backend->tick, due_usec);
}
