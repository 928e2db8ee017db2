/* The rate loop in a made-up clock: a day of stream time takes a second. */
#include "rate_loop.h"

#include <math.h>

#include "check.h"

enum { RATE_HZ = 48000, PIECE_FRAMES = 240, TARGET_FRAMES = 960 };
#define DAY_SECONDS 86400.0
#define LOCKED_AFTER_SECONDS 300.0
#define RIPPLE_PPM 5 /* from the lowest to the highest rate of a day */

/* Both sides move in pieces of 5 ms by clocks of their own, and tell it late. */
struct side {
    double next_usec, frames;
};

struct range {
    double least, most;
};

#define NOTHING_YET {1e9, -1e9}

static struct xn_rate_loop loop;

static double late_usec(void) {
    static uint64_t state = 88172645463325252u; /* xorshift */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    double chance = (double)(state >> 11) / 9007199254740992.0;
    return chance < 0.99 ? chance * 500 : 3000 * (chance - 0.99) / 0.01;
}

static void move(struct side *side, double rate_hz) {
    side->frames += PIECE_FRAMES;
    side->next_usec += PIECE_FRAMES * 1e6 / rate_hz;
}

struct result {
    struct range fill;      /* once it is locked, in frames */
    struct range change;    /* likewise; what the loop wants */
    struct range minute_hz; /* likewise; the mean of the whole Hz that it has returned in a minute */
    double fill_least;      /* from the beginning */
};

static const struct result no_result = {NOTHING_YET, NOTHING_YET, NOTHING_YET, 1e9};

static double smaller(double a, double b) { return a < b ? a : b; }
static double larger(double a, double b) { return a > b ? a : b; }

static void extend(struct range *range, double to) {
    range->least = smaller(range->least, to);
    range->most = larger(range->most, to);
}

static double width(struct range range) { return range.most - range.least; }

static bool is_within_a_millisecond(struct range fill) {
    double msec = RATE_HZ / 1000.0;
    return fill.most - TARGET_FRAMES < msec && TARGET_FRAMES - fill.least < msec;
}

/* The mean of a rate over a minute, as often as one is over. */
struct mean {
    double minute_usec, usec, hz_usec;
};

static void add_rate(struct mean *mean, double rate_hz, double now_usec, struct range *means) {
    mean->hz_usec += rate_hz * (now_usec - mean->usec);
    mean->usec = now_usec;
    if (now_usec - mean->minute_usec < 60e6) return;
    if (mean->minute_usec > 0) extend(means, mean->hz_usec / (now_usec - mean->minute_usec));
    mean->minute_usec = now_usec;
    mean->hz_usec = 0;
}

/* How far a clock is off, and how much of that comes and goes with the temperature in 20 minutes. */
struct clock {
    double ppm, wander_ppm;
};

static double clock_hz(struct clock clock, double now_usec) {
    double turn = 2 * 3.14159265358979 * now_usec / 1200e6;
    return RATE_HZ * (1 + (clock.ppm + clock.wander_ppm * sin(turn)) / 1e6);
}

/* The true fill is that between the clocks themselves, behind a piece that was just written. */
static double true_fill(const struct side *writer, double writer_hz, const struct side *reader,
                        double reader_hz, double now_usec) {
    double wrote = writer->frames - (writer->next_usec - now_usec) * writer_hz / 1e6;
    double read = reader->frames - (reader->next_usec - now_usec) * reader_hz / 1e6;
    return wrote - read;
}

static struct result run(struct clock clock, bool reader_resamples, double seconds) {
    struct side writer = {1e6, TARGET_FRAMES - PIECE_FRAMES}, reader = {1e6 + 2500, 0};
    struct result result = no_result;
    struct mean mean = {0};
    double told_writer_usec = 0, told_reader_usec = 0, rate_hz = RATE_HZ, now_usec = 0;
    xn_rate_loop_start(&loop, RATE_HZ, TARGET_FRAMES);
    for (;;) {
        double fixed_hz = clock_hz(clock, now_usec);
        double writer_hz = reader_resamples ? fixed_hz : rate_hz;
        double reader_hz = reader_resamples ? rate_hz : fixed_hz;
        bool writes = writer.next_usec <= reader.next_usec;
        now_usec = writes ? writer.next_usec : reader.next_usec;
        if (now_usec > seconds * 1e6) return result;
        /* Who is woken late finds the next piece on time. */
        double told_usec = now_usec + late_usec();
        if (writes) {
            move(&writer, writer_hz);
            told_writer_usec = larger(told_usec, told_writer_usec);
            xn_rate_loop_wrote(&loop, (int64_t)told_writer_usec, (uint64_t)writer.frames);
        } else {
            move(&reader, reader_hz);
            told_reader_usec = larger(told_usec, told_reader_usec);
            xn_rate_loop_read(&loop, (int64_t)told_reader_usec, (uint64_t)reader.frames);
            rate_hz = xn_rate_loop_update(&loop, (int64_t)told_reader_usec, reader_resamples);
        }
        double fill = true_fill(&writer, writer_hz, &reader, reader_hz, now_usec);
        result.fill_least = smaller(result.fill_least, writer.frames - reader.frames);
        if (now_usec < LOCKED_AFTER_SECONDS * 1e6) continue;
        extend(&result.fill, fill);
        extend(&result.change, loop.change);
        add_rate(&mean, rate_hz, now_usec, &result.minute_hz);
    }
}

