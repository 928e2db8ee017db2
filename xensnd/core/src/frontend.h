/* The frontend's side of one sndif stream: its end of the ring and of the event page, and the PCM
 * buffer, which it owns.
 *
 * Python sends the control requests, one at a time. Samples are moved by xn_frontend_write() and
 * xn_frontend_read(), for files, or by a stream at the guest's own audio server.
 */
#ifndef XENSND_FRONTEND_H
#define XENSND_FRONTEND_H

#include "audio_stream.h"
#include "channel.h"
#include "pcm.h"
#include "shared_memory.h"

struct xn_frontend;
struct xn_device;

struct xn_frontend_stats {
    uint64_t position_octets; /* where the backend says the stream is */
    uint64_t moved_octets;    /* playback: written; capture: read */
    uint64_t lost_octets;     /* lost because the other side was late */
    uint32_t refused;         /* READ and WRITE that the backend refused */
    uint32_t fill_octets;     /* playback: written and not yet played; capture: not yet used */
    uint32_t rate_hz;         /* to which the guest's server resamples, to follow the backend's
                               * clock */
};

/* `in_place`: the backend writes what was recorded into the buffer before it reports the position,
 * so that no READ is sent. The pages, which are ours, stay until xn_frontend_free(). Returns NULL if
 * there is no memory. */
struct xn_frontend *xn_frontend_new(struct xn_engine *engine, bool playback, bool in_place,
                                    void *ring_page, void *event_page,
                                    const struct xn_channel *requests,
                                    const struct xn_channel *events);
void xn_frontend_free(struct xn_frontend *frontend);

/* Returns whether the backend has violated the protocol of the ring or the event page. If so, the
 * stream does nothing more. */
bool xn_frontend_is_broken(struct xn_frontend *frontend);

/* Sends a control request, and sets its id. Returns 0; or -EBUSY if one is under way or the ring is
 * full. */
int xn_frontend_request(struct xn_frontend *frontend, const uint8_t request[64]);

/* Copies the response to it. Returns true once, when the response is there. */
bool xn_frontend_response(struct xn_frontend *frontend, uint8_t response[64]);

void xn_frontend_open_pcm(struct xn_frontend *frontend, const struct xn_pcm_config *config,
                          void *buffer);
void xn_frontend_close_pcm(struct xn_frontend *frontend);

/* Call this after START was answered, and before STOP is sent. */
void xn_frontend_set_running(struct xn_frontend *frontend, bool running);

/* Copies as many whole frames as there is room for, and sends WRITEs. Returns the octets copied. */
uint32_t xn_frontend_write(struct xn_frontend *frontend, const void *from, uint32_t octets);

/* Copies whole frames that were captured. Returns the octets copied. */
uint32_t xn_frontend_read(struct xn_frontend *frontend, void *to, uint32_t octets);

/* Finds a free part of the buffer for so many octets of something other than samples, such as
 * volumes: the part that samples will need last. Returns its offset, or -EAGAIN if there is none
 * now. */
int64_t xn_frontend_scratch(struct xn_frontend *frontend, uint32_t octets);

/* Each wakes Python once: when so many octets can be written; when the buffer holds so many
 * (playback: not heard yet; capture: not read yet); when the position has come so far. */
void xn_frontend_await_room(struct xn_frontend *frontend, uint32_t octets);
void xn_frontend_await_fill(struct xn_frontend *frontend, uint32_t octets);
void xn_frontend_await_position(struct xn_frontend *frontend, uint64_t position);

/* Connects the open PCM to the guest's audio server. The fill after each piece that is written
 * (playback) or read (capture) is kept at `target_fill_octets`, by small changes of the rate at
 * which that server resamples. Returns false on failure; *error is the reason. */
bool xn_frontend_attach_audio(struct xn_frontend *frontend, struct xn_client *client,
                              const struct xn_audio_config *config, uint32_t target_fill_octets,
                              const char **error);

/* The same with a sink or source of the guest's PipeWire. If it drives the graph, its cycles keep the
 * fill, and nothing is resampled. */
void xn_frontend_attach_device(struct xn_frontend *frontend, struct xn_device *device,
                               uint32_t target_fill_octets);
void xn_frontend_detach_audio(struct xn_frontend *frontend);
bool xn_frontend_audio_failed(struct xn_frontend *frontend, const char **error);

void xn_frontend_stats(struct xn_frontend *frontend, struct xn_frontend_stats *stats);

#endif
