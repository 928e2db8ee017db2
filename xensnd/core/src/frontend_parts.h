/* The parts of frontend.c. frontend_audio.c has what joins the ring with the guest's audio server.
 * All functions run under the engine's lock.
 */
#ifndef XENSND_FRONTEND_PARTS_H
#define XENSND_FRONTEND_PARTS_H

#include "event_page.h"
#include "frontend.h"
#include "pipewire_device.h"
#include "rate_loop.h"
#include "ring.h"

struct xn_frontend {
    struct xn_engine *engine;
    struct xn_channel requests_channel, events_channel;
    pa_io_event *requests_io, *events_io;
    struct xn_frontend_ring ring;
    struct xn_event_reader events;
    bool playback, broken;
    bool in_place; /* capture: what was recorded is in the buffer without a READ */

    uint16_t next_id;
    struct xn_packet response; /* of the control request */
    uint16_t control_id;
    bool control_waits, response_waits;

    struct xn_pcm pcm;
    uint64_t moved; /* playback: written; capture: used */
    uint64_t asked; /* capture: READ was sent up to here */
    uint64_t ready; /* capture: READ was answered up to here */
    struct {
        uint16_t id;
        uint32_t octets;
    } transfers[XN_RING_SLOTS]; /* READs under way, in order */
    unsigned first_transfer, transfer_count;

    uint32_t awaited_room, awaited_fill; /* 0: none */
    uint64_t awaited_position;

    struct xn_audio *audio;
    struct xn_device *device; /* whose stream `audio` is; NULL: it is ours */
    uint32_t target_fill_octets;
    bool is_aligned; /* the fill was brought to its target after the audio stream was attached */
    struct xn_rate_loop rate_loop;
    struct xn_frontend_stats stats;
};

/* frontend.c */

/* Returns the octets that were written and not heard, or captured and not used. */
uint32_t xn_frontend_fill(const struct xn_frontend *frontend);

/* Copies whole frames into the buffer, and sends WRITEs. Returns the octets copied. */
uint32_t xn_frontend_write_samples(struct xn_frontend *frontend, const void *from,
                                   uint32_t octets);

/* Copies whole frames that were captured. Returns the octets copied. */
uint32_t xn_frontend_read_samples(struct xn_frontend *frontend, void *to, uint32_t octets);

/* Follows the backend's position. */
void xn_frontend_take_events(struct xn_frontend *frontend);

/* Wakes Python if it waits for what there is now. */
void xn_frontend_wake_if_awaited(struct xn_frontend *frontend);

/* frontend_audio.c */

/* Notes that the backend has reached its position now. */
void xn_frontend_follow_position(struct xn_frontend *frontend);

/* After the backend has said something: keeps the fill at its target. */
void xn_frontend_follow_backend(struct xn_frontend *frontend);

#endif
