/* The rate loop in a made-up clock: a day of stream time takes a second. */
#include "rate_loop.h"

#include <math.h>

#include "check.h"

enum { RATE_HZ = 48000, PIECE_FRAMES = 240, TARGET_FRAMES = 960 };
#define DAY_SECONDS 86400.0
#define LOCKED_AFTER_SECONDS 300.0

/* Both sides move in pieces of 5 ms by clocks of their own, and tell it late. */
struct side {
    double next_usec, frames;
};

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
    double fill_min, fill_max, change_min, change_max; /* once it is locked; fill in frames */
    double fill_least;                                 /* from the beginning */
};

static double smaller(double a, double b) { return a < b ? a : b; }
static double larger(double a, double b) { return a > b ? a : b; }

/* The true fill is that between the clocks themselves, behind a piece that was just written. */
static double true_fill(const struct side *writer, double writer_hz, const struct side *reader,
                        double reader_hz, double now_usec) {
    double wrote = writer->frames - (writer->next_usec - now_usec) * writer_hz / 1e6;
    double read = reader->frames - (reader->next_usec - now_usec) * reader_hz / 1e6;
    return wrote - read;
}

static struct result run(double ppm, bool reader_resamples, double seconds) {
    struct side writer = {1e6, TARGET_FRAMES - PIECE_FRAMES}, reader = {1e6 + 2500, 0};
    struct result result = {1e9, -1e9, 1, -1, 1e9};
    double told_writer_usec = 0, told_reader_usec = 0;
    double fixed_hz = RATE_HZ * (1 + ppm / 1e6), rate_hz = RATE_HZ;
    xn_rate_loop_start(&loop, RATE_HZ, TARGET_FRAMES);
    for (;;) {
        double writer_hz = reader_resamples ? fixed_hz : rate_hz;
        double reader_hz = reader_resamples ? rate_hz : fixed_hz;
        bool writes = writer.next_usec <= reader.next_usec;
        double now_usec = writes ? writer.next_usec : reader.next_usec;
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
        result.fill_min = smaller(result.fill_min, fill);
        result.fill_max = larger(result.fill_max, fill);
        result.change_min = smaller(result.change_min, loop.change);
        result.change_max = larger(result.change_max, loop.change);
    }
}

static void check_a_day(double ppm, bool reader_resamples) {
    struct result result = run(ppm, reader_resamples, DAY_SECONDS);
    double msec = RATE_HZ / 1000.0;
    double change_ppm = reader_resamples ? ppm : -ppm;
    CHECK(result.fill_least > 0);
    CHECK(result.fill_max - TARGET_FRAMES < msec && TARGET_FRAMES - result.fill_min < msec);
    CHECK(fabs(result.change_max * 1e6 - change_ppm) < 5);
    CHECK(fabs(result.change_min * 1e6 - change_ppm) < 5);
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
    struct result result = {.fill_min = 1e9, .fill_max = -1e9, .fill_least = 1e9};
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
        result.fill_min = smaller(result.fill_min, fill);
        result.fill_max = larger(result.fill_max, fill);
    }
}

static void check_a_paced_day(double ppm, bool writer_is_paced) {
    struct result result = run_paced(ppm, writer_is_paced, DAY_SECONDS);
    double msec = RATE_HZ / 1000.0;
    CHECK(result.fill_least > 0);
    CHECK(result.fill_max - TARGET_FRAMES < msec && TARGET_FRAMES - result.fill_min < msec);
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
    run(3000, false, 15);
    CHECK(fabs(loop.rate_hz - 1.003 * RATE_HZ) < 0.001 * RATE_HZ);
}

TEST(no_rate_is_further_off_than_half_a_percent) {
    run(20000, false, 60);
    CHECK(loop.rate_hz <= 1.005 * RATE_HZ + 1);
}
