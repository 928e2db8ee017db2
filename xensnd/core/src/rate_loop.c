#include "rate_loop.h"

#include <math.h>
#include <string.h>

/* The control loop has a wide bandwidth first, to find the difference of the clocks within seconds.
 * Then its bandwidth becomes narrow, so that jitter does not change the pitch: with events up to 3 ms
 * late, the rate moves by 2.5 ppm in all. With a yet narrower one the loop would follow a clock that
 * becomes warm too slowly. */
#define FIRST_HZ 0.1
#define LAST_HZ 0.003
#define NARROWING_USEC 10e6
/* The lines follow faster than the control loop, so that their lag has no effect on it. */
#define LINE_HZ_PER_LOOP_HZ 10.0

#define CHANGE_MAX 0.005    /* 9 cents: nobody hears it */
#define STALL_USEC 100000.0 /* an event later than this is not jitter: the line starts again */
#define LOST_USEC 5000.0    /* if the fill is farther from its target, the bandwidth is wide
                             * again */
#define TOGETHER_USEC 1000  /* events closer than this count as one */
#define ROUND_USEC 250000   /* least time between changes of the rate: each costs the server work */
#define OWED_FRAMES_MAX 0.5

#define PI 3.14159265358979
#define SQRT_2 1.41421356237310

void xn_rate_loop_start(struct xn_rate_loop *loop, uint32_t nominal_hz, uint32_t target_frames) {
    memset(loop, 0, sizeof *loop);
    loop->nominal_hz = loop->rate_hz = nominal_hz;
    loop->target_frames = target_frames;
}

static double loop_hz(const struct xn_rate_loop *loop, int64_t now_usec) {
    double narrowed = FIRST_HZ / (1 + (double)(now_usec - loop->locked_usec) / NARROWING_USEC);
    return narrowed > LAST_HZ ? narrowed : LAST_HZ;
}

/* Returns false if the line has started again. */
static bool draw(struct xn_timeline *line, double bandwidth_hz, uint32_t nominal_hz) {
    double usec = (double)line->event_usec, frames = (double)line->event_frames;
    double moved = frames - line->frames;
    double expected_usec = line->usec + moved * line->frame_usec;
    double late_usec = usec - expected_usec;
    if (!line->started || fabs(late_usec) > STALL_USEC) {
        line->started = true;
        line->usec = usec;
        line->frames = frames;
        line->frame_usec = 1e6 / nominal_hz;
        return false;
    }
    if (moved <= 0) return true;
    double w = 2 * PI * bandwidth_hz * moved / nominal_hz;
    if (w > 0.5) w = 0.5; /* with longer pieces the filter would overshoot */
    line->usec = expected_usec + SQRT_2 * w * late_usec;
    line->frame_usec += w * w * late_usec / moved;
    line->frames = frames;
    return true;
}

static void add(struct xn_rate_loop *loop, struct xn_timeline *line, int64_t now_usec,
                uint64_t frames) {
    if (line->event_usec && now_usec - line->event_usec >= TOGETHER_USEC &&
        !draw(line, loop_hz(loop, now_usec) * LINE_HZ_PER_LOOP_HZ, loop->nominal_hz))
        loop->locked_usec = now_usec;
    if (!line->event_usec || now_usec - line->event_usec >= TOGETHER_USEC)
        line->event_usec = now_usec;
    line->event_frames = frames;
}

void xn_rate_loop_wrote(struct xn_rate_loop *loop, int64_t now_usec, uint64_t frames) {
    add(loop, &loop->writer, now_usec, frames);
}

void xn_rate_loop_read(struct xn_rate_loop *loop, int64_t now_usec, uint64_t frames) {
    add(loop, &loop->reader, now_usec, frames);
}

static double frames_at(const struct xn_timeline *line, int64_t now_usec) {
    return line->frames + ((double)now_usec - line->usec) / line->frame_usec;
}

double xn_rate_loop_fill_frames(const struct xn_rate_loop *loop, int64_t now_usec) {
    if (!loop->writer.started || !loop->reader.started) return 0;
    return frames_at(&loop->writer, now_usec) - frames_at(&loop->reader, now_usec);
}

/* Returns when the line reaches so many frames. Its first event is taken for on time. */
static int64_t reached_usec(const struct xn_timeline *line, double frames, uint32_t nominal_hz) {
    if (!line->event_usec) return INT64_MAX;
    double usec = line->started ? line->usec + (frames - line->frames) * line->frame_usec
                                : (double)line->event_usec +
                                      (frames - (double)line->event_frames) * 1e6 / nominal_hz;
    return usec > 0 ? (int64_t)usec : 0;
}

int64_t xn_rate_loop_room_usec(const struct xn_rate_loop *loop, uint64_t frames) {
    return reached_usec(&loop->reader, (double)frames - loop->target_frames, loop->nominal_hz);
}

int64_t xn_rate_loop_fill_usec(const struct xn_rate_loop *loop, uint64_t frames) {
    return reached_usec(&loop->writer, (double)frames + loop->target_frames, loop->nominal_hz);
}

static double limited(double change) {
    if (change > CHANGE_MAX) return CHANGE_MAX;
    return change < -CHANGE_MAX ? -CHANGE_MAX : change;
}

/* The server takes whole numbers of Hz. The rate alternates between the two nearest, so that it is
 * right on average. */
static void round_rate(struct xn_rate_loop *loop, double wanted_hz, int64_t now_usec) {
    if (now_usec - loop->rounded_usec < ROUND_USEC) return;
    loop->rounded_usec = now_usec;
    double lower_hz = floor(wanted_hz);
    if (loop->owed_frames > OWED_FRAMES_MAX)
        loop->rate_hz = (uint32_t)lower_hz + 1;
    else if (loop->owed_frames < -OWED_FRAMES_MAX || loop->rate_hz < lower_hz ||
             loop->rate_hz > lower_hz + 1)
        loop->rate_hz = (uint32_t)lower_hz;
    if (fabs(loop->owed_frames) > 8 * OWED_FRAMES_MAX) loop->owed_frames = 0;
}

uint32_t xn_rate_loop_update(struct xn_rate_loop *loop, int64_t now_usec, bool reader_resamples) {
    double seconds = (double)(now_usec - loop->updated_usec) / 1e6;
    bool first = loop->updated_usec == 0;
    loop->updated_usec = now_usec;
    if (first || !loop->writer.started || !loop->reader.started || seconds > STALL_USEC / 1e6)
        return loop->rate_hz;
    double excess_frames = xn_rate_loop_fill_frames(loop, now_usec) - loop->target_frames;
    double excess_seconds = excess_frames / loop->nominal_hz;
    if (fabs(excess_seconds) * 1e6 > LOST_USEC) loop->locked_usec = now_usec;
    double w = 2 * PI * loop_hz(loop, now_usec);
    loop->integral = limited(loop->integral + w * w * excess_seconds * seconds);
    loop->change = limited(SQRT_2 * w * excess_seconds + loop->integral);
    double factor = reader_resamples ? 1 + loop->change : 1 - loop->change;
    double wanted_hz = loop->nominal_hz * factor;
    loop->owed_frames += (wanted_hz - loop->rate_hz) * seconds;
    round_rate(loop, wanted_hz, now_usec);
    return loop->rate_hz;
}
