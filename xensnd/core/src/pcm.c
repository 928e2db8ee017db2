#include "pcm.h"

#include <string.h>

/* The end of a period is reported up to so much before and after it, so that one wakeup serves for
 * several streams, and for what the audio server asks. Of short periods it is a quarter at most. */
#define EARLY_USEC 1250
#define LATE_USEC 1750
/* When the frontend rewinds, the position that it has read may be so old. */
#define STALE_USEC 50000
/* Positions between the ends of periods are not reported more often than this. */
#define BETWEEN_USEC 8000
/* What was played past the end of a period is reported later, if the buffer has less than three of
 * them, and it is no more than so much, and than a quarter of the period: a little more than
 * LATE_USEC, for a thread that wakes late. */
#define PAST_END_USEC 5000

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

void xn_pcm_open(struct xn_pcm *pcm, const struct xn_pcm_config *config, void *buffer) {
    memset(pcm, 0, sizeof *pcm);
    pcm->config = *config;
    pcm->buffer = buffer;
    pcm->rewritten = XN_NOT_REWRITTEN;
}

void xn_pcm_close(struct xn_pcm *pcm) {
    pcm->buffer = NULL;
    pcm->running = false;
}

static uint64_t octets_in(const struct xn_pcm *pcm, int64_t usec) {
    if (usec <= 0) return 0;
    return (uint64_t)usec * pcm->config.rate_hz / 1000000u * pcm->config.frame_octets;
}

static void set_clock(struct xn_pcm *pcm, uint64_t octets, int64_t now_usec) {
    pcm->clock_octets = octets;
    pcm->clock_usec = now_usec;
}

/* How much before it is reached the end of a period may be reported. */
static uint32_t early_octets(const struct xn_pcm *pcm) {
    uint64_t quarter = pcm->config.period_octets / pcm->config.frame_octets / 4;
    return (uint32_t)smaller(octets_in(pcm, EARLY_USEC), quarter * pcm->config.frame_octets);
}

/* Returns how far the stream is, for us or for the frontend. */
static uint64_t known_position(const struct xn_pcm *pcm) {
    return larger(pcm->position, pcm->reported);
}

/* Returns how far the stream is for a frontend that has just read its events. */
static uint64_t told_position(const struct xn_pcm *pcm) {
    return pcm->config.period_octets ? pcm->reported : pcm->position;
}

static bool same_config(const struct xn_pcm_config *a, const struct xn_pcm_config *b) {
    return a->rate_hz == b->rate_hz && a->frame_octets == b->frame_octets &&
           a->buffer_octets == b->buffer_octets && a->period_octets == b->period_octets &&
           a->silence_octet == b->silence_octet;
}

bool xn_pcm_adopt(struct xn_pcm *pcm, const struct xn_pcm_config *config, void *buffer,
                  int64_t now_usec) {
    uint64_t size = config->buffer_octets;
    if (!same_config(&pcm->config, config)) return false;
    if (pcm->reported > pcm->position + octets_in(pcm, STALE_USEC)) return false;
    if (pcm->position > pcm->reported + 2 * size) return false;
    if (pcm->taken > pcm->written || pcm->written > known_position(pcm) + size) return false;
    pcm->buffer = buffer;
    pcm->running = false;
    xn_pcm_rewind_to_position(pcm);
    set_clock(pcm, pcm->position, now_usec);
    return true;
}

uint32_t xn_pcm_usec_to_octets(const struct xn_pcm *pcm, int64_t usec) {
    return (uint32_t)smaller(octets_in(pcm, usec), UINT32_MAX / 2);
}

int64_t xn_pcm_octets_to_usec(const struct xn_pcm *pcm, uint64_t octets) {
    return (int64_t)(octets / pcm->config.frame_octets * 1000000u / pcm->config.rate_hz);
}

bool xn_pcm_in_buffer(const struct xn_pcm *pcm, uint32_t offset, uint32_t octets) {
    return offset <= pcm->config.buffer_octets && octets <= pcm->config.buffer_octets - offset;
}

void xn_pcm_copy_out(const struct xn_pcm *pcm, uint64_t position, void *to, uint32_t octets) {
    uint32_t offset = (uint32_t)(position % pcm->config.buffer_octets);
    uint32_t first = (uint32_t)smaller(octets, pcm->config.buffer_octets - offset);
    memcpy(to, pcm->buffer + offset, first);
    memcpy((uint8_t *)to + first, pcm->buffer, octets - first);
}

