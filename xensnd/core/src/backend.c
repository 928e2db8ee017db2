#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend_parts.h"
#include "served.h"
#include "wire.h"

/* ---- the pass: see backend_parts.h ---------------------------------------------------------- */

static void run_pass(struct xn_backend *backend, int64_t now_usec, bool notified) {
    xn_mark_served(backend->served, 1);
    xn_backend_note_idle(backend, now_usec); /* before the guest has written more */
    xn_backend_drain_requests(backend, now_usec, notified);
    if (backend->playback)
        xn_backend_fill_server(backend, now_usec);
    else
        xn_backend_take_recorded(backend, now_usec);
    xn_backend_advance(backend, now_usec);
    xn_backend_report(backend);
    xn_backend_conclude(backend);
    xn_backend_await_requests(backend, now_usec);
    xn_backend_schedule(backend, now_usec);
    xn_mark_served(backend->served, 0);
}

static void on_request(pa_mainloop_api *api, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                       void *data) {
    (void)api, (void)event, (void)fd, (void)flags;
    struct xn_backend *backend = data;
    xn_channel_clear(&backend->requests_channel);
    run_pass(backend, xn_now_usec(), true);
}

static void on_tick(void *owner, int64_t now_usec) { run_pass(owner, now_usec, false); }

static void on_audio_event(void *owner, enum xn_audio_event event) {
    struct xn_backend *backend = owner;
    int64_t now_usec = xn_now_usec();
    if (!backend->sound.audio) return; /* xn_audio_new() has not returned yet */
    xn_backend_note_event(backend, event, now_usec);
    run_pass(backend, now_usec, false);
}

/* ---- the audio server's side ---------------------------------------------------------------- */

bool xn_backend_attach_audio(struct xn_backend *backend, struct xn_client *client,
                             const struct xn_audio_config *config, const char **error) {
    const struct xn_audio_owner owner = {.on_event = on_audio_event, .owner = backend};
    xn_backend_detach_audio(backend);
    xn_engine_lock(backend->sound.engine);
    backend->stalled = backend->is_held = false;
    backend->progress_usec = xn_now_usec();
    if (backend->playback) xn_pcm_rewind_to_position(backend->pcm);
    xn_backend_begin_sound(backend);
    backend->latency_usec = config->latency_usec;
    backend->fed_usec = 0;
    backend->sound.audio = xn_audio_new(client, config, &owner, error);
    if (backend->sound.audio && backend->pcm->running) xn_audio_start(backend->sound.audio);
    xn_engine_unlock(backend->sound.engine);
    return backend->sound.audio != NULL;
}

void xn_backend_detach_audio(struct xn_backend *backend) {
    xn_engine_lock(backend->sound.engine);
    int64_t now_usec = xn_now_usec();
    xn_backend_release_audio(backend, false);
    xn_pcm_hold(backend->pcm, now_usec);
    xn_backend_schedule(backend, now_usec); /* from here on the clock alone wakes it */
    xn_engine_unlock(backend->sound.engine);
}

bool xn_backend_peek(struct xn_backend *backend, uint32_t offset, void *to, uint32_t octets) {
    xn_engine_lock(backend->sound.engine);
    bool inside = backend->pcm->buffer && xn_pcm_in_buffer(backend->pcm, offset, octets);
    if (inside) memcpy(to, backend->pcm->buffer + offset, octets);
    xn_engine_unlock(backend->sound.engine);
    return inside;
}

bool xn_backend_poke(struct xn_backend *backend, uint32_t offset, const void *from,
                     uint32_t octets) {
    xn_engine_lock(backend->sound.engine);
    bool inside = backend->pcm->buffer && xn_pcm_in_buffer(backend->pcm, offset, octets);
    if (inside) memcpy(backend->pcm->buffer + offset, from, octets);
    xn_engine_unlock(backend->sound.engine);
    return inside;
}

struct xn_sound *xn_backend_sound(struct xn_backend *backend) { return &backend->sound; }

/* ---- what Python decides -------------------------------------------------------------------- */

struct xn_backend *xn_backend_new(struct xn_engine *engine, bool playback, void *ring_page,
                                  void *event_page, const struct xn_channel *requests,
                                  const struct xn_channel *events, struct xn_pcm *pcm,
                                  struct xn_budget *budget, uint32_t *served,
                                  struct xn_gate *gate) {
    struct xn_backend *backend = calloc(1, sizeof *backend);
    if (!backend) return NULL;
    backend->playback = playback;
    backend->pcm = pcm ? pcm : &backend->own_pcm;
    xn_budget_init(&backend->own_budget);
    backend->budget = budget ? budget : &backend->own_budget;
    backend->served = served ? served : &backend->own_served;
    xn_sound_init(&backend->sound, engine, gate);
    xn_pcm_close(backend->pcm); /* if it was open, another process had it */
    backend->requests_channel = *requests;
    backend->events_channel = *events;
    backend->tick = (struct xn_task){.run = on_tick, .owner = backend};
    xn_backend_ring_attach(&backend->ring, ring_page);
    xn_event_writer_attach(&backend->events, event_page);
    xn_engine_lock(engine);
    pa_mainloop_api *api = xn_engine_api(engine);
    backend->requests_io =
        api->io_new(api, requests->wait_fd, PA_IO_EVENT_INPUT, on_request, backend);
    api->io_enable(backend->requests_io, PA_IO_EVENT_NULL);
    xn_engine_add_task(engine, &backend->tick);
    xn_engine_unlock(engine);
    return backend;
}

