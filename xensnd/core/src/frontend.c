#include "frontend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event_page.h"
#include "rate_loop.h"
#include "ring.h"
#include "wire.h"

struct xn_frontend {
    struct xn_engine *engine;
    struct xn_channel requests_channel, events_channel;
    pa_io_event *requests_io, *events_io;
    struct xn_frontend_ring ring;
    struct xn_event_reader events;
    bool playback, broken;
    bool in_place; /* capture: what was recorded is in the buffer without a READ */

    uint16_t next_id;
    struct xn_packet response; /* of the control request */
    uint16_t control_id;
    bool control_waits, response_waits;

    struct xn_pcm pcm;
    uint64_t moved; /* playback: written; capture: used */
    uint64_t asked; /* capture: READ was sent up to here */
    uint64_t ready; /* capture: READ was answered up to here */
    struct {
        uint16_t id;
        uint32_t octets;
    } transfers[XN_RING_SLOTS]; /* READs under way, in order */
    unsigned first_transfer, transfer_count;

    uint32_t awaited_room, awaited_fill; /* 0: none */
    uint64_t awaited_position;

    struct xn_audio *audio;
    uint32_t target_fill_octets;
    bool is_aligned; /* the fill was brought to its target after the audio stream was attached */
    struct xn_rate_loop rate_loop;
    struct xn_frontend_stats stats;
};

static void give_up(struct xn_frontend *frontend) {
    pa_mainloop_api *api = xn_engine_api(frontend->engine);
    frontend->broken = true;
    api->io_enable(frontend->requests_io, PA_IO_EVENT_NULL);
    api->io_enable(frontend->events_io, PA_IO_EVENT_NULL);
    xn_engine_wake_python(frontend->engine);
}

/* ---- fill and rate -------------------------------------------------------------------------- */

static uint32_t fill(const struct xn_frontend *frontend) {
    uint64_t ahead = frontend->playback ? frontend->moved : frontend->ready;
    uint64_t behind = frontend->playback ? frontend->pcm.position : frontend->moved;
    return ahead > behind ? (uint32_t)(ahead - behind) : 0;
}

static uint32_t room(const struct xn_frontend *frontend) {
    return frontend->pcm.buffer ? frontend->pcm.config.buffer_octets - fill(frontend) : 0;
}

