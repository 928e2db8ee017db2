#include <string.h>

#include "frontend_parts.h"

/* ---- the rate -------------------------------------------------------------------------------- */

void xn_frontend_follow_position(struct xn_frontend *frontend) {
    uint64_t frames = frontend->pcm.position / frontend->pcm.config.frame_octets;
    if (!frontend->is_aligned) return;
    if (frontend->playback)
        xn_rate_loop_read(&frontend->rate_loop, xn_now_usec(), frames);
    else
        xn_rate_loop_wrote(&frontend->rate_loop, xn_now_usec(), frames);
}

static void follow_moved(struct xn_frontend *frontend) {
    uint64_t frames = frontend->moved / frontend->pcm.config.frame_octets;
    if (frontend->playback)
        xn_rate_loop_wrote(&frontend->rate_loop, xn_now_usec(), frames);
    else
        xn_rate_loop_read(&frontend->rate_loop, xn_now_usec(), frames);
}

/* Whether the guest's server runs by a clock of its own. */
static bool must_follow(const struct xn_frontend *frontend) {
    return !frontend->device || xn_device_state(frontend->device) == XN_DEVICE_FOLLOWS;
}

/* Keeps the fill at its target by small changes of the rate at which the guest's server
 * resamples. */
static void adjust_rate(struct xn_frontend *frontend) {
    uint32_t rate_hz = frontend->pcm.config.rate_hz;
    if (must_follow(frontend))
        rate_hz = xn_rate_loop_update(&frontend->rate_loop, xn_now_usec(), !frontend->playback);
    if (rate_hz == frontend->stats.rate_hz) return;
    frontend->stats.rate_hz = rate_hz;
    xn_audio_set_rate(frontend->audio, rate_hz);
}

/* Call it when the fill is at its target. */
static void start_rate_loop(struct xn_frontend *frontend) {
    const struct xn_pcm_config *config = &frontend->pcm.config;
    uint32_t target_frames = frontend->target_fill_octets / config->frame_octets;
    xn_rate_loop_start(&frontend->rate_loop, config->rate_hz, target_frames);
    frontend->is_aligned = true;
}

/* ---- between the ring and the guest's audio server ----------------------------------------- */

/* Returns the octets that were written. */
static uint32_t write_silence(struct xn_frontend *frontend, uint32_t octets) {
    uint8_t silence[4096];
    uint32_t done = 0;
    memset(silence, frontend->pcm.config.silence_octet, sizeof silence);
    while (done < octets) {
        uint32_t part = octets - done;
        if (part > sizeof silence) part = sizeof silence;
        uint32_t written = xn_frontend_write_samples(frontend, silence, part);
        if (written == 0) break;
        done += written;
    }
    return done;
}

/* The ring was in use while the stream at the audio server was being made. With its first samples,
 * the fill is brought to its target at once; from then on adjust_rate() or due_usec() keeps it
 * there. The target is the fill after a piece was written (playback) or read (capture). */
static void align_playback(struct xn_frontend *frontend, uint32_t octets) {
    xn_frontend_take_events(frontend);
    uint64_t present = (uint64_t)xn_frontend_fill(frontend) + octets;
    if (present < frontend->target_fill_octets)
        write_silence(frontend, frontend->target_fill_octets - (uint32_t)present);
    start_rate_loop(frontend);
}

/* Returns false if too little was captured so far; `octets` are about to be read. */
static bool align_capture(struct xn_frontend *frontend, uint32_t octets) {
    uint64_t wanted = (uint64_t)frontend->target_fill_octets + octets;
    uint32_t present = xn_frontend_fill(frontend);
    if (present < wanted) return false;
    uint64_t excess = present - wanted;
    frontend->moved += excess - excess % frontend->pcm.config.frame_octets;
    start_rate_loop(frontend);
    return true;
}

static void fill_server(struct xn_frontend *frontend) {
    uint64_t before = frontend->moved;
    for (uint32_t wanted = xn_audio_writable(frontend->audio); wanted > 0;) {
        if (!frontend->is_aligned && !align_capture(frontend, wanted)) return;
        uint32_t room = wanted;
        void *to = xn_audio_begin_write(frontend->audio, &room);
        if (!to) break;
        uint32_t octets = xn_frontend_read_samples(frontend, to, room);
        if (!xn_audio_commit(frontend->audio, to, octets) || octets == 0) break;
        wanted -= octets;
    }
    if (frontend->moved != before) follow_moved(frontend);
}

static void write_recorded(struct xn_frontend *frontend, const void *from, uint32_t octets) {
    if (!frontend->is_aligned) align_playback(frontend, octets);
    uint32_t done = from ? xn_frontend_write_samples(frontend, from, octets)
                         : write_silence(frontend, octets);
    frontend->stats.lost_octets += octets - done;
    if (done) follow_moved(frontend);
}