void xn_pcm_copy_in(struct xn_pcm *pcm, uint64_t position, const void *from, uint32_t octets) {
    uint32_t offset = (uint32_t)(position % pcm->config.buffer_octets);
    uint32_t first = (uint32_t)smaller(octets, pcm->config.buffer_octets - offset);
    memcpy(pcm->buffer + offset, from, first);
    memcpy(pcm->buffer, (const uint8_t *)from + first, octets - first);
}

bool xn_is_silence(const void *octets, uint32_t count, uint8_t silence_octet) {
    const uint8_t *first = octets;
    /* All octets equal the first if each equals the one before it. */
    return count == 0 || (*first == silence_octet && memcmp(first, first + 1, count - 1) == 0);
}

bool xn_pcm_is_silent(const struct xn_pcm *pcm, uint64_t position, uint32_t octets) {
    if (position >= pcm->written) return true;
    /* What was written over can be more than a lap behind what the sink has taken. */
    uint64_t most = smaller(pcm->written - position, pcm->config.buffer_octets);
    uint32_t count = (uint32_t)smaller(octets, most);
    uint32_t offset = (uint32_t)(position % pcm->config.buffer_octets);
    uint32_t first = (uint32_t)smaller(count, pcm->config.buffer_octets - offset);
    return xn_is_silence(pcm->buffer + offset, first, pcm->config.silence_octet) &&
           xn_is_silence(pcm->buffer, count - first, pcm->config.silence_octet);
}

void xn_pcm_start(struct xn_pcm *pcm, int64_t now_usec) {
    pcm->running = true;
    set_clock(pcm, pcm->position, now_usec);
}

void xn_pcm_stop(struct xn_pcm *pcm) {
    pcm->position = known_position(pcm);
    uint32_t into_lap = (uint32_t)(pcm->position % pcm->config.buffer_octets);
    if (into_lap) pcm->position += pcm->config.buffer_octets - into_lap;
    pcm->report_now = pcm->config.period_octets && pcm->position != pcm->reported;
    pcm->running = false;
    pcm->written = pcm->taken = pcm->heard = pcm->position;
    pcm->rewritten = XN_NOT_REWRITTEN;
}

/* The frontend may write a lap ahead of what it knows of the position. That is further than the sink
 * after an underrun, when data came too late, and for a moment after an early report. */
static void drop_overwritten(struct xn_pcm *pcm) {
    uint32_t size = pcm->config.buffer_octets;
    if (pcm->written > pcm->taken + size) pcm->taken = pcm->written - size;
}

void xn_pcm_wrote(struct xn_pcm *pcm, uint32_t offset, uint32_t octets) {
    uint32_t size = pcm->config.buffer_octets;
    uint64_t end = pcm->written + octets, known = known_position(pcm);
    bool continues = pcm->written % size == offset && end <= known + size;
    if (!continues) {
        /* The frontend has rewound, or repeats a write that an underrun interrupted. It writes at
         * most one lap ahead of the position that it was told, so there is only one lap that it can
         * mean. What the sink already has is given to it again: xn_pcm_rewritten(). */
        uint64_t told = pcm->report_now ? known : told_position(pcm);
        uint32_t into_lap = (uint32_t)(told % size);
        uint32_t ahead = (uint32_t)((offset + (uint64_t)octets + size - into_lap) % size);
        end = told + (ahead || !octets ? ahead : size);
        uint64_t start = end > octets ? end - octets : 0;
        if (octets && start < pcm->taken) pcm->rewritten = smaller(pcm->rewritten, start);
        end = larger(end, pcm->taken);
    }
    pcm->written = end;
    drop_overwritten(pcm);
}

uint32_t xn_pcm_available(const struct xn_pcm *pcm) {
    return (uint32_t)(pcm->written - pcm->taken);
}

void xn_pcm_take(struct xn_pcm *pcm, void *to, uint32_t octets) {
    xn_pcm_copy_out(pcm, pcm->taken, to, octets);
    pcm->taken += octets;
}

uint32_t xn_pcm_rewritten(const struct xn_pcm *pcm) {
    uint64_t from = larger(pcm->rewritten, known_position(pcm));
    return from < pcm->taken ? (uint32_t)(pcm->taken - from) : 0;
}

uint32_t xn_pcm_take_back(struct xn_pcm *pcm) {
    uint64_t late_end = smaller(known_position(pcm), pcm->taken), from = pcm->rewritten;
    pcm->taken -= xn_pcm_rewritten(pcm);
    pcm->rewritten = XN_NOT_REWRITTEN;
    return from < late_end ? (uint32_t)(late_end - from) : 0;
}

