#include "backend_parts.h"

/* The least time between two rewrites, since the server renders again after each. */
#define REWRITE_USEC 5000

static void note_progress(struct xn_backend *backend, int64_t now_usec) {
    backend->progress_usec = now_usec;
    backend->stalled = false;
}

/* Returns true if the server got all that it wanted. */
static bool give(struct xn_backend *backend, uint32_t wanted) {
    struct xn_pcm *pcm = backend->pcm;
    while (wanted > 0) {
        uint32_t available = xn_pcm_available(pcm);
        uint32_t octets = wanted < available ? wanted : available;
        void *to = octets ? xn_audio_begin_write(backend->sound.audio, &octets) : NULL;
        if (!to) return false;
        octets -= octets % pcm->config.frame_octets;
        xn_pcm_take(pcm, to, octets);
        xn_backend_note_given(backend, to, octets);
        backend->stats.octets += octets;
        if (!xn_audio_commit(backend->sound.audio, to, octets) || octets == 0) return false;
        wanted -= octets;
    }
    return true;
}

/* After a rewind, takes back what the frontend has overwritten, so that it is given to the server
 * again, in its place: or, if a sound begins there, as soon as the server can play it. Returns the
 * number of octets. */
static uint32_t take_back(struct xn_backend *backend, int64_t now_usec) {
    struct xn_pcm *pcm = backend->pcm;
    uint32_t octets = xn_pcm_rewritten(pcm);
    if (octets == 0 || now_usec < backend->rewrite_usec) return 0;
    backend->rewrite_usec = now_usec + REWRITE_USEC;
    if (xn_backend_wait_for_sound(backend, now_usec))
        return xn_audio_replace_queued(backend->sound.audio);
    backend->stats.late_octets += xn_pcm_take_back(pcm);
    xn_backend_note_taken_back(backend);
    backend->stats.late_octets += xn_audio_seek_back(backend->sound.audio, octets);
    return octets;
}

/* Returns how much the server can be given until it has so much. */
static uint32_t room_up_to(const struct xn_backend *backend, int64_t usec) {
    int64_t queued_usec;
    if (!xn_audio_latency_usec(backend->sound.audio, &queued_usec)) return 0;
    return xn_pcm_usec_to_octets(backend->pcm, usec - queued_usec);
}

/* Returns how much beyond what the server wants it is given: the rest of what the guest has written, if
 * it then has no more than the latency that it was asked for. The server asks for as much each time.
 * So a guest that writes as late as it may, and more at a time, would have each write split. */
static uint32_t rest_to_give(const struct xn_backend *backend, uint32_t wanted) {
    const struct xn_pcm *pcm = backend->pcm;
    uint32_t available = xn_pcm_available(pcm);
    if (wanted == 0 || available <= wanted) return 0;
    if (available > xn_pcm_usec_to_octets(pcm, backend->latency_usec)) return 0;
    return available <= room_up_to(backend, backend->latency_usec) ? available - wanted : 0;
}

/* The same for a guest that has written far ahead: a quarter of the latency more than that. The server
 * then need not be heard for three fifths of it (docs/architecture.md, "Ahead"). Only a server that
 * still asks now and then gets it. */
static uint32_t ahead_to_give(const struct xn_backend *backend, uint32_t wanted, int64_t now_usec) {
    const struct xn_pcm *pcm = backend->pcm;
    int64_t latency_usec = backend->latency_usec, ahead_usec = latency_usec / 4;
    if (!xn_audio_takes_ahead(backend->sound.audio)) return 0;
    if (now_usec - backend->progress_usec > latency_usec * 3 / 2) return 0;
    uint64_t enough = (uint64_t)wanted + xn_pcm_usec_to_octets(pcm, latency_usec);
    if (xn_pcm_available(pcm) < enough) return 0;
    uint32_t room = room_up_to(backend, latency_usec + ahead_usec);
    if (room < xn_pcm_usec_to_octets(pcm, ahead_usec)) return 0;
    return room > wanted ? room - wanted : 0;
}

void xn_backend_fill_server(struct xn_backend *backend, int64_t now_usec) {
    if (!backend->sound.audio || !backend->pcm->running) return;
    if (!xn_audio_is_ready(backend->sound.audio)) return;
    if (xn_backend_cork_silence(backend, now_usec)) return;
    uint32_t wanted = xn_audio_writable(backend->sound.audio);
    uint32_t again = take_back(backend, now_usec);
    uint32_t rest = again ? 0 : rest_to_give(backend, wanted);
    uint32_t ahead = again ? 0 : ahead_to_give(backend, wanted, now_usec);
    if (ahead) backend->fed_usec = now_usec + backend->latency_usec * 3 / 5;
    /* After a rest its next request may be for what it has got already, and cause no pass. */
    backend->underfed = !give(backend, again + wanted + rest + ahead) || rest > 0;
}

/* Copies one part, or silence instead if the gate is closed or `from` is NULL. Returns the number
 * of octets that the frontend had room for. */
static uint32_t capture_part(struct xn_backend *backend, const uint8_t *from, uint32_t octets,
                             int64_t now_usec) {
    bool crosses = from && xn_gate_enter(backend->sound.gate, xn_now_usec());
    uint32_t count = xn_pcm_capture(backend->pcm, crosses ? from : NULL, octets, now_usec);
    if (crosses) xn_gate_leave(backend->sound.gate);
    *(crosses ? &backend->stats.octets : &backend->stats.discarded_octets) += count;
    return count;
}

static void capture(struct xn_backend *backend, const uint8_t *from, uint32_t octets,
                    int64_t now_usec) {
    uint32_t part_max = XN_GATE_OCTETS - XN_GATE_OCTETS % backend->pcm->config.frame_octets;
    while (octets > 0) {
        uint32_t part = octets < part_max ? octets : part_max;
        uint32_t count = capture_part(backend, from, part, now_usec);
        if (count == 0) return; /* the frontend does not keep up: an overrun, as in hardware */
        octets -= count;
        if (from) from += count;
        xn_backend_report(backend);
    }
}

void xn_backend_take_recorded(struct xn_backend *backend, int64_t now_usec) {
    const void *from;
    uint32_t octets;
    while (backend->sound.audio && xn_audio_peek(backend->sound.audio, &from, &octets)) {
        if (backend->pcm->running) {
            note_progress(backend, now_usec);
            capture(backend, from, octets, now_usec);
        }
        xn_audio_drop(backend->sound.audio);
    }
}

void xn_backend_note_event(struct xn_backend *backend, enum xn_audio_event event,
                           int64_t now_usec) {
    switch (event) {
    case XN_AUDIO_WANTS:
        note_progress(backend, now_usec);
        break;
    case XN_AUDIO_CHANGED:
        backend->progress_usec = now_usec;
        if (xn_audio_has_failed(backend->sound.audio)) backend->stalled = true;
        break;
    case XN_AUDIO_RECORDED: /* progress once it is taken */
        break;
    }
}

void xn_backend_release_audio(struct xn_backend *backend, bool drain) {
    if (!backend->sound.audio) return;
    backend->stats.gaps += xn_audio_gaps(backend->sound.audio);
    xn_audio_free(backend->sound.audio, drain);
    backend->sound.audio = NULL;
    backend->stalled = backend->is_corked = false;
}
