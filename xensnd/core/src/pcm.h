/* One open PCM stream: the buffer it shares with the peer, and how far it has come.
 *
 * Positions count octets since OPEN and only grow; `position % buffer_octets` is a place in the
 * buffer. For playback they stand in this order:
 *
 *     reported <= position <= taken <= written <= position + buffer_octets
 *
 * with one exception: a hardware's pointer does not stop where the data ends. The position may
 * run up to one period past `written`, so that a drain ends and an underrun is seen.
 *
 * Pure bookkeeping: no system calls, no allocation, no locks.
 */
#ifndef XENSND_PCM_H
#define XENSND_PCM_H

#include <stdbool.h>
#include <stdint.h>

struct xn_pcm_config {
    uint32_t rate_hz;
    uint32_t frame_octets;
    uint32_t buffer_octets; /* any number of whole frames: no power of two is assumed */
    uint32_t period_octets; /* 0: the frontend wants no position events */
    uint8_t silence_octet;  /* repeated, it is silence in the stream's format */
};

#define XN_NOT_REWRITTEN UINT64_MAX

struct xn_pcm {
    struct xn_pcm_config config;
    uint8_t *buffer; /* NULL: not open. Shared with the peer, who may change it at any moment */
    bool running;
    uint64_t written;  /* playback: end of what the frontend wrote */
    uint64_t taken;    /* playback: end of what went to the sink */
    uint64_t heard;    /* playback: end of what the sink has made audible, as far as known */
    uint64_t rewritten; /* playback: from here to `taken` the sink has what the frontend has written
                         * over since; XN_NOT_REWRITTEN: it has not */
    uint64_t position; /* where the stream is */
    uint64_t reported; /* what the frontend was last told of it */
    uint64_t clock_octets; /* at clock_usec the position was clock_octets; it runs on from there */
    int64_t clock_usec;
    bool report_now; /* the position stands at a place that the frontend must learn of at once */
};

void xn_pcm_open(struct xn_pcm *pcm, const struct xn_pcm_config *config, void *buffer);
void xn_pcm_close(struct xn_pcm *pcm);

/* Goes on with positions that another process has left. False: they are none of such a PCM. It
 * stands until it is started, and then goes on from where it stood: the outage did not happen. */
bool xn_pcm_adopt(struct xn_pcm *pcm, const struct xn_pcm_config *config, void *buffer,
                  int64_t now_usec);

uint32_t xn_pcm_usec_to_octets(const struct xn_pcm *pcm, int64_t usec);
int64_t xn_pcm_octets_to_usec(const struct xn_pcm *pcm, uint64_t octets);

/* Whether [offset, offset + octets) lies in the buffer. No sum is formed that could wrap. */
bool xn_pcm_in_buffer(const struct xn_pcm *pcm, uint32_t offset, uint32_t octets);

/* Copies between the buffer, from a position on and around its end, and memory of ours. */
void xn_pcm_copy_out(const struct xn_pcm *pcm, uint64_t position, void *to, uint32_t octets);
void xn_pcm_copy_in(struct xn_pcm *pcm, uint64_t position, const void *from, uint32_t octets);

/* Whether so many octets from a position on, as far as they are written, are silence. */
bool xn_pcm_is_silent(const struct xn_pcm *pcm, uint64_t position, uint32_t octets);

bool xn_is_silence(const void *octets, uint32_t count, uint8_t silence_octet);

void xn_pcm_start(struct xn_pcm *pcm, int64_t now_usec);

/* STOP and PAUSE: the position goes to the start of the next lap of the buffer, where Linux
 * begins again after an underrun without telling anyone. What was not played is forgotten. */
void xn_pcm_stop(struct xn_pcm *pcm);

/* Playback: the frontend wrote [offset, offset + octets), which lies in the buffer. */
void xn_pcm_wrote(struct xn_pcm *pcm, uint32_t offset, uint32_t octets);

/* Playback: octets that may go to the sink now. */
uint32_t xn_pcm_available(const struct xn_pcm *pcm);

/* Playback: copies and takes. `octets` is at most what is available. */
void xn_pcm_take(struct xn_pcm *pcm, void *to, uint32_t octets);

/* Playback: so many octets before `taken` are to be given to the sink again: it has made none of
 * them audible, and the frontend has written over the first of them. 0: none. */
uint32_t xn_pcm_rewritten(const struct xn_pcm *pcm);

/* They are available again. Returns how many octets were written over too late, after they were
 * audible. */
uint32_t xn_pcm_take_back(struct xn_pcm *pcm);

/* Playback: moves the position to where it is by now. `heard`: end of what the sink has made
 * audible, or NULL if no sink can say. `discard`: there is no sink, the data goes with the clock.*/
void xn_pcm_advance_playback(struct xn_pcm *pcm, int64_t now_usec, const uint64_t *heard,
                             bool discard);

/* Playback: the sink has the data and has not begun: the clock waits for it. */
void xn_pcm_hold(struct xn_pcm *pcm, int64_t now_usec);

/* Playback: a new sink begins at what was not heard from the old one. */
void xn_pcm_rewind_to_position(struct xn_pcm *pcm);

/* Capture: appends to the buffer; NULL is silence. Returns what was appended: less if the
 * frontend no longer takes note of its events. */
uint32_t xn_pcm_capture(struct xn_pcm *pcm, const void *from, uint32_t octets, int64_t now_usec);

/* Capture: octets that a running clock has made due since the last data. */
uint32_t xn_pcm_capture_due(const struct xn_pcm *pcm, int64_t now_usec);

/* The position to tell the frontend now, or 0 for none. xn_pcm_reported() says it was told. */
uint64_t xn_pcm_report(const struct xn_pcm *pcm);
void xn_pcm_reported(struct xn_pcm *pcm, uint64_t position);

/* Where the position must stand for the frontend to learn that a period is over: one frame past its
 * end, since Linux counts a period only when the position has moved by more than one. Without
 * periods it is out of reach. */
uint64_t xn_pcm_period_end(const struct xn_pcm *pcm);

/* When the clock alone brings the position to where the frontend must be told of it; INT64_MAX:
 * something else must happen before. `discard`: as in xn_pcm_advance_playback(). */
int64_t xn_pcm_playback_due_usec(const struct xn_pcm *pcm, bool discard);
int64_t xn_pcm_capture_due_usec(const struct xn_pcm *pcm);

#endif
