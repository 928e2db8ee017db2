/* The backend's side of one sndif stream: request ring, event page, at most one open PCM, and at
 * most one stream at the audio server.
 *
 * READ and WRITE are answered here, at once. Every other request waits for Python, one at a time.
 * The requests behind it wait too, so that requests take effect in order. START, STOP and PAUSE of a
 * stream that is allowed are served and answered at once; then they wait for Python to follow, and
 * only those behind them that are for Python wait, too.
 *
 * Without a stream at the server, or while the server stalls, the PCM runs on a clock: playback is
 * discarded, capture is silence. So the device keeps working for a guest that may not record, and
 * for one whose audio server is gone.
 */
#ifndef XENSND_BACKEND_H
#define XENSND_BACKEND_H

#include "audio_stream.h"
#include "budget.h"
#include "channel.h"
#include "pcm.h"
#include "shared_memory.h"
#include "sound.h"

struct xn_backend;

enum xn_violation {
    XN_NO_VIOLATION,
    XN_VIOLATION_RING_INDEX, /* more requests than the ring has slots */
    XN_VIOLATION_STORM,      /* its guest stayed over its budget for too long */
    XN_VIOLATION_REFUSED,    /* XN_REFUSED_MAX READs and WRITEs outside the buffer */
};

/* So many refused READs and WRITEs are a violation. */
#define XN_REFUSED_MAX 64

struct xn_backend_stats { /* since the PCM was opened */
    uint64_t requests;
    uint64_t refused;  /* READ and WRITE outside the buffer, or with no open PCM */
    uint64_t octets;   /* moved between the guest's buffer and the audio server */
    uint64_t discarded_octets; /* playback: dropped by the clock; capture: silence, by the clock */
    uint64_t late_octets; /* playback: overwritten when it was too late; see vchan_stream.h */
    uint64_t position_octets;
    uint64_t buffered_octets; /* playback: written, not yet given to the server */
    uint32_t gaps;    /* playback: audible gaps, because the guest was late */
    uint32_t stalled; /* times that the server did nothing for too long */
    int64_t server_latency_usec; /* -1: not known */
};

/* The pages stay mapped until xn_backend_free(). `pcm`: where the PCM's positions are kept, so that
 * another process can continue from them; NULL: in private memory. `budget`: the one that all
 * streams of the guest share; NULL: its own. `served`: a word for the guest that is 1 while the
 * engine serves one of its streams, and 0 otherwise; NULL: in private memory. `gate`: in memory that
 * another process shares, which opens and closes it there; NULL: in private memory. Returns NULL if
 * there is no memory. */
struct xn_backend *xn_backend_new(struct xn_engine *engine, bool playback, void *ring_page,
                                  void *event_page, const struct xn_channel *requests,
                                  const struct xn_channel *events, struct xn_pcm *pcm,
                                  struct xn_budget *budget, uint32_t *served,
                                  struct xn_gate *gate);

/* Begins to serve the frontend. `succeeds`: another process served it before, and may have
 * published something without notifying. Adopt the PCM that it had open first, since a WRITE may be
 * waiting. */
void xn_backend_begin(struct xn_backend *backend, bool succeeds);

/* After this the pages, the channels and the PCM's buffer are no longer accessed. */
void xn_backend_free(struct xn_backend *backend);

enum xn_violation xn_backend_violation(struct xn_backend *backend);

/* Copies the request that waits for a decision. Returns false if none waits. */
bool xn_backend_next_request(struct xn_backend *backend, uint8_t request[64]);

/* Answers that request; or, if it was served before Python saw it, says that Python has followed it,
 * and undoes it if the response's status is not 0. The requests behind it are served again. */
void xn_backend_answer(struct xn_backend *backend, const uint8_t response[64]);

/* `buffer` is shared with the frontend and stays mapped until xn_backend_close_pcm(). */
void xn_backend_open_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                         void *buffer);

/* Continues, from its positions, a PCM that another process had open. What that process gave to the
 * audio server, and was not heard, is given again. A START or STOP that it has answered, and that
 * Python may not have followed, waits for Python again. Returns false if the positions are not valid
 * for such a PCM. */
bool xn_backend_adopt_pcm(struct xn_backend *backend, const struct xn_pcm_config *config,
                          void *buffer);

/* After this the PCM's buffer is no longer accessed. */
void xn_backend_close_pcm(struct xn_backend *backend);

void xn_backend_start(struct xn_backend *backend);
void xn_backend_stop(struct xn_backend *backend);

/* Connects the open PCM to the audio server. Returns false on failure; *error is the reason. */
bool xn_backend_attach_audio(struct xn_backend *backend, struct xn_client *client,
                             const struct xn_audio_config *config, const char **error);

/* Disconnects it: the PCM runs on the clock. What the server has not yet played is dropped. */
void xn_backend_detach_audio(struct xn_backend *backend);

/* Copy out of, and into, the open PCM's buffer. Return false if the span is not inside it. */
bool xn_backend_peek(struct xn_backend *backend, uint32_t offset, void *to, uint32_t octets);
bool xn_backend_poke(struct xn_backend *backend, uint32_t offset, const void *from,
                     uint32_t octets);

/* Its stream at the server, and its gate. Opening, adopting or closing a PCM closes the gate. */
struct xn_sound *xn_backend_sound(struct xn_backend *backend);

void xn_backend_stats(struct xn_backend *backend, struct xn_backend_stats *stats);

#endif
