#include "backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event_page.h"
#include "ring.h"
#include "wire.h"

/* Xen's error numbers (xen/errno.h) are Linux' own for these. */
#define STATUS_OK 0
#define STATUS_EINVAL (-22)

/* A frontend may notify this often in a window; more is not served before the window ends. The
 * smallest period, 64 frames of 48 kHz, needs 8. */
#define STORM_WINDOW_USEC 10000
#define STORM_NOTIFICATIONS 100
/* So many such windows on end are no misfortune. */
#define STORM_WINDOWS 200

/* Requests served in one go, and the rest a tick later, so that one guest cannot keep the thread
 * from the others, nor busy. */
#define REQUESTS_AT_ONCE 64

/* Without its audio server a stream holds its breath for half its buffer, and at least so long:
 * then the clock goes on without it. Linux gives up after max(100 ms, 1.1 buffers). */
#define STALL_MIN_USEC 50000

/* Positions are not looked at more often than this, however short the periods are. */
#define TICK_MIN_USEC 1000
#define TICK_MAX_USEC 20000
/* A position may be told this much late if the audio server's next request comes first. */
#define SERVER_LATE_USEC 1000

struct xn_backend {
    struct xn_engine *engine;
    struct xn_task tick;
    struct xn_channel requests_channel, events_channel;
    pa_io_event *requests_io;
    struct xn_backend_ring ring;
    struct xn_event_writer events;
    bool playback;

    struct xn_packet request; /* the one that waits for Python */
    bool request_waits;
    bool more_requests; /* than were served in one go */
    enum xn_violation violation;

    struct xn_pcm own_pcm, *pcm; /* elsewhere if it is to outlive this process */
    struct xn_audio *audio;
    bool stalled;
    bool hungry; /* the audio server wants more than there was */
    int64_t progress_usec; /* when the audio server last took or gave octets */

    int64_t window_usec; /* when the storm window began */
    unsigned notifications, storms;
    bool muted; /* the channel is not polled before the window ends */

    struct xn_backend_stats stats;
};

static void violate(struct xn_backend *backend, enum xn_violation violation) {
    backend->violation = violation;
    xn_engine_api(backend->engine)->io_enable(backend->requests_io, PA_IO_EVENT_NULL);
    xn_engine_wake_python(backend->engine);
}

/* ---- telling the frontend ------------------------------------------------------------------ */

static void report(struct xn_backend *backend) {
    bool told = false;
    uint64_t position;
    if (!backend->pcm->buffer) return;
    while ((position = xn_pcm_report(backend->pcm)) != 0) {
        if (xn_event_writer_position(&backend->events, position) < 0) break;
        xn_pcm_reported(backend->pcm, position);
        told = true;
    }
    if (told) xn_channel_notify(&backend->events_channel);
}

/* ---- the clock ------------------------------------------------------------------------------ */

static int64_t tick_usec(const struct xn_backend *backend) {
    int64_t usec = TICK_MAX_USEC;
    if (backend->pcm->config.period_octets)
        usec = xn_pcm_octets_to_usec(backend->pcm, xn_pcm_report_octets(backend->pcm));
    if (usec < TICK_MIN_USEC) return TICK_MIN_USEC;
    return usec < TICK_MAX_USEC ? usec : TICK_MAX_USEC;
}

static int64_t stall_usec(const struct xn_backend *backend) {
    int64_t half = xn_pcm_octets_to_usec(backend->pcm, backend->pcm->config.buffer_octets) / 2;
    return half > STALL_MIN_USEC ? half : STALL_MIN_USEC;
}

static void watch_for_stall(struct xn_backend *backend, int64_t now_usec) {
    if (!backend->audio || backend->stalled) return;
    /* A server that wants nothing while nothing is there has not stalled. */
    if (backend->playback && xn_pcm_available(backend->pcm) == 0 &&
        !xn_audio_has_failed(backend->audio))
        backend->progress_usec = now_usec;
    if (now_usec - backend->progress_usec <= stall_usec(backend)) return;
    backend->stalled = true;
    backend->stats.stalled++;
}

