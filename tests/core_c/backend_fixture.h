/* What the tests of the backend share: a stream with its clock, its frontend and its audio server
 * in the test's hands.
 */
#ifndef BACKEND_FIXTURE_H
#define BACKEND_FIXTURE_H

#include <string.h>

#include "backend.h"
#include "backend_parts.h"
#include "check.h"
#include "event_page.h"
#include "fake_engine.h"
#include "ring.h"
#include "wire.h"

enum { RATE_HZ = 48000, FRAME = 4, OCTETS_A_MSEC = 192, BUFFER = 15360, PERIOD = 3840 };
enum { OP_TRIGGER = 8 };
#define MSEC 1000

static struct xn_engine *engine;
static struct xn_backend *backend;
static struct xn_ring_page *ring_page;
static struct xn_event_page *event_page;
static struct fake_channel requests, events;
static struct xn_frontend_ring frontend;
static struct xn_event_reader reader;
static uint8_t *buffer;
static uint32_t served_word; /* the guest's: 1 while it is served */

/* Makes a backend on the pages as they are, which does not serve yet. `pcm`: where it keeps its
 * positions. */
static inline void attend(bool playback, struct xn_pcm *pcm) {
    engine = fake_engine_new();
    memset(&requests, 0, sizeof requests);
    memset(&events, 0, sizeof events);
    struct xn_channel requests_end = fake_channel_end(&requests);
    struct xn_channel events_end = fake_channel_end(&events);
    backend = xn_backend_new(engine, playback, ring_page, event_page, &requests_end, &events_end,
                             pcm, NULL, &served_word, NULL);
}

/* Connects a frontend on new pages with the first backend, which serves it. */
static inline void connect_and_keep(bool playback, struct xn_pcm *pcm) {
    ring_page = fenced_page();
    event_page = fenced_page();
    xn_frontend_ring_attach(&frontend, ring_page);
    xn_event_reader_attach(&reader, event_page);
    attend(playback, pcm);
    xn_backend_begin(backend, false);
}

static inline void connect(bool playback) { connect_and_keep(playback, NULL); }

static inline struct xn_pcm_config config_of(uint32_t octets, uint32_t period_octets) {
    return (struct xn_pcm_config){.rate_hz = RATE_HZ,
                                  .frame_octets = FRAME,
                                  .buffer_octets = octets,
                                  .period_octets = period_octets};
}

static inline void open_with(uint32_t octets, uint32_t period_octets) {
    struct xn_pcm_config config = config_of(octets, period_octets);
    buffer = fenced_octets(octets);
    xn_backend_open_pcm(backend, &config, buffer);
}

static inline void open(void) { open_with(BUFFER, PERIOD); }

static inline void attach_for(uint32_t latency_usec) {
    const struct xn_audio_config config = {.latency_usec = latency_usec};
    const char *error;
    CHECK(xn_backend_attach_audio(backend, NULL, &config, &error));
}

/* Its server never gets more than it asks for. */
static inline void attach(void) { attach_for(0); }

/* Sends a request as the frontend does. If `notified`, the backend is notified, and runs. */
static inline void request(uint8_t operation, uint32_t offset, uint32_t octets, bool notified) {
    struct xn_packet packet;
    xn_wire_transfer_request(&packet, (struct xn_transfer){1, operation, offset, octets});
    CHECK(xn_frontend_ring_request(&frontend, &packet) >= 0);
    if (notified) fake_arrive();
}

enum { NO_ANSWER = 1 };

/* Takes the next response, and returns its status. */
static inline int32_t answer(void) {
    struct xn_packet packet;
    if (xn_frontend_ring_take(&frontend, &packet, true) != 1) return NO_ANSWER;
    return xn_wire_status(&packet);
}

static inline int32_t transfer(uint8_t operation, uint32_t offset, uint32_t octets) {
    request(operation, offset, octets, true);
    return answer();
}

static inline void write_all(uint32_t offset, uint32_t octets) {
    CHECK_EQUAL(transfer(XN_OP_WRITE, offset, octets), 0);
}

/* Takes all events as the frontend does. Returns the last position, or 0 if there was none. */
static inline uint64_t hear(void) {
    struct xn_packet event;
    uint64_t position = 0;
    while (xn_event_reader_take(&reader, &event) == 1) position = xn_wire_event_position(&event);
    return position;
}

static inline struct xn_backend_stats stats(void) {
    struct xn_backend_stats now;
    xn_backend_stats(backend, &now);
    return now;
}

/* Plays for so long, as a guest that writes as soon as there is room. Returns the largest step of
 * the position. */
static inline uint64_t play_on_for(int64_t usec) {
    uint64_t heard = 0, widest = 0, written = BUFFER;
    for (int64_t end_usec = fake_now_usec + usec; fake_now_usec < end_usec;) {
        fake_pass_usec(100);
        uint64_t position = hear();
        if (!position) continue;
        if (heard && position - heard > widest) widest = position - heard;
        heard = position;
        while (written < heard + BUFFER) {
            uint32_t offset = (uint32_t)(written % BUFFER);
            uint32_t room = (uint32_t)(heard + BUFFER - written);
            uint32_t octets = room < BUFFER - offset ? room : BUFFER - offset;
            write_all(offset, octets);
            written += octets;
        }
    }
    return widest;
}

#endif
