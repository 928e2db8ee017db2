#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontend_parts.h"
#include "wire.h"

static void give_up(struct xn_frontend *frontend) {
    pa_mainloop_api *api = xn_engine_api(frontend->engine);
    frontend->broken = true;
    api->io_enable(frontend->requests_io, PA_IO_EVENT_NULL);
    api->io_enable(frontend->events_io, PA_IO_EVENT_NULL);
    xn_engine_wake_python(frontend->engine);
}

/* ---- fill ----------------------------------------------------------------------------------- */

uint32_t xn_frontend_fill(const struct xn_frontend *frontend) {
    uint64_t ahead = frontend->playback ? frontend->moved : frontend->ready;
    uint64_t behind = frontend->playback ? frontend->pcm.position : frontend->moved;
    return ahead > behind ? (uint32_t)(ahead - behind) : 0;
}

static uint32_t room(const struct xn_frontend *frontend) {
    if (!frontend->pcm.buffer) return 0;
    return frontend->pcm.config.buffer_octets - xn_frontend_fill(frontend);
}

void xn_frontend_wake_if_awaited(struct xn_frontend *frontend) {
    bool wake = false;
    if (frontend->awaited_room && room(frontend) >= frontend->awaited_room) {
        frontend->awaited_room = 0;
        wake = true;
    }
    if (frontend->awaited_fill && xn_frontend_fill(frontend) >= frontend->awaited_fill) {
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
    xn_frontend_follow_position(frontend);
}

void xn_frontend_take_events(struct xn_frontend *frontend) {
    struct xn_packet event;
    int taken;
    while ((taken = xn_event_reader_take(&frontend->events, &event)) > 0)
        take_position(frontend, xn_wire_event_position(&event));
    if (taken < 0) give_up(frontend);
}

/* ---- samples -------------------------------------------------------------------------------- */

uint32_t xn_frontend_write_samples(struct xn_frontend *frontend, const void *from,
                                   uint32_t octets) {
    struct xn_pcm *pcm = &frontend->pcm;
    uint32_t done = 0;
    xn_frontend_take_events(frontend); /* those from before this write: see take_position() */
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

uint32_t xn_frontend_read_samples(struct xn_frontend *frontend, void *to, uint32_t octets) {
    uint32_t available = xn_frontend_fill(frontend);
    if (octets > available) octets = available;
    octets -= octets % frontend->pcm.config.frame_octets;
    xn_pcm_copy_out(&frontend->pcm, frontend->moved, to, octets);
    /* This thread may have been suspended before or during the copy. */
    xn_frontend_take_events(frontend);
    if (is_overwritten(frontend)) {
        ask_for_captured(frontend);
        return 0;
    }
    frontend->moved += octets;
    return octets;
}

/* ---- events -------------------------------------------------------------------------------- */

static void poll_backend(struct xn_frontend *frontend) {
    take_responses(frontend);
    xn_frontend_take_events(frontend);
    if (!frontend->pcm.buffer || frontend->broken) return;
    if (!frontend->playback) ask_for_captured(frontend);
    if (frontend->audio && frontend->pcm.running) xn_frontend_follow_backend(frontend);
    xn_frontend_wake_if_awaited(frontend);
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
    if (frontend->pcm.buffer && !frontend->broken)
        done = xn_frontend_write_samples(frontend, from, octets);
    xn_engine_unlock(frontend->engine);
    return done;
}

uint32_t xn_frontend_read(struct xn_frontend *frontend, void *to, uint32_t octets) {
    uint32_t done = 0;
    xn_engine_lock(frontend->engine);
    if (frontend->pcm.buffer && !frontend->broken)
        done = xn_frontend_read_samples(frontend, to, octets);
    xn_engine_unlock(frontend->engine);
    return done;
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
    xn_frontend_take_events(frontend); /* drops those of an earlier PCM */
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
    xn_frontend_wake_if_awaited(frontend);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_await_fill(struct xn_frontend *frontend, uint32_t octets) {
    xn_engine_lock(frontend->engine);
    frontend->awaited_fill = octets;
    xn_frontend_wake_if_awaited(frontend);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_await_position(struct xn_frontend *frontend, uint64_t position) {
    xn_engine_lock(frontend->engine);
    frontend->awaited_position = position;
    xn_frontend_wake_if_awaited(frontend);
    xn_engine_unlock(frontend->engine);
}

void xn_frontend_stats(struct xn_frontend *frontend, struct xn_frontend_stats *stats) {
    xn_engine_lock(frontend->engine);
    *stats = frontend->stats;
    stats->position_octets = frontend->pcm.position;
    stats->moved_octets = frontend->moved;
    stats->fill_octets = xn_frontend_fill(frontend);
    xn_engine_unlock(frontend->engine);
}
