/* One direction of a guest's sound over vchan (docs/qubes.md): a vchan, and at most one stream at
 * the audio server. The sound is 16 bit stereo at 44.1 kHz.
 *
 * Playback is pulled from the guest's ring when the server wants it. Recordings are put into the
 * other ring, but never much more than a fragment of them is queued there, however large it is. What
 * it has no room for waits here until the guest has read (vchan_waiting.h), and is lost if the guest
 * does not. The vchan of recordings also carries the guest's control words, which wait for Python one
 * at a time.
 *
 * Without a stream at the server, or while the server stalls, it runs on a clock: playback is
 * discarded, and a microphone gives silence.
 */
#ifndef XENSND_VCHAN_STREAM_H
#define XENSND_VCHAN_STREAM_H

#include "audio_stream.h"
#include "backend.h"
#include "budget.h"
#include "channel.h"
#include "vchan_ring.h"

#define XN_VCHAN_RATE_HZ 44100u
#define XN_VCHAN_FRAME_OCTETS 4u
/* What is queued for a guest to read: 46 ms. It is the whole ring of Qubes' PulseAudio module, and
 * what its PipeWire module, which has a ring of 1 MiB, wants to find there before each cycle. */
#define XN_VCHAN_FRAGMENT_OCTETS 8192u
/* In a larger ring so much more fits, 17 ms. A reader that wants a fragment there learns from that to
 * read faster; without it, what it is too slow for would be lost again and again. */
#define XN_VCHAN_HEADROOM_OCTETS 3072u
/* So much of a recording is queued for a guest at most, but for a moment: 64 ms, in its ring and, if
 * that is smaller, here. */
#define XN_VCHAN_QUEUED_OCTETS (XN_VCHAN_FRAGMENT_OCTETS + XN_VCHAN_HEADROOM_OCTETS)
/* There a recording begins with silence up to this, which is a fragment less half a cycle of 23 ms.
 * Otherwise the reader would read too slowly at first, and find too little. */
#define XN_VCHAN_BEGIN_OCTETS 6144u
/* The audio server is asked for recordings in parts of this at most, 12 ms. */
#define XN_VCHAN_PART_OCTETS 2048u
#define XN_VCHAN_WORD_OCTETS 4u
/* A guest that still has so much to play, 23 ms, is told of room for so much at least, 12 ms. */
#define XN_VCHAN_AHEAD_OCTETS 4096u
#define XN_VCHAN_ROOM_OCTETS 2048u

/* What was given to the audio server last. In memory that outlives this process, so that the next
 * one can give again what was not heard. */
#define XN_VCHAN_GIVEN_OCTETS 65536u
struct xn_vchan_given {
    uint64_t octets; /* given in all */
    uint64_t heard;  /* the end of what the server has made audible, as far as known */
    uint8_t last[XN_VCHAN_GIVEN_OCTETS]; /* each at its count modulo this */
};

struct xn_vchan_stream;

/* The pages of `vchan` stay mapped until xn_vchan_stream_free(). `given` NULL: in private memory.
 * `budget`, `served` and `gate`: see xn_backend_new(). Returns NULL if there is no memory. */
struct xn_vchan_stream *xn_vchan_stream_new(struct xn_engine *engine, bool playback,
                                            const struct xn_vchan *vchan,
                                            const struct xn_channel *channel,
                                            struct xn_vchan_given *given,
                                            struct xn_budget *budget, uint32_t *served,
                                            struct xn_gate *gate);

/* Connects to the server, and begins to serve it. `succeeds`: another process was its client
 * before; what that process gave to the audio server, and was not heard, is given again. */
void xn_vchan_stream_begin(struct xn_vchan_stream *stream, bool succeeds);

/* Tells the server that its client has gone. After this the pages and the channel are no longer
 * accessed. */
void xn_vchan_stream_free(struct xn_vchan_stream *stream);

/* Ends it without a word to the guest: another process goes on as its client. */
void xn_vchan_stream_hand_over(struct xn_vchan_stream *stream);

/* Returns whether the server is there. Python is woken when it goes. */
bool xn_vchan_stream_is_open(struct xn_vchan_stream *stream);
enum xn_violation xn_vchan_stream_violation(struct xn_vchan_stream *stream);

/* Recordings: copies the control word that waits. Returns false if none does. */
bool xn_vchan_stream_next_word(struct xn_vchan_stream *stream, uint32_t *word);
/* Gives its place back to the guest, and looks for the next one. */
void xn_vchan_stream_drop_word(struct xn_vchan_stream *stream);

/* Begins to count anew, with a closed gate. It is stopped. */
void xn_vchan_stream_reset(struct xn_vchan_stream *stream);
void xn_vchan_stream_start(struct xn_vchan_stream *stream);
/* Stopped, playback stays in the guest's ring, and nothing is recorded. */
void xn_vchan_stream_stop(struct xn_vchan_stream *stream);

/* These are as those of struct xn_backend: see backend.h. */
bool xn_vchan_stream_attach_audio(struct xn_vchan_stream *stream, struct xn_client *client,
                                  const struct xn_audio_config *config, const char **error);
void xn_vchan_stream_detach_audio(struct xn_vchan_stream *stream);
struct xn_sound *xn_vchan_stream_sound(struct xn_vchan_stream *stream);
/* Recordings: `late_octets` and `gaps` are what the guest has lost, and how often. */
void xn_vchan_stream_stats(struct xn_vchan_stream *stream, struct xn_backend_stats *stats);

/* Copies the octets that were given or recorded last. Returns how many: at most so many. */
uint32_t xn_vchan_stream_recent(struct xn_vchan_stream *stream, void *to, uint32_t octets);

#endif