/* Playback: writes what the server has recorded into the ring, and silence for what it dropped. */
static void take_recorded(struct xn_frontend *frontend) {
    const void *from;
    uint32_t octets;
    while (xn_audio_peek(frontend->audio, &from, &octets)) {
        if (frontend->pcm.buffer && !frontend->broken) write_recorded(frontend, from, octets);
        xn_audio_drop(frontend->audio);
    }
    xn_frontend_wake_if_awaited(frontend);
}

static void on_audio_event(void *owner, enum xn_audio_event event) {
    struct xn_frontend *frontend = owner;
    (void)event;
    if (!frontend->audio) return; /* xn_audio_new() has not returned yet */
    if (frontend->playback)
        take_recorded(frontend);
    else if (frontend->pcm.buffer && !frontend->broken)
        fill_server(frontend);
}

/* ---- a device that drives the guest's graph -------------------------------------------------- */

/* Returns when the fill is at its target again after a cycle of so many frames. */
static int64_t due_usec(void *owner, uint32_t frames) {
    struct xn_frontend *frontend = owner;
    const struct xn_pcm_config *config = &frontend->pcm.config;
    if (!frontend->pcm.buffer || frontend->broken || !frontend->pcm.running) return XN_NEVER;
    uint32_t octets = frames * config->frame_octets;
    if (!frontend->is_aligned) {
        bool is_enough = xn_frontend_fill(frontend) >= frontend->target_fill_octets + octets;
        return frontend->playback || is_enough ? 0 : XN_NEVER;
    }
    /* If the backend stands still, the graph waits, whatever the lines say. */
    uint32_t fill = xn_frontend_fill(frontend);
    if (frontend->playback ? config->buffer_octets - fill < octets : fill < octets) return XN_NEVER;
    uint64_t after = frontend->moved / config->frame_octets + frames;
    return frontend->playback ? xn_rate_loop_room_usec(&frontend->rate_loop, after)
                              : xn_rate_loop_fill_usec(&frontend->rate_loop, after);
}

/* The graph stands still, or did so for long enough that all was heard. When it goes on, the fill
 * is brought to its target anew. */
static void follow_pause(struct xn_frontend *frontend) {
    if (frontend->playback) {
        if (xn_frontend_fill(frontend) == 0) frontend->is_aligned = false;
    } else if (xn_device_state(frontend->device) == XN_DEVICE_PAUSED) {
        frontend->is_aligned = false;
        frontend->moved = frontend->ready;
    }
}

void xn_frontend_follow_backend(struct xn_frontend *frontend) {
    if (frontend->device) follow_pause(frontend);
    if (frontend->is_aligned) adjust_rate(frontend);
    if (frontend->device) xn_device_reconsider(frontend->device);
    if (!frontend->playback && must_follow(frontend)) fill_server(frontend);
}

/* ---- the guest's audio server --------------------------------------------------------------- */

static void begin_to_align(struct xn_frontend *frontend, uint32_t target_fill_octets) {
    frontend->target_fill_octets = target_fill_octets;
    frontend->is_aligned = false;
    frontend->stats.rate_hz = frontend->pcm.config.rate_hz;
}

bool xn_frontend_attach_audio(struct xn_frontend *frontend, struct xn_client *client,
                              const struct xn_audio_config *config, uint32_t target_fill_octets,
                              const char **error) {
    const struct xn_audio_owner owner = {.on_event = on_audio_event, .owner = frontend};
    xn_frontend_detach_audio(frontend);
    xn_engine_lock(frontend->engine);
    begin_to_align(frontend, target_fill_octets);
    frontend->audio = xn_audio_new(client, config, &owner, error);
    if (frontend->audio) xn_audio_start(frontend->audio);
    xn_engine_unlock(frontend->engine);
    return frontend->audio != NULL;
}

void xn_frontend_attach_device(struct xn_frontend *frontend, struct xn_device *device,
                               uint32_t target_fill_octets) {
    const struct xn_device_user user = {
        .owner = {.on_event = on_audio_event, .owner = frontend},
        .due_usec = due_usec,
    };
    xn_frontend_detach_audio(frontend);
    xn_engine_lock(frontend->engine);
    begin_to_align(frontend, target_fill_octets);
    frontend->device = device;
    frontend->audio = xn_device_connect(device, &user);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_detach_audio(struct xn_frontend *frontend) {
    xn_engine_lock(frontend->engine);
    if (frontend->device)
        xn_device_disconnect(frontend->device);
    else if (frontend->audio)
        xn_audio_free(frontend->audio, false);
    frontend->device = NULL;
    frontend->audio = NULL;
    xn_engine_unlock(frontend->engine);
}

bool xn_frontend_audio_failed(struct xn_frontend *frontend, const char **error) {
    xn_engine_lock(frontend->engine);
    bool failed = frontend->audio && xn_audio_has_failed(frontend->audio);
    if (failed) *error = xn_audio_error(frontend->audio);
    xn_engine_unlock(frontend->engine);
    return failed;
}
