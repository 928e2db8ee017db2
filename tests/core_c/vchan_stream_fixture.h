/* A guest's vchan, with its clock, its server and the audio server in the test's hands. */
#ifndef VCHAN_STREAM_FIXTURE_H
#define VCHAN_STREAM_FIXTURE_H

#include "fake_engine.h"
#include "vchan_fixture.h"
#include "vchan_stream.h"

enum { OCTETS_A_SECOND = 44100 * 4, TEN_MSEC = 1764, PLAY = 8192, LARGE = 1 << 20, SMALL = 2048 };
enum { FRAGMENT = XN_VCHAN_FRAGMENT_OCTETS, HEADROOM = XN_VCHAN_HEADROOM_OCTETS };
#define MSEC 1000

static struct xn_engine *engine;
static struct xn_vchan_stream *stream;
static struct fake_channel channel;
static struct xn_vchan_given *given;
static uint32_t served;

/* The client's end, on the vchan as it is. */
static inline void attend(bool playback) {
    engine = fake_engine_new();
    memset(&channel, 0, sizeof channel);
    struct xn_channel end = fake_channel_end(&channel);
    stream = xn_vchan_stream_new(engine, playback, &vchan, &end, given, NULL, &served, NULL);
}

static inline void connect_to(bool playback, uint32_t octets) {
    if (playback)
        offer_at(SMALL, octets, 0);
    else
        offer_at(octets, SMALL, 0);
    given = fenced_octets(sizeof *given);
    attend(playback);
    xn_vchan_stream_begin(stream, false);
}

static inline void connect(bool playback) { connect_to(playback, playback ? PLAY : FRAGMENT); }

static inline void attach_with(uint32_t latency_usec) {
    const struct xn_audio_config config = {.latency_usec = latency_usec};
    const char *error;
    CHECK(xn_vchan_stream_attach_audio(stream, NULL, &config, &error));
}

static inline void attach(void) { attach_with(0); }

static inline void play(void) {
    connect(true);
    attach();
    xn_vchan_stream_start(stream);
}

static inline void record_into(uint32_t octets) {
    connect_to(false, octets);
    attach();
    xn_vchan_stream_start(stream);
}

/* As from a ring that is all read at once. */
static inline void record(void) { record_into(FRAGMENT); }

static inline struct xn_backend_stats stats(void) {
    struct xn_backend_stats now;
    xn_vchan_stream_stats(stream, &now);
    return now;
}

static uint8_t sound[4 * FRAGMENT];

static inline unsigned crossed(void) {
    unsigned count = 0;
    while (server_can_read()) count += server_reads() == 0x55;
    return count;
}

static inline void speak(uint32_t octets) {
    memset(sound, 0x55, sizeof sound);
    fake_server_records(sound, octets);
}

#endif
