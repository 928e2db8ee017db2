/* What backend.c is made of. It makes one pass over a stream for each event, whatever the event is:
 *
 *     drain the requests, a bounded number -> move sound to or from the server -> advance the clock
 *     and report the position -> await requests -> schedule the next pass
 *
 * Each step is one of the functions below, in that order. None of them calls a pass, nor one that
 * stands below it here; so a guest's packets can make nothing call itself. All run under the
 * engine's lock.
 */
#ifndef XENSND_BACKEND_PARTS_H
#define XENSND_BACKEND_PARTS_H

#include "backend.h"
#include "event_page.h"
#include "gate.h"
#include "ring.h"

struct xn_backend {
    struct xn_engine *engine;
    struct xn_task tick;
    struct xn_channel requests_channel, events_channel;
    pa_io_event *requests_io;
    struct xn_backend_ring ring;
    struct xn_event_writer events;
    bool playback, has_begun;

    struct xn_packet request; /* the one that waits for Python */
    bool request_waits;
    bool more_requests; /* than were served in this pass */
    unsigned refused;   /* since it began, over all OPENs */
    enum xn_violation violation;
    struct xn_budget own_budget, *budget; /* its guest's */
    uint32_t own_served, *served;         /* its guest's, too */
    bool is_polled;                       /* the request channel */

    struct xn_pcm own_pcm, *pcm; /* elsewhere if it is to outlive this process */
    struct xn_gate gate; /* capture */
    struct xn_audio *audio;
    bool stalled;
    bool is_held; /* playback: the server has sound, and has not begun to play it */
    bool underfed; /* the audio server wants more than there was */
    int64_t rewrite_usec;  /* what was written over is given to the server not before */
    int64_t progress_usec; /* when the audio server last asked for octets or gave some */

    struct xn_backend_stats stats;
};

/* backend_requests.c */

/* Answers the READs and WRITEs that are there, up to a bound and up to a request for Python, unless
 * the guest is over its budget, which pays for it. `notified`: the guest has woken us. */
void xn_backend_drain_requests(struct xn_backend *backend, int64_t now_usec, bool notified);

/* Polls the request channel or not, as the budget has it; and has the frontend notify its next
 * request, unless passes come often enough without that. */
void xn_backend_await_requests(struct xn_backend *backend, int64_t now_usec);

/* backend_audio.c */

/* Playback: gives the server what it wants, as far as the guest has written it. */
void xn_backend_fill_server(struct xn_backend *backend, int64_t now_usec);

/* Capture: takes all that the server has recorded, as far as the gate lets it through; what comes
 * before START is nobody's. */
void xn_backend_take_recorded(struct xn_backend *backend, int64_t now_usec);

/* Notes that the server is alive, or what became of the stream there. */
void xn_backend_note_event(struct xn_backend *backend, enum xn_audio_event event,
                           int64_t now_usec);

void xn_backend_release_audio(struct xn_backend *backend, bool drain);

/* backend_clock.c */

/* Moves the position to where it is by now. */
void xn_backend_advance(struct xn_backend *backend, int64_t now_usec);

/* Tells the frontend of it, if it is time to. */
void xn_backend_report(struct xn_backend *backend);

/* Whether the audio server's requests drive this playback. */
bool xn_backend_is_fed(const struct xn_backend *backend);

void xn_backend_schedule(struct xn_backend *backend, int64_t now_usec);

#endif
