/* The parts of vchan_stream.c, which makes the same pass over a stream for every event:
 *
 *     charge the guest for its notification -> look whether it is there, and for a word -> move
 *     sound to or from the server -> follow the clock -> await the guest -> schedule the next pass
 *
 * All run under the engine's lock.
 */
#ifndef XENSND_VCHAN_PARTS_H
#define XENSND_VCHAN_PARTS_H

#include "engine.h"
#include "gate.h"
#include "vchan_stream.h"
#include "vchan_waiting.h"

struct xn_vchan_stream {
    struct xn_sound sound;
    struct xn_task tick;
    struct xn_channel channel;
    pa_io_event *io;
    struct xn_vchan vchan;
    bool playback, has_begun, is_gone, word_waits, running;
    bool is_polled; /* whether the channel is polled */
    bool more;      /* the guest has written something for which no notification comes */
    enum xn_violation violation;
    struct xn_budget own_budget, *budget; /* its guest's */
    uint32_t own_served, *served;         /* its guest's, too */

    bool stalled;
    uint32_t untold_octets; /* playback: taken since the guest was told of room */
    bool underfed; /* playback: the server wants more than the guest has written */
    bool begins;   /* capture: nothing was given since it was started */
    bool overrun;  /* capture: the guest has lost what came last */
    int64_t progress_usec; /* when the audio server last asked for octets or gave some */
    int64_t patience_usec; /* if it does nothing for longer, the stream runs on the clock */
    int64_t clock_usec;    /* without the server: since when it runs on the clock */
    uint64_t clock_octets; /* moved by the clock since then */

    struct xn_vchan_waiting waiting; /* capture */
    struct xn_vchan_given own_given, *given;
    uint64_t again; /* playback: from here on, what was given is given again */
    struct xn_backend_stats stats;
};

void xn_vchan_violate(struct xn_vchan_stream *stream, enum xn_violation violation);

/* Notes that the server was given all there was: that it then asks for nothing is no stall. */
void xn_vchan_note_idle(struct xn_vchan_stream *stream, int64_t now_usec);

/* Playback: gives the server as much of what it wants as the guest has written. */
void xn_vchan_fill_server(struct xn_vchan_stream *stream);

/* Capture: takes all that the server has recorded, and copies it to the guest, or silence if the
 * gate is closed. What the guest has no room for waits. */
void xn_vchan_take_recorded(struct xn_vchan_stream *stream, int64_t now_usec);

/* Moves what the clock moves, if it is in the server's place. */
void xn_vchan_follow_clock(struct xn_vchan_stream *stream, int64_t now_usec);

/* Returns when the clock, a stalled server or what waits needs a pass; XN_NEVER: not before another event. */
int64_t xn_vchan_due_usec(const struct xn_vchan_stream *stream, int64_t now_usec);

void xn_vchan_begin_clock(struct xn_vchan_stream *stream, int64_t now_usec);

#endif