static void advance_playback(struct xn_backend *backend, int64_t now_usec) {
    struct xn_pcm *pcm = backend->pcm;
    int64_t latency_usec;
    if (!backend->audio || backend->stalled) {
        uint64_t before = pcm->taken;
        xn_pcm_advance_playback(pcm, now_usec, NULL, true);
        backend->stats.discarded_octets += pcm->taken - before;
    } else if (xn_audio_latency_usec(backend->audio, &latency_usec)) {
        uint32_t queued = xn_pcm_usec_to_octets(pcm, latency_usec);
        uint64_t heard = queued < pcm->taken ? pcm->taken - queued : 0;
        xn_pcm_advance_playback(pcm, now_usec, &heard, false);
    } else {
        xn_pcm_hold(pcm, now_usec);
    }
}

static void advance_capture(struct xn_backend *backend, int64_t now_usec) {
    if (backend->audio && !backend->stalled) return; /* the server's data is the clock */
    uint32_t due = xn_pcm_capture_due(backend->pcm, now_usec);
    backend->stats.discarded_octets +=
        xn_pcm_capture(backend->pcm, NULL, due, now_usec);
}

static void advance(struct xn_backend *backend, int64_t now_usec) {
    watch_for_stall(backend, now_usec);
    if (backend->playback)
        advance_playback(backend, now_usec);
    else
        advance_capture(backend, now_usec);
    report(backend);
}

/* Whether the audio server's requests drive this playback. */
static bool is_fed(const struct xn_backend *backend) {
    return backend->playback && backend->audio && backend->pcm->running && !backend->stalled &&
           !backend->hungry;
}

static void schedule(struct xn_backend *backend, int64_t now_usec) {
    int64_t due_usec = XN_NEVER;
    if (backend->pcm->running || backend->pcm->report_now) {
        /* All streams of one period tick together, on a grid of their own. */
        int64_t step = tick_usec(backend);
        due_usec = (now_usec / step + 1) * step;
        /* A server that asks on time makes the clock's own wakeups unnecessary. */
        if (is_fed(backend)) due_usec = now_usec + step + SERVER_LATE_USEC;
    }
    if (backend->muted && due_usec > backend->window_usec + STORM_WINDOW_USEC)
        due_usec = backend->window_usec + STORM_WINDOW_USEC;
    if (backend->more_requests && due_usec > now_usec + TICK_MIN_USEC)
        due_usec = now_usec + TICK_MIN_USEC;
    xn_engine_schedule(backend->engine, &backend->tick, due_usec);
}

/* ---- the ring ------------------------------------------------------------------------------- */

static int32_t transfer(struct xn_backend *backend, struct xn_transfer transfer) {
    struct xn_pcm *pcm = backend->pcm;
    bool right_way = transfer.operation == (backend->playback ? XN_OP_WRITE : XN_OP_READ);
    if (!pcm->buffer || !right_way || !xn_pcm_in_buffer(pcm, transfer.offset, transfer.octets) ||
        transfer.offset % pcm->config.frame_octets || transfer.octets % pcm->config.frame_octets) {
        backend->stats.refused++;
        return STATUS_EINVAL;
    }
    /* What was captured lies in the buffer already; a READ has nothing left to do. */
    if (backend->playback) xn_pcm_wrote(pcm, transfer.offset, transfer.octets);
    return STATUS_OK;
}

/* A frontend that waits for each answer wants it at once. One that does not is looked after when
 * the audio server asks, which saves a wakeup for each of its requests. */
static bool wants_notice(const struct xn_backend *backend) {
    return !(backend->ring.pipelined && is_fed(backend));
}

static void serve(struct xn_backend *backend) {
    bool answered = false;
    backend->more_requests = false;
    for (unsigned n = 0; !backend->request_waits && !backend->violation; n++) {
        if (n == REQUESTS_AT_ONCE) {
            backend->more_requests = true;
            schedule(backend, xn_now_usec());
            break;
        }
        struct xn_packet request, response;
        int taken = xn_backend_ring_take(&backend->ring, &request);
        if (taken == 0) {
            if (wants_notice(backend) && xn_backend_ring_ask(&backend->ring)) continue;
            break;
        }
        if (taken < 0) {
            violate(backend, XN_VIOLATION_RING_INDEX);
            break;
        }
        backend->stats.requests++;
        uint8_t operation = xn_wire_operation(&request);
        if (operation == XN_OP_READ || operation == XN_OP_WRITE) {
            xn_wire_response(&response, &request, transfer(backend, xn_wire_transfer(&request)));
            xn_backend_ring_answer(&backend->ring, &response);
            answered = true;
        } else {
            backend->request = request;
            backend->request_waits = true;
            xn_engine_wake_python(backend->engine);
        }
    }
    if (answered) {
        xn_channel_notify(&backend->requests_channel);
        if (backend->audio && backend->pcm->running && !backend->stalled)
            xn_audio_pump(backend->audio);
    }
}