static void check_a_day(double ppm, bool reader_resamples) {
    struct result result = run((struct clock){.ppm = ppm}, reader_resamples, DAY_SECONDS);
    double change_ppm = reader_resamples ? ppm : -ppm;
    CHECK(result.fill_least > 0);
    CHECK(is_within_a_millisecond(result.fill));
    CHECK(fabs(result.change.most * 1e6 - change_ppm) < 5);
    CHECK(width(result.change) * 1e6 < RIPPLE_PPM);
    CHECK(width(result.minute_hz) / RATE_HZ * 1e6 < RIPPLE_PPM);
}

TEST(a_reader_follows_a_writer_that_is_300_ppm_fast_for_a_day) { check_a_day(300, true); }
TEST(a_reader_follows_a_writer_that_is_300_ppm_slow_for_a_day) { check_a_day(-300, true); }
TEST(a_writer_follows_a_reader_that_is_300_ppm_fast_for_a_day) { check_a_day(300, false); }
TEST(a_writer_follows_a_reader_that_is_300_ppm_slow_for_a_day) { check_a_day(-300, false); }

/* One side begins each of its cycles when the loop says, and is late for it as well. Nothing is
 * resampled, so there is no rate that could ripple. */
static struct result run_paced(double ppm, bool writer_is_paced, double seconds) {
    enum { CYCLE_FRAMES = 256 };
    struct side other = {1e6, writer_is_paced ? 0 : TARGET_FRAMES + CYCLE_FRAMES};
    struct result result = no_result;
    double other_hz = RATE_HZ * (1 + ppm / 1e6), told_usec = 0;
    uint64_t paced = writer_is_paced ? TARGET_FRAMES : 0;
    int64_t began_usec = 1000000;
    xn_rate_loop_start(&loop, RATE_HZ, TARGET_FRAMES);
    for (;;) {
        uint64_t next = paced + CYCLE_FRAMES;
        int64_t due_usec = writer_is_paced ? xn_rate_loop_room_usec(&loop, next)
                                           : xn_rate_loop_fill_usec(&loop, next);
        if (due_usec < began_usec) due_usec = began_usec;
        if (other.next_usec > seconds * 1e6) return result;
        if (other.next_usec <= (double)due_usec) {
            told_usec = larger(other.next_usec + late_usec(), told_usec);
            move(&other, other_hz);
            if (writer_is_paced)
                xn_rate_loop_read(&loop, (int64_t)told_usec, (uint64_t)other.frames);
            else
                xn_rate_loop_wrote(&loop, (int64_t)told_usec, (uint64_t)other.frames);
            continue;
        }
        began_usec = due_usec + (int64_t)late_usec();
        paced = next;
        double moved =
            other.frames + PIECE_FRAMES - (other.next_usec - (double)due_usec) * other_hz / 1e6;
        double fill = writer_is_paced ? (double)paced - moved : moved - (double)paced;
        double piece = writer_is_paced ? CYCLE_FRAMES : 0;
        double late = (double)(began_usec - due_usec) * other_hz / 1e6;
        result.fill_least = smaller(result.fill_least, fill - piece - late);
        if (due_usec < LOCKED_AFTER_SECONDS * 1e6) continue;
        extend(&result.fill, fill);
    }
}

static void check_a_paced_day(double ppm, bool writer_is_paced) {
    struct result result = run_paced(ppm, writer_is_paced, DAY_SECONDS);
    CHECK(result.fill_least > 0);
    CHECK(is_within_a_millisecond(result.fill));
}

TEST(a_graph_plays_to_a_ring_that_is_300_ppm_fast_for_a_day) { check_a_paced_day(300, true); }
TEST(a_graph_plays_to_a_ring_that_is_300_ppm_slow_for_a_day) { check_a_paced_day(-300, true); }
TEST(a_graph_records_from_a_ring_that_is_300_ppm_fast_for_a_day) { check_a_paced_day(300, false); }
TEST(a_graph_records_from_a_ring_that_is_300_ppm_slow_for_a_day) { check_a_paced_day(-300, false); }

TEST(a_graph_waits_until_the_ring_has_moved) {
    xn_rate_loop_start(&loop, RATE_HZ, TARGET_FRAMES);
    CHECK_EQUAL(xn_rate_loop_room_usec(&loop, TARGET_FRAMES), INT64_MAX);
    CHECK_EQUAL(xn_rate_loop_fill_usec(&loop, 0), INT64_MAX);
    xn_rate_loop_read(&loop, 1000000, 480);
    CHECK_EQUAL(xn_rate_loop_room_usec(&loop, TARGET_FRAMES + 480), 1000000);
    CHECK_EQUAL(xn_rate_loop_room_usec(&loop, TARGET_FRAMES + 960), 1010000);
}

TEST(a_clock_that_is_far_off_is_followed_within_seconds) {
    run((struct clock){.ppm = 3000}, false, 15);
    CHECK(fabs(loop.rate_hz - 1.003 * RATE_HZ) < 0.001 * RATE_HZ);
}

TEST(a_clock_that_warms_up_and_cools_down_is_followed_within_a_millisecond) {
    struct result result = run((struct clock){.ppm = 100, .wander_ppm = 10}, true, 3 * 3600);
    CHECK(is_within_a_millisecond(result.fill));
}

TEST(no_rate_is_further_off_than_half_a_percent) {
    run((struct clock){.ppm = 20000}, false, 60);
    CHECK(loop.rate_hz <= 1.005 * RATE_HZ + 1);
}
