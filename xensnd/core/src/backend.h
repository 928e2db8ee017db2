/* One sndif stream as the backend serves it: request ring, event page, at most one open PCM, and
 * at most one stream at the audio server.
 *
 * READ and WRITE are answered here, at once. Every other request waits for Python, one at a time,
 * and the ring with it, so that requests take effect in their order.
 *
 * Without a stream at the server, or while the server stalls, the PCM runs on a clock: playback
 * is discarded, capture is silence. So a guest that may not record, and one whose audio server is
 * gone, sees a device that works.
 */
#ifndef XENSND_BACKEND_H
#define XENSND_BACKEND_H

#include "budget.h"
#include "channel.h"
#include "pcm.h"
#include "pulse_stream.h"
#include "shared_memory.h"

struct xn_backend;

enum xn_violation {
    XN_NO_VIOLATION,
    XN_VIOLATION_RING_INDEX, /* more requests than the ring has slots */
    XN_VIOLATION_STORM,      /* its guest is over its budget without end */
    XN_VIOLATION_REFUSED,    /* XN_REFUSED_MAX READs and WRITEs outside the buffer */
};

/* A frontend may get so many READs and WRITEs wrong. */
#define XN_REFUSED_MAX 64

struct xn_backend_stats { /* since the PCM was opened */
    uint64_t requests;
    uint64_t refused;  /* READ and WRITE outside the buffer, or without one */
    uint64_t octets;   /* moved between the guest's buffer and the audio server */
    uint64_t discarded_octets; /* playback: gone with the clock; capture: silence made up */
    uint64_t late_octets; /* playback: written over when they had been audible */
    uint64_t position_octets;
    uint64_t buffered_octets; /* playback: written, not yet at the server */
    uint32_t gaps;    /* playback: times that the guest was late and it could be heard */
    uint32_t stalled; /* times that the server did not ask for too long */
    int64_t server_latency_usec; /* -1: not known */
};

/* The pages stay mapped until xn_backend_free(). `pcm`: where the PCM's positions are kept, so
 * that another process can go on with them; NULL: nowhere else. `budget`: what all streams of its
 * guest share; NULL: it has one for itself. `served`: a word of the
 * guest that is 1 while its stream is served, and else 0; NULL: nowhere. Returns NULL if there is
 * no memory. */
struct xn_backend *xn_backend_new(struct xn_engine *engine, bool playback, void *ring_page,
                                  void *event_page, const struct xn_channel *requests,
                                  const struct xn_channel *events, struct xn_pcm *pcm,
                                  struct xn_budget *budget, uint32_t *served);

/* Serves from now on. `succeeds`: another process did before, and may have published without
 * notifying. What it had open was adopted already: a WRITE may wait. */
void xn_backend_begin(struct xn_backend *backend, bool succeeds);

/* After this nothing touches the pages, the channels or the PCM's buffer. */
void xn_backend_free(struct xn_backend *backend);

enum xn_violation xn_backend_violation(struct xn_backend *backend);

/* A copy of the request that waits for a decision. False: none waits. */
bool xn_backend_next_request(struct xn_backend *backend, uint8_t request[64]);

/* Answers it; the ring goes on. */
void xn_backend_answer(struct xn_backend *backend, const uint8_t response[64]);

/* `buffer` is shared with the frontend and stays mapped until xn_backend_close_pcm(). */
void xn_backend_open_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                         void *buffer);

/* Goes on with a PCM that another process had open, where its positions stand; what that process
 * had given to the audio server and was not heard is given again. False: the positions are none
 * of such a PCM. */
bool xn_backend_adopt_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                          void *buffer);

/* After this nothing touches the PCM's buffer. */
void xn_backend_close_pcm(struct xn_backend *backend);

void xn_backend_start(struct xn_backend *backend);
void xn_backend_stop(struct xn_backend *backend);

/* Connects the open PCM with the audio server. False: *error says why. */
bool xn_backend_attach_audio(struct xn_backend *backend, struct xn_client *client,
                             const struct xn_audio_config *config, const char **error);

/* From now on the clock. What the server still has of a playback is not heard. */
void xn_backend_detach_audio(struct xn_backend *backend);

/* Capture: octets of the microphone cross into the guest's buffer until then (monotonic; INT64_MAX:
 * until the gate is closed); silence does otherwise. It is closed when a PCM is opened, adopted or
 * closed. Neither waits for the engine; when xn_backend_close_gate() returns, nothing crosses. */
void xn_backend_open_gate(struct xn_backend *backend, int64_t until_usec);
void xn_backend_close_gate(struct xn_backend *backend);

/* *error is NULL unless the stream at the server failed. */
bool xn_backend_audio_failed(struct xn_backend *backend, const char **error);

/* Copies out of, or into, the open PCM's buffer. False: the span is not in it. */
bool xn_backend_peek(struct xn_backend *backend, uint32_t offset, void *to, uint32_t octets);
bool xn_backend_poke(struct xn_backend *backend, uint32_t offset, const void *from,
                     uint32_t octets);

/* A copy of the name of the source that is recorded, cut to `octets`. False: none is known. */
bool xn_backend_source(struct xn_backend *backend, uint32_t *index, char *name, uint32_t octets);

/* See xn_audio_admit_source(). */
enum xn_admission xn_backend_admit_source(struct xn_backend *backend, uint32_t index,
                                          const char *name);

uint32_t xn_backend_audio_index(struct xn_backend *backend);
void xn_backend_stats(struct xn_backend *backend, struct xn_backend_stats *stats);

#endif
