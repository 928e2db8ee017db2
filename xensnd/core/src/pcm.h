/* One open PCM stream: the buffer that it shares with the peer, and its positions.
 *
 * Positions count octets since OPEN; `position % buffer_octets` is an offset in the buffer. For
 * playback their order is:
 *
 *     reported <= position <= taken <= written <= position + buffer_octets
 *
 * with three exceptions. Like a hardware pointer, the position does not stop at the end of the data:
 * it may run up to one period past `written`, so that a drain ends and an underrun is noticed. And
 * the end of a period is reported up to 1.25 ms before it is reached, so that the wakeup that comes
 * then serves for it. After xn_pcm_return_to() the position may be up to 50 ms behind the
 * one that was reported.
 *
 * Pure computation: no system calls, no allocation, no locks.
 */
#ifndef XENSND_PCM_H
#define XENSND_PCM_H

#include <stdbool.h>
#include <stdint.h>

#include "schedule.h"

struct xn_pcm_config {
    uint32_t rate_hz;
    uint32_t frame_octets;
    uint32_t buffer_octets; /* a whole number of frames, not necessarily a power of two */
    uint32_t period_octets; /* 0: the frontend wants no position events */
    uint8_t silence_octet;  /* silence in the stream's format is this octet repeated */
};

#define XN_NOT_REWRITTEN UINT64_MAX

/* What the frontend has an answer to, and the agent does not know yet: see backend_trigger.c. It is
 * here because it must outlive the process. */
enum xn_ahead { XN_NOTHING_AHEAD, XN_STARTED_AHEAD, XN_STOPPED_AHEAD };

struct xn_pcm {
    struct xn_pcm_config config;
    uint8_t *buffer; /* NULL: not open. Shared with the peer, which may change it at any moment */
    bool running;
    uint64_t written;  /* playback: end of what the frontend wrote */
    uint64_t taken;    /* playback: end of what was given to the sink */
    uint64_t heard;    /* playback: end of what the sink has made audible, as far as known */
    uint64_t rewritten; /* playback: from here to `taken`, the frontend has overwritten what the
                         * sink has; XN_NOT_REWRITTEN: nothing */
    uint64_t position; /* how far the stream has played or recorded */
    uint64_t reported; /* the position that was last reported to the frontend */
    uint64_t clock_octets; /* the position at clock_usec; the clock runs on from there */
    int64_t clock_usec;
    bool report_now; /* the frontend must get the position at once */
    uint8_t ahead;   /* enum xn_ahead; the positions do not depend on it */
};

void xn_pcm_open(struct xn_pcm *pcm, const struct xn_pcm_config *config, void *buffer);
void xn_pcm_close(struct xn_pcm *pcm);

/* Continues from the positions in *pcm, which another process has left. Returns false if they are
 * not valid for this configuration. The PCM is stopped. When it is started, it continues from its
 * position, as if there had been no interruption. */
bool xn_pcm_adopt(struct xn_pcm *pcm, const struct xn_pcm_config *config, void *buffer,
                  int64_t now_usec);

uint32_t xn_pcm_usec_to_octets(const struct xn_pcm *pcm, int64_t usec);
int64_t xn_pcm_octets_to_usec(const struct xn_pcm *pcm, uint64_t octets);

/* Returns whether [offset, offset + octets) is inside the buffer. No sum in it can wrap. */
bool xn_pcm_in_buffer(const struct xn_pcm *pcm, uint32_t offset, uint32_t octets);

/* Copy between the buffer, from a position on and across its end, and memory of ours. */
void xn_pcm_copy_out(const struct xn_pcm *pcm, uint64_t position, void *to, uint32_t octets);
void xn_pcm_copy_in(struct xn_pcm *pcm, uint64_t position, const void *from, uint32_t octets);

/* Returns whether so many octets from a position on, as far as they are written, are silence. */
bool xn_pcm_is_silent(const struct xn_pcm *pcm, uint64_t position, uint32_t octets);