void xn_pcm_return_to(struct xn_pcm *pcm, uint64_t position, int64_t now_usec) {
    uint64_t told = told_position(pcm), stale = octets_in(pcm, STALE_USEC);
    uint64_t from = larger(position, told > stale ? told - stale : 0);
    from = smaller(from, pcm->position);
    pcm->position = from;
    pcm->taken = smaller(pcm->taken, from);
    pcm->heard = 0; /* the sink has to tell it anew */
    pcm->rewritten = XN_NOT_REWRITTEN;
    /* What it wrote beyond a lap from here, it wrote further ahead than it was told. */
    pcm->written = smaller(pcm->written, known_position(pcm) + pcm->config.buffer_octets);
    drop_overwritten(pcm);
    set_clock(pcm, pcm->position, now_usec);
}

static uint64_t clock_position(const struct xn_pcm *pcm, int64_t now_usec) {
    return pcm->clock_octets + octets_in(pcm, now_usec - pcm->clock_usec);
}

/* The frontend has read no events for half a lap. The clock stops until it does, because otherwise
 * the position would move by more than the frontend can detect. */
static bool frontend_lags(const struct xn_pcm *pcm) {
    uint32_t half = pcm->config.buffer_octets / 2;
    return pcm->config.period_octets &&
           pcm->position >= pcm->reported + half + pcm->config.frame_octets;
}

/* Returns whether the sink gets no more data, as far as is known. */
static bool is_starved(const struct xn_pcm *pcm, bool discard) {
    return discard || pcm->taken == pcm->written;
}

void xn_pcm_advance_playback(struct xn_pcm *pcm, int64_t now_usec, const uint64_t *heard,
                             bool discard) {
    if (frontend_lags(pcm)) {
        set_clock(pcm, pcm->position, now_usec);
        return;
    }
    if (heard && *heard > pcm->heard) {
        pcm->heard = *heard;
        set_clock(pcm, *heard, now_usec);
    }
    bool starved = is_starved(pcm, discard);
    uint64_t limit = starved ? pcm->written + pcm->config.period_octets : pcm->taken;
    uint64_t target = clock_position(pcm, now_usec);
    if (target >= limit) {
        target = limit;
        set_clock(pcm, limit, now_usec);
        if (starved && limit > pcm->position) pcm->report_now = pcm->config.period_octets != 0;
    }
    pcm->position = larger(pcm->position, target);
    if (discard) pcm->rewritten = XN_NOT_REWRITTEN;
    if (discard) pcm->taken = larger(pcm->taken, smaller(pcm->position, pcm->written));
}

void xn_pcm_hold(struct xn_pcm *pcm, int64_t now_usec) { set_clock(pcm, pcm->position, now_usec); }

void xn_pcm_rewind_to_position(struct xn_pcm *pcm) {
    pcm->taken = smaller(pcm->position, pcm->written);
    drop_overwritten(pcm);
    pcm->heard = pcm->taken;
    pcm->rewritten = XN_NOT_REWRITTEN;
}

uint32_t xn_pcm_capture(struct xn_pcm *pcm, const void *from, uint32_t octets, int64_t now_usec) {
    uint32_t half = pcm->config.buffer_octets / 2;
    uint64_t unreported = pcm->config.period_octets ? pcm->position - pcm->reported : 0;
    uint32_t room = unreported < half ? half - (uint32_t)unreported : 0;
    room -= room % pcm->config.frame_octets;
    uint32_t count = (uint32_t)smaller(octets, room);
    if (from) {
        xn_pcm_copy_in(pcm, pcm->position, from, count);
    } else {
        uint32_t offset = (uint32_t)(pcm->position % pcm->config.buffer_octets);
        uint32_t first = (uint32_t)smaller(count, pcm->config.buffer_octets - offset);
        memset(pcm->buffer + offset, pcm->config.silence_octet, first);
        memset(pcm->buffer, pcm->config.silence_octet, count - first);
    }
    pcm->position += count;
    /* Silence follows the clock. Setting the clock each time would lose a fraction of a frame each
     * time. */
    if (from || count < octets) set_clock(pcm, pcm->position, now_usec);
    return count;
}

uint32_t xn_pcm_capture_due(const struct xn_pcm *pcm, int64_t now_usec) {
    uint64_t due = clock_position(pcm, now_usec);
    return due > pcm->position ? (uint32_t)smaller(due - pcm->position, UINT32_MAX / 2) : 0;
}

