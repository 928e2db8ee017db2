/* The parts of backend.c, which makes the same pass over a stream for every event:
 *
 *     drain a limited number of requests -> move sound to or from the server -> advance the clock
 *     and report the position -> conclude a START or a STOP -> await requests -> schedule the next
 *     pass
 *
 * Each step is one of the functions below. None of them starts a pass, so no packet of a guest can
 * make a function call itself. All run under the engine's lock.
 */
#ifndef XENSND_BACKEND_PARTS_H
#define XENSND_BACKEND_PARTS_H

#include "backend.h"
#include "event_page.h"
#include "ring.h"

enum xn_progress {
    XN_REQUEST_SEEN,     /* Python serves it, and answers */
    XN_REQUEST_SERVED,   /* in this pass, whose end answers it */
    XN_REQUEST_ANSWERED, /* Python only follows */
};

struct xn_backend {
    struct xn_sound sound;
    struct xn_task tick;
    struct xn_channel requests_channel, events_channel;
    pa_io_event *requests_io;
    struct xn_backend_ring ring;
    struct xn_event_writer events;
    bool playback, has_begun;

    struct xn_packet request; /* the one that waits for Python */
    bool request_waits;
    enum xn_progress progress; /* of that request */
    bool next_waits;    /* behind one that Python follows: a request that is for Python, too */
    bool more_requests; /* there are more than one pass serves */
    unsigned refused;   /* since it began, across all OPENs */
    enum xn_violation violation;
    struct xn_budget own_budget, *budget; /* its guest's */
    uint32_t own_served, *served;         /* its guest's, too */
    bool is_polled;                       /* whether the request channel is polled */

    struct xn_pcm own_pcm, *pcm; /* in shared memory if it must outlive this process */
    int64_t latency_usec; /* that the audio server was asked for */
    bool stalled;
    bool is_held; /* playback: the server has data and has not begun to play it */
    bool is_corked;     /* playback: the server's stream is corked, since all was silence */
    bool uncorks;       /* the PCM was started in this pass, whose end uncorks the server's stream */
    uint64_t sound_end; /* playback: end of the last data given that was not silence */
    bool underfed; /* the audio server has all that the guest has written, and would take more */
    int64_t fed_usec;      /* until then the audio server has enough */
    int64_t rewrite_usec;  /* overwritten data is not given to the server before this time */
    int64_t progress_usec; /* when the audio server last asked for octets or gave some */

    struct xn_backend_stats stats;
};

/* backend_requests.c */

/* Answers the READs and WRITEs in the ring, up to a limit or to a request for Python, and charges
 * the guest's budget. Does nothing while the guest is paused. `notified`: the guest caused this
 * pass. */
void xn_backend_drain_requests(struct xn_backend *backend, int64_t now_usec, bool notified);

/* Polls the request channel if the budget allows it. Requests a notification of the next request,
 * unless passes come often enough without it. */
void xn_backend_await_requests(struct xn_backend *backend, int64_t now_usec);

/* backend_trigger.c */

/* Lets the PCM run, or stops it. The rest of the pass does what follows of that. */
void xn_backend_run(struct xn_backend *backend, int64_t now_usec);
void xn_backend_halt(struct xn_backend *backend);

/* Serves the request that waits before Python has seen it, if that may be. The rest of the pass does
 * what follows of it, and answers it. Returns whether it was served. */
bool xn_backend_serve_ahead(struct xn_backend *backend, int64_t now_usec);

/* Ends what a START or STOP has begun in this pass: uncorks the server's stream, which has data by
 * now, and answers the frontend, which has been told the position by now. */
void xn_backend_conclude(struct xn_backend *backend);

/* Python has followed what was served before. `refused`: it should not have been, so it is undone. */
void xn_backend_followed(struct xn_backend *backend, bool refused);

/* Lets Python follow what was served before by another process, whose agent did not. */
void xn_backend_follow_again(struct xn_backend *backend);

/* backend_audio.c */

/* Playback: gives the server as much of what it wants as the guest has written. */
void xn_backend_fill_server(struct xn_backend *backend, int64_t now_usec);

/* Capture: takes all that the server has recorded, and copies it to the guest, or silence if the
 * gate is closed. What is recorded before START is dropped. */
void xn_backend_take_recorded(struct xn_backend *backend, int64_t now_usec);

/* Handles an event of the stream at the server: a request, or a change of its state. */
void xn_backend_note_event(struct xn_backend *backend, enum xn_audio_event event,
                           int64_t now_usec);

void xn_backend_release_audio(struct xn_backend *backend, bool drain);

/* backend_silence.c */

/* Playback: notes whether what was given to the server is silence. */
void xn_backend_note_given(struct xn_backend *backend, const void *octets, uint32_t count);

/* Playback: notes that what was given from `taken` on is replaced. */
void xn_backend_note_taken_back(struct xn_backend *backend);

/* Playback: if the frontend has written a sound over silence that was taken already, and no other
 * sound is still to be heard, makes the stream continue with it. It may come late, but none of it
 * is lost; the silence before it becomes longer. Returns whether there is such a sound. */
bool xn_backend_wait_for_sound(struct xn_backend *backend, int64_t now_usec);

/* Playback: starts to measure silence, from the position on. */
void xn_backend_begin_sound(struct xn_backend *backend);

/* Playback: corks the server's stream after 2 s of silence, and uncorks it shortly before a sample
 * is due that is not silence. Returns whether it is corked. Then the position follows the clock,
 * and the guest's silence is dropped. */
bool xn_backend_cork_silence(struct xn_backend *backend, int64_t now_usec);

/* backend_clock.c */

/* Notes that the server has nothing to play: that it then asks for nothing is no stall. */
void xn_backend_note_idle(struct xn_backend *backend, int64_t now_usec);

/* Advances the position to the present. */
void xn_backend_advance(struct xn_backend *backend, int64_t now_usec);

/* Reports the position to the frontend if it is due. */
void xn_backend_report(struct xn_backend *backend);

/* Playback: returns whether passes come often enough to find what the guest writes next in time: the
 * audio server asks for more, or the clock has far to go. */
bool xn_backend_passes_suffice(const struct xn_backend *backend);

void xn_backend_schedule(struct xn_backend *backend, int64_t now_usec);

#endif
