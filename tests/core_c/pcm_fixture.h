/* What the tests of pcm.c share: one PCM, its buffer, and time. */
#ifndef PCM_FIXTURE_H
#define PCM_FIXTURE_H

#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "pcm.h"

/* 10,000 frames of 4 octets a second: 40 octets a millisecond. */
enum { RATE_HZ = 10000, FRAME = 4, BUFFER = 3000, PERIOD = 400, HALF_PERIOD = PERIOD / 2 };
#define MSEC 1000
#define OCTETS_A_MSEC 40

static struct xn_pcm pcm;
static uint8_t *buffer;

static inline void begin_with(uint32_t buffer_octets, uint32_t period_octets) {
    struct xn_pcm_config config = {.rate_hz = RATE_HZ,
                                   .frame_octets = FRAME,
                                   .buffer_octets = buffer_octets,
                                   .period_octets = period_octets,
                                   .silence_octet = 0x80};
    buffer = fenced_octets(buffer_octets);
    for (uint32_t i = 0; i < buffer_octets; i++) buffer[i] = (uint8_t)(i * 7);
    xn_pcm_open(&pcm, &config, buffer);
}

static inline void begin(void) { begin_with(BUFFER, PERIOD); }

static inline void start(void) { xn_pcm_start(&pcm, 0); }

static inline void discard_until(int64_t now_usec) {
    xn_pcm_advance_playback(&pcm, now_usec, NULL, true);
}

static inline void play_until(int64_t now_usec, uint64_t heard) {
    xn_pcm_advance_playback(&pcm, now_usec, &heard, false);
}

/* Reports the position, if it is due. Returns it, or 0. */
static inline uint64_t tell(void) {
    uint64_t position = xn_pcm_playback_report(&pcm);
    if (position) xn_pcm_reported(&pcm, position);
    return position;
}

static inline void tell_all(void) {
    while (tell()) continue;
}

/* Lets the clock advance to `position`, while the frontend writes in time and reads its events. */
static inline void discard_up_to(uint64_t position) {
    start();
    for (int64_t now_usec = 0; pcm.position < position; now_usec += MSEC) {
        uint32_t written = (uint32_t)(pcm.written % BUFFER);
        if (pcm.written - pcm.position <= PERIOD) xn_pcm_wrote(&pcm, written, OCTETS_A_MSEC);
        discard_until(now_usec);
        tell_all();
        CHECK(now_usec < 10000 * MSEC);
    }
}

#endif