uint64_t xn_pcm_period_end(const struct xn_pcm *pcm) {
    uint64_t frame = pcm->config.frame_octets, period = pcm->config.period_octets;
    if (!period) return UINT64_MAX;
    uint64_t reported_periods = pcm->reported < frame ? 0 : (pcm->reported - frame) / period;
    return (reported_periods + 1) * period + frame;
}

/* Returns when the clock reaches a position ahead of it. */
static int64_t when(const struct xn_pcm *pcm, uint64_t position) {
    if (position <= pcm->clock_octets) return pcm->clock_usec;
    uint64_t frames = (position - pcm->clock_octets + pcm->config.frame_octets - 1) /
                      pcm->config.frame_octets;
    if (frames > UINT32_MAX) return INT64_MAX;
    return pcm->clock_usec +
           (int64_t)((frames * 1000000u + pcm->config.rate_hz - 1) / pcm->config.rate_hz);
}

/* From when the position may be reported until when it has to be. */
static struct xn_window around(const struct xn_pcm *pcm, uint64_t position, uint32_t early) {
    int64_t late_usec = xn_pcm_octets_to_usec(pcm, pcm->config.period_octets) / 4;
    int64_t usec = when(pcm, position);
    if (usec == INT64_MAX) return xn_never;
    return (struct xn_window){when(pcm, position > early ? position - early : 0),
                              usec + (late_usec < LATE_USEC ? late_usec : LATE_USEC)};
}

/* Returns how early the end of a period may be reported: not before its data is at the sink. */
static uint32_t early_for(const struct xn_pcm *pcm, uint64_t period_end) {
    return period_end <= pcm->taken ? early_octets(pcm) : 0;
}

struct xn_window xn_pcm_playback_window(const struct xn_pcm *pcm, bool discard) {
    uint64_t end = xn_pcm_period_end(pcm), limit = pcm->written + pcm->config.period_octets;
    /* Before the sink can play past `taken`, it takes more data, which causes a pass. */
    if (!is_starved(pcm, discard) && end > pcm->taken) return xn_never;
    if (pcm->position >= limit) return xn_never;
    return around(pcm, smaller(end, limit), early_for(pcm, end));
}

struct xn_window xn_pcm_capture_window(const struct xn_pcm *pcm) {
    return around(pcm, xn_pcm_period_end(pcm), 0);
}

/* Returns the position to report, as it is; or 0. */
static uint64_t due_position(const struct xn_pcm *pcm) {
    if (!pcm->config.period_octets) return 0;
    uint64_t end = xn_pcm_period_end(pcm);
    bool period_is_over = pcm->position + early_for(pcm, end) >= end;
    uint64_t position = period_is_over ? larger(pcm->position, end) : pcm->position;
    /* A pass that has another reason reports the position if it has moved by this much. */
    uint64_t enough = larger(pcm->config.period_octets / 8 * 3, octets_in(pcm, BETWEEN_USEC));
    if (position <= pcm->reported) return 0;
    uint64_t moved = position - pcm->reported;
    if (moved < enough && !period_is_over && !pcm->report_now) return 0;
    /* The frontend takes it modulo its buffer: after a whole lap the stream would seem to stand
     * still. */
    return pcm->reported +
           smaller(moved, pcm->config.buffer_octets - pcm->config.frame_octets);
}

/* Returns the end of a period instead of a position that is at most so many octets past it. */
static uint64_t without_rest(const struct xn_pcm *pcm, uint64_t position, uint64_t most) {
    uint64_t end = xn_pcm_period_end(pcm);
    if (position < end || pcm->report_now) return position;
    uint64_t past_end = (position - end) % pcm->config.period_octets;
    return past_end <= most ? position - past_end : position;
}

uint64_t xn_pcm_playback_report(const struct xn_pcm *pcm) {
    const struct xn_pcm_config *config = &pcm->config;
    bool are_few = config->buffer_octets / 3 < config->period_octets;
    uint64_t most = smaller(config->period_octets / 4, octets_in(pcm, PAST_END_USEC));
    return without_rest(pcm, due_position(pcm), are_few ? most : 0);
}

uint64_t xn_pcm_capture_report(const struct xn_pcm *pcm) {
    return without_rest(pcm, due_position(pcm), pcm->config.period_octets / 8);
}

void xn_pcm_reported(struct xn_pcm *pcm, uint64_t position) {
    pcm->reported = position;
    if (position >= pcm->position) pcm->report_now = false;
}