void xn_backend_begin(struct xn_backend *backend, bool succeeds) {
    xn_engine_lock(backend->sound.engine);
    backend->has_begun = true;
    run_pass(backend, xn_now_usec(), false);
    if (succeeds) {
        xn_channel_notify(&backend->requests_channel);
        xn_channel_notify(&backend->events_channel);
    }
    xn_engine_unlock(backend->sound.engine);
}

void xn_backend_free(struct xn_backend *backend) {
    xn_engine_lock(backend->sound.engine);
    xn_backend_release_audio(backend, false);
    xn_engine_api(backend->sound.engine)->io_free(backend->requests_io);
    xn_engine_remove_task(backend->sound.engine, &backend->tick);
    xn_engine_unlock(backend->sound.engine);
    free(backend);
}

enum xn_violation xn_backend_violation(struct xn_backend *backend) {
    xn_engine_lock(backend->sound.engine);
    enum xn_violation violation = backend->violation;
    xn_engine_unlock(backend->sound.engine);
    return violation;
}

bool xn_backend_next_request(struct xn_backend *backend, uint8_t request[64]) {
    xn_engine_lock(backend->sound.engine);
    bool waits = backend->request_waits;
    if (waits) memcpy(request, backend->request.octets, XN_PACKET_OCTETS);
    xn_engine_unlock(backend->sound.engine);
    return waits;
}

void xn_backend_answer(struct xn_backend *backend, const uint8_t response[64]) {
    struct xn_packet packet;
    memcpy(packet.octets, response, XN_PACKET_OCTETS);
    xn_engine_lock(backend->sound.engine);
    if (backend->request_waits) {
        if (backend->progress == XN_REQUEST_ANSWERED) {
            xn_backend_followed(backend, xn_wire_status(&packet) != 0);
        } else {
            xn_backend_ring_answer(&backend->ring, &packet);
            xn_channel_notify(&backend->requests_channel);
        }
        backend->request_waits = backend->next_waits = false;
        run_pass(backend, xn_now_usec(), false);
    }
    xn_engine_unlock(backend->sound.engine);
}

void xn_backend_open_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                         void *buffer) {
    xn_engine_lock(backend->sound.engine);
    xn_gate_close(backend->sound.gate);
    xn_pcm_open(backend->pcm, config, buffer);
    memset(&backend->stats, 0, sizeof backend->stats);
    xn_engine_unlock(backend->sound.engine);
}

bool xn_backend_adopt_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                          void *buffer) {
    xn_engine_lock(backend->sound.engine);
    xn_gate_close(backend->sound.gate);
    bool adopted = xn_pcm_adopt(backend->pcm, config, buffer, xn_now_usec());
    if (adopted) xn_backend_follow_again(backend);
    xn_engine_unlock(backend->sound.engine);
    return adopted;
}

void xn_backend_close_pcm(struct xn_backend *backend) {
    xn_engine_lock(backend->sound.engine);
    /* No event may follow: the frontend would take it for one of the PCM that it opens next. */
    xn_backend_report(backend);
    xn_backend_release_audio(backend, xn_pcm_available(backend->pcm) == 0);
    xn_gate_close(backend->sound.gate);
    xn_pcm_close(backend->pcm);
    backend->pcm->report_now = false;
    run_pass(backend, xn_now_usec(), false);
    xn_engine_unlock(backend->sound.engine);
}

void xn_backend_start(struct xn_backend *backend) {
    xn_engine_lock(backend->sound.engine);
    struct xn_pcm *pcm = backend->pcm;
    if (pcm->buffer && !pcm->running && pcm->ahead != XN_STOPPED_AHEAD) {
        int64_t now_usec = xn_now_usec();
        xn_backend_run(backend, now_usec);
        run_pass(backend, now_usec, false);
    }
    xn_engine_unlock(backend->sound.engine);
}

void xn_backend_stop(struct xn_backend *backend) {
    xn_engine_lock(backend->sound.engine);
    if (backend->pcm->buffer && backend->pcm->running) {
        xn_backend_halt(backend);
        run_pass(backend, xn_now_usec(), false);
    }
    xn_engine_unlock(backend->sound.engine);
}

void xn_backend_stats(struct xn_backend *backend, struct xn_backend_stats *stats) {
    xn_engine_lock(backend->sound.engine);
    int64_t latency_usec;
    xn_backend_advance(backend, xn_now_usec());
    *stats = backend->stats;
    stats->position_octets = backend->pcm->position;
    stats->buffered_octets = backend->playback ? xn_pcm_available(backend->pcm) : 0;
    stats->server_latency_usec = -1;
    if (backend->sound.audio) {
        stats->gaps += xn_audio_gaps(backend->sound.audio);
        if (xn_audio_latency_usec(backend->sound.audio, &latency_usec))
            stats->server_latency_usec = latency_usec;
    }
    xn_engine_unlock(backend->sound.engine);
}