static void follow_position(struct xn_frontend *frontend) {
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

static void adjust_rate(struct xn_frontend *frontend) {
    if (!frontend->audio || !frontend->is_aligned || !frontend->pcm.running) return;
    uint32_t rate_hz =
        xn_rate_loop_update(&frontend->rate_loop, xn_now_usec(), !frontend->playback);
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

static void wake_if_awaited(struct xn_frontend *frontend) {
    bool wake = false;
    if (frontend->awaited_room && room(frontend) >= frontend->awaited_room) {
        frontend->awaited_room = 0;
        wake = true;
    }
    if (frontend->awaited_fill && fill(frontend) >= frontend->awaited_fill) {
        frontend->awaited_fill = 0;
        wake = true;
    }
    if (frontend->awaited_position && frontend->pcm.position >= frontend->awaited_position) {
        frontend->awaited_position = 0;
        wake = true;
    }
    if (wake) xn_engine_wake_python(frontend->engine);
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool send_transfer(struct xn_frontend *frontend, uint64_t position, uint32_t octets) {
    struct xn_packet packet;
    struct xn_transfer transfer = {
        .id = frontend->next_id,
        .operation = frontend->playback ? XN_OP_WRITE : XN_OP_READ,
        .offset = (uint32_t)(position % frontend->pcm.config.buffer_octets),
        .octets = octets,
    };
    xn_wire_transfer_request(&packet, transfer);
    int must_notify = xn_frontend_ring_request(&frontend->ring, &packet);
    if (must_notify < 0) return false;
    frontend->next_id++;
    if (must_notify) xn_channel_notify(&frontend->requests_channel);
    return true;
}

static uint32_t up_to_the_end(const struct xn_frontend *frontend, uint64_t position,
                              uint64_t octets) {
    uint32_t size = frontend->pcm.config.buffer_octets;
    uint32_t left = size - (uint32_t)(position % size);
    return octets < left ? (uint32_t)octets : left;
}

/* Returns whether the backend has overwritten data that was not read, or may have by now: it
 * reports its position only once a period. */
static bool is_overwritten(const struct xn_frontend *frontend) {
    const struct xn_pcm *pcm = &frontend->pcm;
    return pcm->position + pcm->config.period_octets > frontend->moved + pcm->config.buffer_octets;
}

static void skip_overwritten(struct xn_frontend *frontend) {
    const struct xn_pcm *pcm = &frontend->pcm;
    if (!is_overwritten(frontend)) return;
    uint32_t half = pcm->config.buffer_octets / 2;
    uint64_t oldest = pcm->position - (half - half % pcm->config.frame_octets);
    frontend->stats.lost_octets += oldest - frontend->moved;
    frontend->moved = frontend->asked = frontend->ready = oldest;
    frontend->transfer_count = 0;
}

static void ask_for_captured(struct xn_frontend *frontend) {
    struct xn_pcm *pcm = &frontend->pcm;
    skip_overwritten(frontend);
    if (frontend->in_place) frontend->asked = frontend->ready = pcm->position;
    while (frontend->asked < pcm->position && frontend->transfer_count < XN_RING_SLOTS) {
        uint32_t octets =
            up_to_the_end(frontend, frontend->asked, pcm->position - frontend->asked);
        uint16_t id = frontend->next_id;
        if (!send_transfer(frontend, frontend->asked, octets)) break;
        unsigned at = (frontend->first_transfer + frontend->transfer_count++) % XN_RING_SLOTS;
        frontend->transfers[at].id = id;
        frontend->transfers[at].octets = octets;
        frontend->asked += octets;
    }
}

static void take_transfer(struct xn_frontend *frontend, const struct xn_packet *response) {
    if (xn_wire_status(response) != 0 && frontend->stats.refused++ == 0)
        xn_engine_wake_python(frontend->engine);
    if (frontend->playback || frontend->transfer_count == 0) return;
    unsigned at = frontend->first_transfer;
    if (frontend->transfers[at].id != xn_wire_id(response)) return;
    frontend->first_transfer = (at + 1) % XN_RING_SLOTS;
    frontend->transfer_count--;
    frontend->ready += frontend->transfers[at].octets;
}

/* The answers to WRITEs free their slots, which can wait until there is more to write. */
static bool awaits_answer(const struct xn_frontend *frontend) {
    return frontend->control_waits || !(frontend->playback || frontend->in_place);
}

static void take_responses(struct xn_frontend *frontend) {
    struct xn_packet response;
    int taken;
    while ((taken = xn_frontend_ring_take(&frontend->ring, &response,
                                          awaits_answer(frontend))) > 0) {
        uint8_t operation = xn_wire_operation(&response);
        if (operation == XN_OP_READ || operation == XN_OP_WRITE) {
            take_transfer(frontend, &response);
        } else if (frontend->control_waits && xn_wire_id(&response) == frontend->control_id) {
            frontend->response = response;
            frontend->control_waits = false;
            frontend->response_waits = true;
            xn_engine_wake_python(frontend->engine);
        }
    }
    if (taken < 0) give_up(frontend);
}

/* The backend's clock runs up to a period past the end of the data, and data written then is still
 * played. So nothing counts as played before it was written; otherwise it could be overwritten. */
static void take_position(struct xn_frontend *frontend, uint64_t position) {
    if (!frontend->pcm.buffer) return;
    if (frontend->playback && position > frontend->moved) position = frontend->moved;
    if (position <= frontend->pcm.position) return;
    frontend->pcm.position = position;
    follow_position(frontend);
}

static void take_events(struct xn_frontend *frontend) {
    struct xn_packet event;
    int taken;
    while ((taken = xn_event_reader_take(&frontend->events, &event)) > 0)
        take_position(frontend, xn_wire_event_position(&event));
    if (taken < 0) give_up(frontend);
}

/* ---- samples -------------------------------------------------------------------------------- */

static uint32_t write_samples(struct xn_frontend *frontend, const void *from, uint32_t octets) {
    struct xn_pcm *pcm = &frontend->pcm;
    uint32_t done = 0;
    take_events(frontend); /* those from before this write: see take_position() */
    take_responses(frontend); /* frees their slots */
    uint32_t free_octets = room(frontend);
    if (octets > free_octets) octets = free_octets;
    octets -= octets % pcm->config.frame_octets;
    while (done < octets && xn_frontend_ring_free_slots(&frontend->ring) > 1) {
        uint32_t part = up_to_the_end(frontend, frontend->moved, octets - done);
        xn_pcm_copy_in(pcm, frontend->moved, (const uint8_t *)from + done, part);
        if (!send_transfer(frontend, frontend->moved, part)) break;
        frontend->moved += part;
        done += part;
    }
    return done;
}

static uint32_t read_samples(struct xn_frontend *frontend, void *to, uint32_t octets) {
    uint32_t available = fill(frontend);
    if (octets > available) octets = available;
    octets -= octets % frontend->pcm.config.frame_octets;
    xn_pcm_copy_out(&frontend->pcm, frontend->moved, to, octets);
    /* This thread may have been suspended before or during the copy. */
    take_events(frontend);
    if (is_overwritten(frontend)) {
        ask_for_captured(frontend);
        return 0;
    }
    frontend->moved += octets;
    return octets;
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
        uint32_t written = write_samples(frontend, silence, part);
        if (written == 0) break;
        done += written;
    }
    return done;
}

/* The ring was in use while the stream at the audio server was being made. With its first samples,
 * the fill is brought to its target at once; from then on adjust_rate() keeps it there. The target
 * is the fill after a piece was written (playback) or read (capture). */
static void align_playback(struct xn_frontend *frontend, uint32_t octets) {
    take_events(frontend);
    uint64_t present = (uint64_t)fill(frontend) + octets;
    if (present < frontend->target_fill_octets)
        write_silence(frontend, frontend->target_fill_octets - (uint32_t)present);
    start_rate_loop(frontend);
}

/* Returns false if too little was captured so far; `octets` are about to be read. */
static bool align_capture(struct xn_frontend *frontend, uint32_t octets) {
    uint64_t wanted = (uint64_t)frontend->target_fill_octets + octets;
    uint32_t present = fill(frontend);
    if (present < wanted) return false;
    uint64_t excess = present - wanted;
    frontend->moved += excess - excess % frontend->pcm.config.frame_octets;
    start_rate_loop(frontend);
    return true;
}

/* Capture: gives the server as much of what it wants as was captured. */
static void fill_server(struct xn_frontend *frontend) {
    uint64_t before = frontend->moved;
    for (uint32_t wanted = xn_audio_writable(frontend->audio); wanted > 0;) {
        if (!frontend->is_aligned && !align_capture(frontend, wanted)) return;
        uint32_t room = wanted;
        void *to = xn_audio_begin_write(frontend->audio, &room);
        if (!to) break;
        uint32_t octets = read_samples(frontend, to, room);
        if (!xn_audio_commit(frontend->audio, to, octets) || octets == 0) break;
        wanted -= octets;
    }
    if (frontend->moved != before) follow_moved(frontend);
}

static void write_recorded(struct xn_frontend *frontend, const void *from, uint32_t octets) {
    if (!frontend->is_aligned) align_playback(frontend, octets);
    uint32_t done = from ? write_samples(frontend, from, octets) : write_silence(frontend, octets);
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
    wake_if_awaited(frontend);
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

/* ---- events -------------------------------------------------------------------------------- */

static void poll_backend(struct xn_frontend *frontend) {
    take_responses(frontend);
    take_events(frontend);
    if (!frontend->pcm.buffer || frontend->broken) return;
    if (!frontend->playback) ask_for_captured(frontend);
    adjust_rate(frontend);
    if (!frontend->playback && frontend->audio && frontend->pcm.running) fill_server(frontend);
    wake_if_awaited(frontend);
}

static void on_notified(pa_mainloop_api *api, pa_io_event *event, int fd,
                        pa_io_event_flags_t flags, void *data) {
    (void)api, (void)fd, (void)flags;
    struct xn_frontend *frontend = data;
    xn_channel_clear(event == frontend->requests_io ? &frontend->requests_channel
                                                    : &frontend->events_channel);
    poll_backend(frontend);
}

/* ---- samples, for files ---------------------------------------------------------------------- */

uint32_t xn_frontend_write(struct xn_frontend *frontend, const void *from, uint32_t octets) {
    uint32_t done = 0;
    xn_engine_lock(frontend->engine);
    if (frontend->pcm.buffer && !frontend->broken) done = write_samples(frontend, from, octets);
    xn_engine_unlock(frontend->engine);
    return done;
}

uint32_t xn_frontend_read(struct xn_frontend *frontend, void *to, uint32_t octets) {
    uint32_t done = 0;
    xn_engine_lock(frontend->engine);
    if (frontend->pcm.buffer && !frontend->broken) done = read_samples(frontend, to, octets);
    xn_engine_unlock(frontend->engine);
    return done;
}

/* ---- the guest's audio server --------------------------------------------------------------- */

bool xn_frontend_attach_audio(struct xn_frontend *frontend, struct xn_client *client,
                              const struct xn_audio_config *config, uint32_t target_fill_octets,
                              const char **error) {
    const struct xn_audio_owner owner = {.on_event = on_audio_event, .owner = frontend};
    xn_frontend_detach_audio(frontend);
    xn_engine_lock(frontend->engine);
    frontend->target_fill_octets = target_fill_octets;
    frontend->is_aligned = false;
    frontend->stats.rate_hz = config->rate_hz;
    frontend->audio = xn_audio_new(client, config, &owner, error);
    if (frontend->audio) xn_audio_start(frontend->audio);
    xn_engine_unlock(frontend->engine);
    return frontend->audio != NULL;
}

void xn_frontend_detach_audio(struct xn_frontend *frontend) {
    xn_engine_lock(frontend->engine);
    if (frontend->audio) xn_audio_free(frontend->audio, false);
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

/* ---- what Python decides -------------------------------------------------------------------- */

struct xn_frontend *xn_frontend_new(struct xn_engine *engine, bool playback, bool in_place,
                                    void *ring_page, void *event_page,
                                    const struct xn_channel *requests,
                                    const struct xn_channel *events) {
    struct xn_frontend *frontend = calloc(1, sizeof *frontend);
    if (!frontend) return NULL;
    frontend->engine = engine;
    frontend->playback = playback;
    frontend->in_place = in_place;
    frontend->requests_channel = *requests;
    frontend->events_channel = *events;
    xn_frontend_ring_attach(&frontend->ring, ring_page);
    xn_event_reader_attach(&frontend->events, event_page);
    xn_engine_lock(engine);
    pa_mainloop_api *api = xn_engine_api(engine);
    frontend->requests_io =
        api->io_new(api, requests->wait_fd, PA_IO_EVENT_INPUT, on_notified, frontend);
    frontend->events_io = api->io_new(api, events->wait_fd, PA_IO_EVENT_INPUT, on_notified, frontend);
    take_responses(frontend); /* which requests a notification of the next */
    xn_engine_unlock(engine);
    return frontend;
}

void xn_frontend_free(struct xn_frontend *frontend) {
    xn_frontend_detach_audio(frontend);
    xn_engine_lock(frontend->engine);
    pa_mainloop_api *api = xn_engine_api(frontend->engine);
    api->io_free(frontend->requests_io);
    api->io_free(frontend->events_io);
    xn_engine_unlock(frontend->engine);
    free(frontend);
}

bool xn_frontend_is_broken(struct xn_frontend *frontend) {
    xn_engine_lock(frontend->engine);
    bool broken = frontend->broken;
    xn_engine_unlock(frontend->engine);
    return broken;
}

int xn_frontend_request(struct xn_frontend *frontend, const uint8_t request[64]) {
    struct xn_packet packet;
    int result = -EBUSY;
    memcpy(packet.octets, request, XN_PACKET_OCTETS);
    xn_engine_lock(frontend->engine);
    if (!frontend->control_waits) {
        xn_wire_set_id(&packet, frontend->next_id);
        int must_notify = xn_frontend_ring_request(&frontend->ring, &packet);
        if (must_notify >= 0) {
            result = 0;
            frontend->control_id = frontend->next_id++;
            frontend->control_waits = true;
            frontend->response_waits = false;
            take_responses(frontend); /* which requests a notification of the answer */
            if (must_notify) xn_channel_notify(&frontend->requests_channel);
        }
    }
    xn_engine_unlock(frontend->engine);
    return result;
}

bool xn_frontend_response(struct xn_frontend *frontend, uint8_t response[64]) {
    xn_engine_lock(frontend->engine);
    bool waits = frontend->response_waits;
    if (waits) memcpy(response, frontend->response.octets, XN_PACKET_OCTETS);
    frontend->response_waits = false;
    xn_engine_unlock(frontend->engine);
    return waits;
}

void xn_frontend_open_pcm(struct xn_frontend *frontend, const struct xn_pcm_config *config,
                          void *buffer) {
    xn_engine_lock(frontend->engine);
    take_events(frontend); /* drops those of an earlier PCM */
    xn_pcm_open(&frontend->pcm, config, buffer);
    frontend->moved = frontend->asked = frontend->ready = 0;
    frontend->transfer_count = 0;
    memset(&frontend->stats, 0, sizeof frontend->stats);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_close_pcm(struct xn_frontend *frontend) {
    xn_frontend_detach_audio(frontend);
    xn_engine_lock(frontend->engine);
    xn_pcm_close(&frontend->pcm);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_set_running(struct xn_frontend *frontend, bool running) {
    xn_engine_lock(frontend->engine);
    frontend->pcm.running = running;
    xn_engine_unlock(frontend->engine);
}

int64_t xn_frontend_scratch(struct xn_frontend *frontend, uint32_t octets) {
    int64_t result = -EAGAIN;
    xn_engine_lock(frontend->engine);
    if (frontend->pcm.buffer && room(frontend) / 2 >= octets) {
        /* The end of the free part: the next samples reach it last. */
        uint32_t size = frontend->pcm.config.buffer_octets;
        uint64_t busy = frontend->playback ? frontend->pcm.position : frontend->moved;
        uint32_t end = (uint32_t)(busy % size);
        if (end == 0) end = size;
        if (end >= octets) result = end - octets;
    }
    xn_engine_unlock(frontend->engine);
    return result;
}

void xn_frontend_await_room(struct xn_frontend *frontend, uint32_t octets) {
    xn_engine_lock(frontend->engine);
    frontend->awaited_room = octets;
    wake_if_awaited(frontend);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_await_fill(struct xn_frontend *frontend, uint32_t octets) {
    xn_engine_lock(frontend->engine);
    frontend->awaited_fill = octets;
    wake_if_awaited(frontend);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_await_position(struct xn_frontend *frontend, uint64_t position) {
    xn_engine_lock(frontend->engine);
    frontend->awaited_position = position;
    wake_if_awaited(frontend);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_stats(struct xn_frontend *frontend, struct xn_frontend_stats *stats) {
    xn_engine_lock(frontend->engine);
    *stats = frontend->stats;
    stats->position_octets = frontend->pcm.position;
    stats->moved_octets = frontend->moved;
    stats->fill_octets = fill(frontend);
    xn_engine_unlock(frontend->engine);
}
