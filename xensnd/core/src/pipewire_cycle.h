/* What PipeWire's real-time thread does with a stream in each cycle, and what it tells the engine's
 * thread. It waits for nothing.
 */
#ifndef XENSND_PIPEWIRE_CYCLE_H
#define XENSND_PIPEWIRE_CYCLE_H

#include "pipewire_format.h"
#include "pipewire_hub.h"
#include "sample_queue.h"

/* After so many cycles without samples of ours, the last ones have left PipeWire's converter. */
#define PIPEWIRE_EMPTY_CYCLES 2

/* When the last octet is heard that was taken. `count` is odd while it is written. */
struct pipewire_heard {
    uint32_t count;
    uint64_t read;   /* octets taken; 0: none yet */
    int64_t at_nsec; /* monotonic */
};

struct pipewire_cycle {
    struct pipewire_hub *hub;
    struct pw_stream *stream;
    struct pipewire_format format;
    int64_t began_nsec;
    uint32_t done_octets; /* of this cycle, which may come in pieces */

    /* Shared with the engine's thread. */
    struct xn_queue queue;
    struct pipewire_heard heard;
    bool asks;             /* there is something to do for the engine's thread, which clears it */
    bool dry;              /* playback has taken all there was; the engine's thread clears it */
    uint32_t octets;       /* of a cycle; 0: there was none yet */
    uint32_t empty_cycles; /* in a row, without samples of ours; at most PIPEWIRE_EMPTY_CYCLES */
};

/* In the real-time thread. */
void pipewire_cycle_play(struct pipewire_cycle *cycle);
void pipewire_cycle_record(struct pipewire_cycle *cycle);

/* In the engine's thread. */

struct pipewire_heard pipewire_cycle_heard(const struct pipewire_cycle *cycle);
bool pipewire_cycle_take_asks(struct pipewire_cycle *cycle);
bool pipewire_cycle_take_dry(struct pipewire_cycle *cycle);

/* Returns whether all that was written has been played. */
bool pipewire_cycle_is_drained(const struct pipewire_cycle *cycle);

/* Returns the octets of a cycle; 0: not known yet. */
uint32_t pipewire_cycle_octets(const struct pipewire_cycle *cycle);

int64_t pipewire_nsec_of(const struct pipewire_format *format, uint64_t octets);

#endif