bool xn_is_silence(const void *octets, uint32_t count, uint8_t silence_octet);

void xn_pcm_start(struct xn_pcm *pcm, int64_t now_usec);

/* STOP and PAUSE: moves the position to the start of the buffer's next lap, where Linux begins
 * again after an underrun without saying so. Data that was not played is dropped. */
void xn_pcm_stop(struct xn_pcm *pcm);

/* Playback: notes that the frontend wrote [offset, offset + octets), which must be in the
 * buffer. */
void xn_pcm_wrote(struct xn_pcm *pcm, uint32_t offset, uint32_t octets);

/* Playback: returns the octets that can be given to the sink now. */
uint32_t xn_pcm_available(const struct xn_pcm *pcm);

/* Playback: copies data for the sink and advances `taken`. `octets` is at most what is
 * available. */
void xn_pcm_take(struct xn_pcm *pcm, void *to, uint32_t octets);

/* Playback: returns how many octets before `taken` have to be given to the sink again: none of them
 * is audible yet, and the frontend has overwritten the first of them. */
uint32_t xn_pcm_rewritten(const struct xn_pcm *pcm);

/* Makes them available again. Returns how many octets were overwritten too late, when they were
 * audible already. */
uint32_t xn_pcm_take_back(struct xn_pcm *pcm);

/* Playback: makes the stream continue there, with what the frontend has written since. If the
 * position has passed it, that returns, and is not reported again before it is further than it was. */
void xn_pcm_return_to(struct xn_pcm *pcm, uint64_t position, int64_t now_usec);

/* Playback: advances the position to the present. `heard`: end of what the sink has made audible;
 * NULL: not known. `discard`: there is no sink, and the clock consumes the data. */
void xn_pcm_advance_playback(struct xn_pcm *pcm, int64_t now_usec, const uint64_t *heard,
                             bool discard);

/* Playback: keeps the position where it is, while the sink has data and has not begun to play. */
void xn_pcm_hold(struct xn_pcm *pcm, int64_t now_usec);

/* Playback: makes a new sink begin with what was not heard from the old one. */
void xn_pcm_rewind_to_position(struct xn_pcm *pcm);

/* Capture: appends to the buffer; `from` NULL: silence. Returns how many octets were appended: less
 * than `octets` if the frontend does not read its events. */
uint32_t xn_pcm_capture(struct xn_pcm *pcm, const void *from, uint32_t octets, int64_t now_usec);

/* Capture: returns how many octets should have been recorded since the last data, by the clock. */
uint32_t xn_pcm_capture_due(const struct xn_pcm *pcm, int64_t now_usec);

/* Return the position to report to the frontend now, or 0 for none. Call xn_pcm_reported() after it
 * was reported. What is a little past the end of a period is not reported with the end: of a
 * recording an eighth of a period at most; of playback a quarter and 5 ms, if the buffer has less than
 * three periods. Linux wakes a reader or a writer at the end of a period, if it finds a whole period
 * then. One that had used more at the end before would find less, and would not be woken: then a
 * buffer of two periods fails. */
uint64_t xn_pcm_playback_report(const struct xn_pcm *pcm);
uint64_t xn_pcm_capture_report(const struct xn_pcm *pcm);

void xn_pcm_reported(struct xn_pcm *pcm, uint64_t position);

/* Returns the position at which the frontend has to learn that a period is over: one frame past its
 * end, since Linux counts a period only when the position has moved by more than one. Without
 * periods it is UINT64_MAX. */
uint64_t xn_pcm_period_end(const struct xn_pcm *pcm);

/* Return when the clock alone brings the position to where it has to be reported; xn_never:
 * something else has to happen first. `discard`: as in xn_pcm_advance_playback(). */
struct xn_window xn_pcm_playback_window(const struct xn_pcm *pcm, bool discard);
struct xn_window xn_pcm_capture_window(const struct xn_pcm *pcm);

#endif