/* ---- storms --------------------------------------------------------------------------------- */

static void end_window(struct xn_backend *backend, int64_t now_usec) {
    if (now_usec - backend->window_usec < STORM_WINDOW_USEC) return;
    backend->storms = backend->muted ? backend->storms + 1 : 0;
    backend->window_usec = now_usec;
    backend->notifications = 0;
    if (!backend->muted) return;
    backend->muted = false;
    if (backend->violation) return;
    if (backend->storms >= STORM_WINDOWS)
        violate(backend, XN_VIOLATION_STORM);
    else
        xn_engine_api(backend->engine)->io_enable(backend->requests_io, PA_IO_EVENT_INPUT);
}

static void on_request(pa_mainloop_api *api, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                       void *data) {
    (void)fd, (void)flags;
    struct xn_backend *backend = data;
    int64_t now_usec = xn_now_usec();
    xn_engine_count_wakeup(backend->engine);
    xn_channel_clear(&backend->requests_channel);
    end_window(backend, now_usec);
    if (++backend->notifications > STORM_NOTIFICATIONS) {
        backend->muted = true;
        api->io_enable(event, PA_IO_EVENT_NULL);
        schedule(backend, now_usec);
    }
    serve(backend);
}

static void on_tick(void *owner, int64_t now_usec) {
    struct xn_backend *backend = owner;
    end_window(backend, now_usec);
    serve(backend);
    if (backend->pcm->running)
        advance(backend, now_usec);
    else
        report(backend);
    schedule(backend, now_usec);
}

/* ---- the audio server's side ---------------------------------------------------------------- */

static uint32_t supply(void *owner, void *to, uint32_t octets) {
    struct xn_backend *backend = owner;
    struct xn_pcm *pcm = backend->pcm;
    backend->progress_usec = xn_now_usec();
    backend->stalled = false;
    serve(backend);
    if (!pcm->buffer) return 0;
    uint32_t available = xn_pcm_available(pcm);
    uint32_t count = octets < available ? octets : available;
    count -= count % pcm->config.frame_octets;
    xn_pcm_take(pcm, to, count);
    backend->stats.octets += count;
    return count;
}

static void settled(void *owner, bool satisfied) {
    struct xn_backend *backend = owner;
    backend->hungry = !satisfied;
    if (!backend->pcm->running) return;
    /* The positions that follow from what was taken tell the frontend how much to write. */
    int64_t now_usec = xn_now_usec();
    advance(backend, now_usec);
    schedule(backend, now_usec);
    if (backend->hungry) serve(backend);
}

static void consume(void *owner, const void *from, uint32_t octets) {
    struct xn_backend *backend = owner;
    if (!backend->pcm->buffer || !backend->pcm->running) return;
    int64_t now_usec = xn_now_usec();
    backend->progress_usec = now_usec;
    backend->stalled = false;
    while (octets > 0) {
        uint32_t count = xn_pcm_capture(backend->pcm, from, octets, now_usec);
        if (count == 0) break; /* the frontend does not keep up: an overrun, as in hardware */
        *(from ? &backend->stats.octets : &backend->stats.discarded_octets) += count;
        octets -= count;
        if (from) from = (const uint8_t *)from + count;
        report(backend);
    }
}

static void on_audio_changed(void *owner) {
    struct xn_backend *backend = owner;
    backend->progress_usec = xn_now_usec();
    if (xn_audio_has_failed(backend->audio)) backend->stalled = true;
}

