/* Keeps the fill of a ring between two clocks at its target, by small changes of the rate at which
 * one side resamples. It does no I/O and reads no clock.
 *
 * Each side moves frames in pieces, at times that jitter. A second-order delay-locked loop fits a
 * smooth line to the pieces of each side (F. Adriaensen, "Using a DLL to filter time", 2005). The
 * distance between the two lines is the fill without these steps. A slow second-order control loop
 * computes the rate from it.
 */
#ifndef XENSND_RATE_LOOP_H
#define XENSND_RATE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* The smooth line of one side: at `usec` it has moved `frames`. */
struct xn_timeline {
    bool started;
    double usec, frames, frame_usec;
    int64_t event_usec; /* the latest event, which is not part of the line yet */
    uint64_t event_frames;
};

struct xn_rate_loop {
    uint32_t nominal_hz, target_frames;
    struct xn_timeline writer, reader;
    int64_t updated_usec, locked_usec, rounded_usec;
    double integral; /* the integral part of `change`: in the end, the difference of the clocks */
    double change;   /* 0.001: the reader is to be 0.1 % faster, or the writer slower */
    double owed_frames; /* how many frames were lost so far because the rate is in whole Hz */
    uint32_t rate_hz;
};

/* Starts again, at the nominal rate. */
void xn_rate_loop_start(struct xn_rate_loop *loop, uint32_t nominal_hz, uint32_t target_frames);

/* Note how many frames were written or read so far, in all. */
void xn_rate_loop_wrote(struct xn_rate_loop *loop, int64_t now_usec, uint64_t frames);
void xn_rate_loop_read(struct xn_rate_loop *loop, int64_t now_usec, uint64_t frames);

/* Returns the fill at this time, between the smooth lines; 0 until both sides have one. */
double xn_rate_loop_fill_frames(const struct xn_rate_loop *loop, int64_t now_usec);

/* Without resampling, a side may also wait. Return when the reader has made room for the writer to
 * be at `frames`, or when the writer is so far ahead that the reader may be there; INT64_MAX: not
 * known before the other side has moved. */
int64_t xn_rate_loop_room_usec(const struct xn_rate_loop *loop, uint64_t frames);
int64_t xn_rate_loop_fill_usec(const struct xn_rate_loop *loop, uint64_t frames);

/* Updates the rate, and returns it in whole Hz for the side that resamples: the reader, or else the
 * writer. */
uint32_t xn_rate_loop_update(struct xn_rate_loop *loop, int64_t now_usec, bool reader_resamples);

#endif
