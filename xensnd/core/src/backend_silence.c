#include "backend_parts.h"

/* After so much silence the server's stream is corked. */
#define CORK_AFTER_USEC 2000000
/* How far ahead of the position sound is looked for: longer than the time between two passes. */
#define AHEAD_USEC 25000

static bool sounds_ahead(const struct xn_pcm *pcm) {
    return !xn_pcm_is_silent(pcm, pcm->position, xn_pcm_usec_to_octets(pcm, AHEAD_USEC));
}

void xn_backend_note_given(struct xn_backend *backend, const void *octets, uint32_t count) {
    const struct xn_pcm_config *config = &backend->pcm->config;
    const uint8_t *given = octets;
    uint32_t silent = 0;
    if (xn_is_silence(octets, count, config->silence_octet)) return;
    while (given[count - silent - 1] == config->silence_octet) silent++;
    backend->sound_end = backend->pcm->taken - silent / config->frame_octets * config->frame_octets;
}

void xn_backend_note_taken_back(struct xn_backend *backend) {
    if (backend->sound_end > backend->pcm->taken) backend->sound_end = backend->pcm->taken;
}

bool xn_backend_wait_for_sound(struct xn_backend *backend, int64_t now_usec) {
    struct xn_pcm *pcm = backend->pcm;
    if (pcm->rewritten >= pcm->taken) return false;
    if (pcm->rewritten < backend->sound_end || pcm->position < backend->sound_end) return false;
    if (xn_pcm_is_silent(pcm, pcm->rewritten, (uint32_t)(pcm->taken - pcm->rewritten))) return false;
    xn_pcm_return_to(pcm, pcm->rewritten, now_usec);
    return true;
}

void xn_backend_begin_sound(struct xn_backend *backend) {
    backend->is_corked = false;
    backend->sound_end = backend->pcm->position;
}

/* Moves the position to the present, but not beyond a sound that was written just ahead of where it
 * was: the frontend did not know how far it would have come. */
static void advance_in_silence(struct xn_backend *backend, int64_t now_usec) {
    struct xn_pcm *pcm = backend->pcm;
    uint64_t before = pcm->position;
    xn_pcm_advance_playback(pcm, now_usec, NULL, true);
    if (!xn_pcm_is_silent(pcm, before, (uint32_t)(pcm->position - before)))
        xn_pcm_return_to(pcm, before, now_usec);
}

static void cork(struct xn_backend *backend) {
    backend->is_corked = true;
    xn_audio_stop(backend->sound.audio, false);
    xn_pcm_rewind_to_position(backend->pcm);
}

static void uncork(struct xn_backend *backend, int64_t now_usec) {
    xn_backend_begin_sound(backend);
    backend->progress_usec = now_usec;
    xn_audio_start(backend->sound.audio);
}

bool xn_backend_cork_silence(struct xn_backend *backend, int64_t now_usec) {
    struct xn_pcm *pcm = backend->pcm;
    if (backend->is_corked) {
        (void)xn_backend_wait_for_sound(backend, now_usec);
        advance_in_silence(backend, now_usec);
        if (sounds_ahead(pcm)) uncork(backend, now_usec);
    } else if (pcm->position >= backend->sound_end + xn_pcm_usec_to_octets(pcm, CORK_AFTER_USEC) &&
               !sounds_ahead(pcm)) {
        cork(backend);
    }
    return backend->is_corked;
}