bool xn_backend_attach_audio(struct xn_backend *backend, struct xn_client *client,
                             const struct xn_audio_config *config, const char **error) {
    const struct xn_audio_end end = {
        .owner = backend,
        .supply = supply,
        .settled = settled,
        .consume = consume,
        .changed = on_audio_changed,
    };
    xn_backend_detach_audio(backend);
    xn_engine_lock(backend->engine);
    int64_t now_usec = xn_now_usec();
    backend->stalled = false;
    backend->progress_usec = now_usec;
    if (backend->playback) xn_pcm_rewind_to_position(backend->pcm);
    backend->audio = xn_audio_new(client, config, &end, error);
    if (backend->audio && backend->pcm->running) xn_audio_start(backend->audio);
    xn_engine_unlock(backend->engine);
    return backend->audio != NULL;
}

static void release_audio(struct xn_backend *backend, bool drain) {
    if (!backend->audio) return;
    backend->stats.gaps += xn_audio_gaps(backend->audio);
    xn_audio_free(backend->audio, drain);
    backend->audio = NULL;
    backend->stalled = false;
}

void xn_backend_detach_audio(struct xn_backend *backend) {
    xn_engine_lock(backend->engine);
    release_audio(backend, false);
    xn_pcm_hold(backend->pcm, xn_now_usec());
    xn_engine_unlock(backend->engine);
}

bool xn_backend_audio_failed(struct xn_backend *backend, const char **error) {
    xn_engine_lock(backend->engine);
    bool failed = backend->audio && xn_audio_has_failed(backend->audio);
    if (failed) *error = xn_audio_error(backend->audio);
    xn_engine_unlock(backend->engine);
    return failed;
}

bool xn_backend_peek(struct xn_backend *backend, uint32_t offset, void *to, uint32_t octets) {
    xn_engine_lock(backend->engine);
    bool inside = backend->pcm->buffer && xn_pcm_in_buffer(backend->pcm, offset, octets);
    if (inside) memcpy(to, backend->pcm->buffer + offset, octets);
    xn_engine_unlock(backend->engine);
    return inside;
}

bool xn_backend_poke(struct xn_backend *backend, uint32_t offset, const void *from,
                     uint32_t octets) {
    xn_engine_lock(backend->engine);
    bool inside = backend->pcm->buffer && xn_pcm_in_buffer(backend->pcm, offset, octets);
    if (inside) memcpy(backend->pcm->buffer + offset, from, octets);
    xn_engine_unlock(backend->engine);
    return inside;
}

bool xn_backend_source(struct xn_backend *backend, uint32_t *index, char *name, uint32_t octets) {
    xn_engine_lock(backend->engine);
    const char *known = backend->audio ? xn_audio_source(backend->audio, index) : NULL;
    if (known) snprintf(name, octets, "%s", known);
    xn_engine_unlock(backend->engine);
    return known != NULL;
}

enum xn_admission xn_backend_admit_source(struct xn_backend *backend, uint32_t index,
                                          const char *name) {
    xn_engine_lock(backend->engine);
    enum xn_admission admission = backend->audio
                                      ? xn_audio_admit_source(backend->audio, index, name)
                                      : XN_NOT_ITS_SOURCE;
    xn_engine_unlock(backend->engine);
    return admission;
}

uint32_t xn_backend_audio_index(struct xn_backend *backend) {
    xn_engine_lock(backend->engine);
    uint32_t index = backend->audio ? xn_audio_index(backend->audio) : UINT32_MAX;
    xn_engine_unlock(backend->engine);
    return index;
}

/* ---- what Python decides -------------------------------------------------------------------- */

struct xn_backend *xn_backend_new(struct xn_engine *engine, bool playback, void *ring_page,
                                  void *event_page, const struct xn_channel *requests,
                                  const struct xn_channel *events, struct xn_pcm *pcm) {
    struct xn_backend *backend = calloc(1, sizeof *backend);
    if (!backend) return NULL;
    backend->engine = engine;
    backend->playback = playback;
    backend->pcm = pcm ? pcm : &backend->own_pcm;
    xn_pcm_close(backend->pcm); /* another process had it open, if any */
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
    xn_engine_lock(backend->engine);
    xn_engine_api(backend->engine)->io_enable(backend->requests_io, PA_IO_EVENT_INPUT);
    serve(backend); /* and so ask to be notified */
    if (succeeds) {
        xn_channel_notify(&backend->requests_channel);
        xn_channel_notify(&backend->events_channel);
    }
    xn_engine_unlock(backend->engine);
}

