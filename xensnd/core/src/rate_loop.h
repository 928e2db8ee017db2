/* Keeps the fill of a ring between two clocks at its target, by small changes of the rate at which
 * one side resamples. No I/O, no clock of its own.
 *
 * Each side's events are late by chance, and come in pieces. A delay-locked loop of second order
 * draws a smooth line through them (F. Adriaensen, "Using a DLL to filter time", 2005). The
 * distance between the two lines is the fill, without the steps of the pieces. A slow control loop
 * of second order makes the rate of it.
 */
#ifndef XENSND_RATE_LOOP_H
#define XENSND_RATE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* The smooth line of one side: at `usec` it has moved `frames`. */
struct xn_timeline {
    bool started;
    double usec, frames, frame_usec;
    int64_t event_usec; /* the latest event, which is not on the line yet */
    uint64_t event_frames;
};

struct xn_rate_loop {
    uint32_t nominal_hz, target_frames;
    struct xn_timeline writer, reader;
    int64_t updated_usec, locked_usec, rounded_usec;
    double integral; /* of the rate's change: the difference of the clocks, in the end */
    double change;   /* 0.001: the reader is to be 0.1 % faster, or the writer slower */
    double owed_frames; /* the whole number of Hz is less than `change` asks for, by so many */
    uint32_t rate_hz;
};

/* Begins anew, at the nominal rate. */
void xn_rate_loop_start(struct xn_rate_loop *loop, uint32_t nominal_hz, uint32_t target_frames);

/* So many frames were written or read by now, in all. */
void xn_rate_loop_wrote(struct xn_rate_loop *loop, int64_t now_usec, uint64_t frames);
void xn_rate_loop_read(struct xn_rate_loop *loop, int64_t now_usec, uint64_t frames);

/* The fill at this time, between the smooth lines; 0 while there is not one for each side. */
double xn_rate_loop_fill_frames(const struct xn_rate_loop *loop, int64_t now_usec);

/* Returns the whole number of Hz for the side that resamples: the reader, or else the writer. */
uint32_t xn_rate_loop_update(struct xn_rate_loop *loop, int64_t now_usec, bool reader_resamples);

#endif