void xn_backend_free(struct xn_backend *backend) {
    xn_engine_lock(backend->engine);
    release_audio(backend, false);
    xn_engine_api(backend->engine)->io_free(backend->requests_io);
    xn_engine_remove_task(backend->engine, &backend->tick);
    xn_engine_unlock(backend->engine);
    free(backend);
}

enum xn_violation xn_backend_violation(struct xn_backend *backend) {
    xn_engine_lock(backend->engine);
    enum xn_violation violation = backend->violation;
    xn_engine_unlock(backend->engine);
    return violation;
}

bool xn_backend_next_request(struct xn_backend *backend, uint8_t request[64]) {
    xn_engine_lock(backend->engine);
    bool waits = backend->request_waits;
    if (waits) memcpy(request, backend->request.octets, XN_PACKET_OCTETS);
    xn_engine_unlock(backend->engine);
    return waits;
}

void xn_backend_answer(struct xn_backend *backend, const uint8_t response[64]) {
    struct xn_packet packet;
    memcpy(packet.octets, response, XN_PACKET_OCTETS);
    xn_engine_lock(backend->engine);
    if (backend->request_waits) {
        xn_backend_ring_answer(&backend->ring, &packet);
        xn_channel_notify(&backend->requests_channel);
        backend->request_waits = false;
        serve(backend);
    }
    xn_engine_unlock(backend->engine);
}

void xn_backend_open_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                         void *buffer) {
    xn_engine_lock(backend->engine);
    xn_pcm_open(backend->pcm, config, buffer);
    memset(&backend->stats, 0, sizeof backend->stats);
    xn_engine_unlock(backend->engine);
}

bool xn_backend_adopt_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                          void *buffer) {
    xn_engine_lock(backend->engine);
    bool adopted = xn_pcm_adopt(backend->pcm, config, buffer, xn_now_usec());
    xn_engine_unlock(backend->engine);
    return adopted;
}

void xn_backend_close_pcm(struct xn_backend *backend) {
    xn_engine_lock(backend->engine);
    report(backend); /* no event may come after this: a closed PCM would find it at its next open */
    release_audio(backend, xn_pcm_available(backend->pcm) == 0);
    xn_pcm_close(backend->pcm);
    backend->pcm->report_now = false;
    schedule(backend, xn_now_usec());
    serve(backend); /* and so ask to be notified */
    xn_engine_unlock(backend->engine);
}

void xn_backend_start(struct xn_backend *backend) {
    xn_engine_lock(backend->engine);
    if (backend->pcm->buffer && !backend->pcm->running) {
        int64_t now_usec = xn_now_usec();
        xn_pcm_start(backend->pcm, now_usec);
        backend->progress_usec = now_usec;
        backend->stalled = false;
        if (backend->audio) xn_audio_start(backend->audio);
        schedule(backend, now_usec);
    }
    xn_engine_unlock(backend->engine);
}

void xn_backend_stop(struct xn_backend *backend) {
    xn_engine_lock(backend->engine);
    if (backend->pcm->buffer && backend->pcm->running) {
        bool all_taken = xn_pcm_available(backend->pcm) == 0;
        if (backend->audio) xn_audio_stop(backend->audio, all_taken);
        xn_pcm_stop(backend->pcm);
        report(backend);
        schedule(backend, xn_now_usec());
        serve(backend); /* and so ask to be notified */
    }
    xn_engine_unlock(backend->engine);
}

void xn_backend_stats(struct xn_backend *backend, struct xn_backend_stats *stats) {
    xn_engine_lock(backend->engine);
    int64_t latency_usec;
    *stats = backend->stats;
    stats->position_octets = backend->pcm->position;
    stats->buffered_octets = backend->playback ? xn_pcm_available(backend->pcm) : 0;
    stats->server_latency_usec = -1;
    if (backend->audio) {
        stats->gaps += xn_audio_gaps(backend->audio);
        if (xn_audio_latency_usec(backend->audio, &latency_usec))
            stats->server_latency_usec = latency_usec;
    }
    xn_engine_unlock(backend->engine);
}
