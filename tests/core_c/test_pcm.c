#include "pcm.h"

#include <stdbool.h>
#include <string.h>

#include "check.h"

/* A thousand frames of 4 octets a second's tenth: 10 frames, 40 octets a millisecond. */
enum { RATE_HZ = 10000, FRAME = 4, BUFFER = 3000, PERIOD = 400, HALF_PERIOD = PERIOD / 2 };
#define MSEC 1000
#define OCTETS_A_MSEC 40

static struct xn_pcm pcm;
static uint8_t *buffer;
static uint8_t sink[4 * BUFFER];

static void begin_with(uint32_t buffer_octets, uint32_t period_octets) {
    struct xn_pcm_config config = {.rate_hz = RATE_HZ,
                                   .frame_octets = FRAME,
                                   .buffer_octets = buffer_octets,
                                   .period_octets = period_octets,
                                   .silence_octet = 0x80};
    buffer = fenced_octets(buffer_octets);
    for (uint32_t i = 0; i < buffer_octets; i++) buffer[i] = (uint8_t)(i * 7);
    xn_pcm_open(&pcm, &config, buffer);
}

static void begin(void) { begin_with(BUFFER, PERIOD); }

static void start(void) { xn_pcm_start(&pcm, 0); }

static void discard_until(int64_t now_usec) {
    xn_pcm_advance_playback(&pcm, now_usec, NULL, true);
}

static void play_until(int64_t now_usec, uint64_t heard) {
    xn_pcm_advance_playback(&pcm, now_usec, &heard, false);
}

/* What the frontend is told, 0 for nothing. */
static uint64_t tell(void) {
    uint64_t position = xn_pcm_report(&pcm);
    if (position) xn_pcm_reported(&pcm, position);
    return position;
}

static void tell_all(void) {
    while (tell()) continue;
}

/* The clock's way to `position`, the frontend being told all along, and writing in time. */
static void discard_up_to(uint64_t position) {
    start();
    for (int64_t now_usec = 0; pcm.position < position; now_usec += MSEC) {
        uint32_t written = (uint32_t)(pcm.written % BUFFER);
        if (pcm.written - pcm.position <= PERIOD) xn_pcm_wrote(&pcm, written, OCTETS_A_MSEC);
        discard_until(now_usec);
        tell_all();
        CHECK(now_usec < 10000 * MSEC);
    }
}

/* ---- bounds --------------------------------------------------------------------------------- */

TEST(whole_buffer_and_its_empty_end_are_in_the_buffer) {
    begin();
    CHECK(xn_pcm_in_buffer(&pcm, 0, BUFFER));
    CHECK(xn_pcm_in_buffer(&pcm, BUFFER - 1, 1));
    CHECK(xn_pcm_in_buffer(&pcm, BUFFER, 0));
}

TEST(one_octet_too_far_is_outside_the_buffer) {
    begin();
    CHECK(!xn_pcm_in_buffer(&pcm, 0, BUFFER + 1));
    CHECK(!xn_pcm_in_buffer(&pcm, 1, BUFFER));
    CHECK(!xn_pcm_in_buffer(&pcm, BUFFER, 1));
    CHECK(!xn_pcm_in_buffer(&pcm, BUFFER + 1, 0));
}

TEST(offset_and_length_whose_sum_wraps_are_outside_the_buffer) {
    begin();
    CHECK(!xn_pcm_in_buffer(&pcm, UINT32_MAX, 1));
    CHECK(!xn_pcm_in_buffer(&pcm, UINT32_MAX - 3, FRAME));
    CHECK(!xn_pcm_in_buffer(&pcm, FRAME, UINT32_MAX - 3));
    CHECK(!xn_pcm_in_buffer(&pcm, UINT32_MAX, UINT32_MAX));
    CHECK(!xn_pcm_in_buffer(&pcm, 0x80000000u, 0x80000000u));
}

/* ---- copies --------------------------------------------------------------------------------- */

TEST(copy_out_goes_around_the_end_of_a_buffer_of_any_size) {
    begin();
    xn_pcm_copy_out(&pcm, 5u * BUFFER - 8, sink, 20);
    CHECK(memcmp(sink, buffer + BUFFER - 8, 8) == 0);
    CHECK(memcmp(sink + 8, buffer, 12) == 0);
}

TEST(copy_in_goes_around_the_end_of_a_buffer_of_any_size) {
    begin();
    uint8_t before[BUFFER];
    memcpy(before, buffer, BUFFER);
    memset(sink, 0xaa, 20);
    xn_pcm_copy_in(&pcm, 5u * BUFFER - 8, sink, 20);
    CHECK(memcmp(buffer + BUFFER - 8, sink, 8) == 0);
    CHECK(memcmp(buffer, sink, 12) == 0);
    CHECK(memcmp(buffer + 12, before + 12, BUFFER - 20) == 0);
}

TEST(whole_lap_is_copied_from_any_position) {
    begin();
    for (uint64_t position = 0; position < BUFFER; position += FRAME)
        xn_pcm_copy_out(&pcm, position, sink, BUFFER);
    CHECK(memcmp(sink, buffer + BUFFER - FRAME, FRAME) == 0);
    CHECK(memcmp(sink + FRAME, buffer, BUFFER - FRAME) == 0);
}

/* ---- writes --------------------------------------------------------------------------------- */

TEST(contiguous_writes_add_up_around_the_end_of_the_buffer) {
    begin();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 2000);
    pcm.position = 2000;
    xn_pcm_wrote(&pcm, 2000, 1000);
    xn_pcm_wrote(&pcm, 0, 500);
    CHECK_EQUAL(pcm.written, 3500);
    CHECK_EQUAL(xn_pcm_available(&pcm), 1500);
}

TEST(full_buffer_is_taken_before_start) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    CHECK_EQUAL(xn_pcm_available(&pcm), BUFFER);
    xn_pcm_take(&pcm, sink, BUFFER);
    CHECK(memcmp(sink, buffer, BUFFER) == 0);
}

TEST(write_of_the_whole_buffer_counts_wherever_the_sink_stands) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_take(&pcm, sink, 1000);
    xn_pcm_wrote(&pcm, 0, BUFFER);
    CHECK_EQUAL(pcm.written, BUFFER);
}

TEST(rewind_makes_the_end_of_the_rewrite_the_end) {
    begin();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 400);
    xn_pcm_wrote(&pcm, 800, 600);
    CHECK_EQUAL(pcm.written, 1400);
    xn_pcm_wrote(&pcm, 1400, 100);
    CHECK_EQUAL(pcm.written, 1500);
}

TEST(rewind_into_what_the_sink_took_makes_only_its_rest_available) {
    begin();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 1000);
    xn_pcm_wrote(&pcm, 400, 800);
    CHECK_EQUAL(pcm.written, 1200);
}

TEST(rewrite_of_nothing_but_what_the_sink_took_makes_nothing_available) {
    begin();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 1000);
    xn_pcm_wrote(&pcm, 400, 200);
    CHECK_EQUAL(xn_pcm_available(&pcm), 0);
    xn_pcm_wrote(&pcm, 600, 600);
    CHECK_EQUAL(pcm.written, 1200);
}

TEST(rewind_is_taken_back_from_where_it_begins_and_not_before_the_position) {
    begin();
    xn_pcm_wrote(&pcm, 0, 1200);
    xn_pcm_start(&pcm, 0);
    uint8_t to[1200];
    xn_pcm_take(&pcm, to, 1000);
    CHECK_EQUAL(xn_pcm_rewritten(&pcm), 0);
    xn_pcm_wrote(&pcm, 800, 40);
    CHECK_EQUAL(xn_pcm_rewritten(&pcm), 200);
    xn_pcm_wrote(&pcm, 400, 40);
    CHECK_EQUAL(xn_pcm_rewritten(&pcm), 600);
    pcm.position = 600;
    CHECK_EQUAL(xn_pcm_rewritten(&pcm), 400);
    CHECK_EQUAL(xn_pcm_take_back(&pcm), 200);
    CHECK_EQUAL(pcm.taken, 600);
    CHECK_EQUAL(xn_pcm_rewritten(&pcm), 0);
}

TEST(write_repeated_after_stop_counts_from_the_new_lap) {
    begin();
    discard_up_to(1000);
    uint32_t unplayed = (uint32_t)(pcm.written % BUFFER);
    xn_pcm_stop(&pcm);
    CHECK_EQUAL(pcm.position, BUFFER);
    xn_pcm_wrote(&pcm, unplayed, 400); /* the write that the underrun hit, */
    xn_pcm_wrote(&pcm, 0, 400);        /* and after prepare once more */
    CHECK_EQUAL(pcm.written, BUFFER + 400);
    xn_pcm_wrote(&pcm, 400, 100);
    CHECK_EQUAL(pcm.written, BUFFER + 500);
}

TEST(never_more_than_a_buffer_is_available_whatever_is_written) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    for (uint32_t offset = 0; offset < BUFFER; offset += 300) {
        xn_pcm_wrote(&pcm, offset, 300);
        xn_pcm_wrote(&pcm, offset, BUFFER - offset);
        CHECK(xn_pcm_available(&pcm) <= BUFFER);
    }
}

TEST(frontend_that_overtakes_the_position_gives_a_new_sink_a_buffer_at_most) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    for (unsigned lap = 0; lap < 3; lap++) {
        xn_pcm_take(&pcm, sink, xn_pcm_available(&pcm));
        xn_pcm_wrote(&pcm, 0, BUFFER);
    }
    xn_pcm_rewind_to_position(&pcm);
    CHECK(xn_pcm_available(&pcm) <= BUFFER);
    xn_pcm_take(&pcm, sink, xn_pcm_available(&pcm));
}

TEST(new_sink_begins_at_what_was_not_heard) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 1200);
    play_until(MSEC, 400);
    xn_pcm_rewind_to_position(&pcm);
    CHECK_EQUAL(pcm.taken, 400);
    CHECK_EQUAL(xn_pcm_available(&pcm), 1600);
}

TEST(new_sink_begins_at_the_end_if_all_was_heard) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 400);
    xn_pcm_take(&pcm, sink, 400);
    play_until(MSEC, 400);
    play_until(100 * MSEC, 400);
    CHECK_EQUAL(pcm.position, 400 + PERIOD);
    xn_pcm_rewind_to_position(&pcm);
    CHECK_EQUAL(pcm.taken, 400);
    CHECK_EQUAL(xn_pcm_available(&pcm), 0);
}

TEST(new_sink_that_is_behind_holds_no_clock_back) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 1200);
    play_until(0, 300);
    play_until(2 * MSEC, 300);
    CHECK_EQUAL(pcm.position, 380);
    xn_pcm_rewind_to_position(&pcm);
    xn_pcm_hold(&pcm, 10 * MSEC);
    xn_pcm_take(&pcm, sink, 400);
    play_until(11 * MSEC, 340);
    CHECK_EQUAL(pcm.position, 380 + OCTETS_A_MSEC);
}

/* ---- the position --------------------------------------------------------------------------- */

TEST(position_follows_what_is_heard_and_the_clock_between) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 1600);
    play_until(5 * MSEC, 100);
    CHECK_EQUAL(pcm.position, 100);
    play_until(7 * MSEC, 100);
    CHECK_EQUAL(pcm.position, 100 + 2 * OCTETS_A_MSEC);
    play_until(8 * MSEC, 150); /* less than we thought: it waits, and does not go back */
    CHECK_EQUAL(pcm.position, 180);
}

TEST(position_waits_for_a_sink_that_has_not_begun) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 800);
    xn_pcm_hold(&pcm, 50 * MSEC);
    CHECK_EQUAL(pcm.position, 0);
    play_until(51 * MSEC, 0);
    CHECK_EQUAL(pcm.position, OCTETS_A_MSEC);
}

TEST(position_stays_behind_what_the_sink_took_while_there_is_more) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 80);
    play_until(100 * MSEC, 0);
    CHECK_EQUAL(pcm.position, 80);
}

TEST(drain_passes_the_end_by_a_period_and_no_more) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 1000);
    xn_pcm_take(&pcm, sink, 1000);
    for (int64_t now_usec = 0; now_usec < 200 * MSEC; now_usec += MSEC) {
        play_until(now_usec, 0);
        tell_all();
        CHECK(pcm.position <= 1000 + PERIOD);
    }
    CHECK_EQUAL(pcm.position, 1000 + PERIOD);
    CHECK_EQUAL(pcm.reported, 1000 + PERIOD);
}

TEST(drain_on_the_clock_passes_the_end_by_a_period_and_no_more) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 1000);
    for (int64_t now_usec = 0; now_usec < 200 * MSEC; now_usec += MSEC) {
        discard_until(now_usec);
        tell_all();
    }
    CHECK_EQUAL(pcm.position, 1000 + PERIOD);
    CHECK_EQUAL(pcm.reported, 1000 + PERIOD);
    CHECK_EQUAL(xn_pcm_available(&pcm), 0);
}

TEST(position_stays_at_the_end_when_no_events_are_wanted) {
    begin_with(BUFFER, 0);
    start();
    xn_pcm_wrote(&pcm, 0, 1000);
    discard_until(1000 * MSEC);
    CHECK_EQUAL(pcm.position, 1000);
}

TEST(write_after_an_underrun_is_played_at_once_and_the_position_waits_for_it) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 400);
    xn_pcm_take(&pcm, sink, 400);
    play_until(100 * MSEC, 0);
    CHECK_EQUAL(pcm.position, 400 + PERIOD);
    xn_pcm_wrote(&pcm, 400, 400 + PERIOD);
    CHECK_EQUAL(xn_pcm_available(&pcm), 400 + PERIOD);
    xn_pcm_take(&pcm, sink, 200);
    play_until(101 * MSEC, 0);
    CHECK_EQUAL(pcm.position, 400 + PERIOD);
}

TEST(late_data_that_was_written_over_is_not_played) {
    begin();
    start();
    play_until(100 * MSEC, 0);
    CHECK_EQUAL(pcm.position, PERIOD);
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_wrote(&pcm, 0, PERIOD); /* the position says that there is room again */
    CHECK_EQUAL(pcm.written, BUFFER + PERIOD);
    CHECK_EQUAL(xn_pcm_available(&pcm), BUFFER);
    xn_pcm_take(&pcm, sink, FRAME);
    CHECK(memcmp(sink, buffer + PERIOD, FRAME) == 0);
}

TEST(clock_goes_on_from_where_it_had_to_wait) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 80);
    play_until(100 * MSEC, 0);
    xn_pcm_take(&pcm, sink, 800);
    play_until(101 * MSEC, 0);
    CHECK_EQUAL(pcm.position, 80 + OCTETS_A_MSEC);
}

TEST(discarded_data_goes_at_the_pace_of_the_clock) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    for (int64_t msec = 1; msec <= 20; msec++) {
        discard_until(msec * MSEC);
        tell_all();
        CHECK_EQUAL(pcm.position, msec * OCTETS_A_MSEC);
        CHECK_EQUAL(xn_pcm_available(&pcm), BUFFER - msec * OCTETS_A_MSEC);
    }
}

TEST(discarding_goes_on_after_two_billion_octets) {
    enum { STEP_USEC = 40 * MSEC, STEP_OCTETS = 40 * OCTETS_A_MSEC };
    begin_with(2 * STEP_OCTETS, STEP_OCTETS);
    start();
    xn_pcm_wrote(&pcm, 0, 2 * STEP_OCTETS);
    for (int64_t step = 1; pcm.written < 5000000000u; step++) {
        uint64_t before = pcm.position;
        discard_until(step * STEP_USEC);
        CHECK_EQUAL(pcm.position, before + STEP_OCTETS);
        tell_all();
        xn_pcm_wrote(&pcm, (uint32_t)(pcm.written % (2 * STEP_OCTETS)), STEP_OCTETS);
    }
}

TEST(clock_that_goes_back_moves_nothing) {
    begin();
    xn_pcm_start(&pcm, 100 * MSEC);
    xn_pcm_wrote(&pcm, 0, BUFFER);
    discard_until(105 * MSEC);
    discard_until(50 * MSEC);
    CHECK_EQUAL(pcm.position, 5 * OCTETS_A_MSEC);
}

TEST(deaf_frontend_stops_the_clock_and_a_hearing_one_starts_it) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    for (int64_t msec = 1; msec <= 1000; msec++) discard_until(msec * MSEC);
    uint64_t stood = pcm.position;
    CHECK(stood >= BUFFER / 2 && stood < BUFFER / 2 + 2 * OCTETS_A_MSEC);
    tell_all();
    discard_until(1001 * MSEC);
    CHECK_EQUAL(pcm.position, stood + OCTETS_A_MSEC);
}

TEST(frontend_that_wants_no_events_is_not_deaf) {
    begin_with(BUFFER, 0);
    start();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    for (int64_t msec = 1; msec <= 1000; msec++) discard_until(msec * MSEC);
    CHECK_EQUAL(pcm.position, BUFFER);
}

/* ---- stop ----------------------------------------------------------------------------------- */

TEST(stop_moves_to_the_next_lap_and_tells_at_once) {
    begin();
    discard_up_to(1000);
    uint64_t told = pcm.reported;
    xn_pcm_stop(&pcm);
    CHECK_EQUAL(pcm.position, BUFFER);
    CHECK_EQUAL(xn_pcm_available(&pcm), 0);
    CHECK(told < BUFFER);
    CHECK_EQUAL(tell(), BUFFER);
    CHECK_EQUAL(tell(), 0);
    CHECK(!pcm.report_now);
}

TEST(stop_at_the_start_of_a_lap_stays_there_and_tells_what_was_not_told) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_take(&pcm, sink, BUFFER);
    play_until(MSEC, BUFFER - 40);
    tell_all();
    play_until(2 * MSEC, BUFFER);
    CHECK_EQUAL(pcm.position, BUFFER);
    xn_pcm_stop(&pcm);
    CHECK_EQUAL(pcm.position, BUFFER);
    CHECK_EQUAL(tell(), BUFFER);
    CHECK(!pcm.report_now);
}

TEST(stop_of_a_stream_that_never_moved_tells_nothing) {
    begin();
    start();
    xn_pcm_stop(&pcm);
    CHECK_EQUAL(pcm.position, 0);
    CHECK_EQUAL(tell(), 0);
    CHECK(!pcm.report_now);
}

TEST(stop_leaves_nothing_to_tell_when_no_events_are_wanted) {
    begin_with(BUFFER, 0);
    start();
    xn_pcm_wrote(&pcm, 0, 400);
    discard_until(5 * MSEC);
    xn_pcm_stop(&pcm);
    CHECK_EQUAL(pcm.position, BUFFER);
    CHECK(!pcm.report_now);
}

TEST(underrun_leaves_nothing_to_tell_when_no_events_are_wanted) {
    begin_with(BUFFER, 0);
    start();
    xn_pcm_wrote(&pcm, 0, 400);
    discard_until(1000 * MSEC);
    CHECK(!pcm.report_now);
}

TEST(stream_starts_again_where_the_lap_begins) {
    begin();
    discard_up_to(1000);
    xn_pcm_stop(&pcm);
    tell_all();
    xn_pcm_wrote(&pcm, 0, 400);
    xn_pcm_start(&pcm, 5000 * MSEC);
    discard_until(5001 * MSEC);
    CHECK_EQUAL(pcm.position, BUFFER + OCTETS_A_MSEC);
}

TEST(open_forgets_the_stream_before) {
    begin();
    discard_up_to(1000);
    begin();
    CHECK_EQUAL(pcm.position, 0);
    CHECK_EQUAL(pcm.reported, 0);
    CHECK_EQUAL(xn_pcm_available(&pcm), 0);
    CHECK(!pcm.running);
}

TEST(adopted_pcm_stands_and_gives_again_what_was_not_heard) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 1200);
    play_until(MSEC, 400);
    struct xn_pcm_config config = pcm.config;
    pcm.buffer = NULL; /* what it was in another process */
    CHECK(xn_pcm_adopt(&pcm, &config, buffer, 5000 * MSEC));
    CHECK(!pcm.running);
    CHECK_EQUAL(pcm.position, 400);
    CHECK_EQUAL(xn_pcm_available(&pcm), 1600);
    xn_pcm_take(&pcm, sink, 1600);
    CHECK(memcmp(sink, buffer + 400, 1600) == 0);
}

TEST(positions_that_cannot_be_are_not_adopted) {
    for (unsigned i = 0; i < 5; i++) {
        begin();
        pcm.position = pcm.reported = pcm.taken = pcm.written = 10 * BUFFER;
        if (i == 1) pcm.reported += FRAME;
        if (i == 2) pcm.taken += FRAME;
        if (i == 3) pcm.written += BUFFER + FRAME;
        if (i == 4) pcm.reported = 7 * BUFFER;
        struct xn_pcm_config config = pcm.config;
        CHECK_EQUAL(xn_pcm_adopt(&pcm, &config, buffer, 0), i == 0);
    }
}

TEST(positions_of_another_shape_are_not_adopted) {
    begin();
    struct xn_pcm_config config = pcm.config;
    config.buffer_octets *= 2;
    CHECK(!xn_pcm_adopt(&pcm, &config, buffer, 0));
}

/* ---- reports -------------------------------------------------------------------------------- */

TEST(position_is_told_when_it_has_moved_by_three_eighths_of_a_period) {
    begin();
    pcm.position = HALF_PERIOD * 3 / 4 - FRAME;
    CHECK_EQUAL(tell(), 0);
    pcm.position = HALF_PERIOD * 3 / 4;
    CHECK_EQUAL(tell(), HALF_PERIOD * 3 / 4);
    CHECK_EQUAL(tell(), 0);
    pcm.position += HALF_PERIOD;
    CHECK_EQUAL(tell(), pcm.position);
}

TEST(end_of_a_period_is_told_one_frame_past_it_however_little_that_is) {
    begin();
    CHECK_EQUAL(xn_pcm_period_end(&pcm), PERIOD + FRAME);
    pcm.position = PERIOD;
    CHECK_EQUAL(tell(), PERIOD);
    CHECK_EQUAL(xn_pcm_period_end(&pcm), PERIOD + FRAME);
    pcm.position = PERIOD + FRAME;
    CHECK_EQUAL(tell(), PERIOD + FRAME);
    CHECK_EQUAL(xn_pcm_period_end(&pcm), 2 * PERIOD + FRAME);
}

TEST(period_of_one_frame_is_told_each_frame) {
    begin_with(BUFFER, FRAME);
    for (uint64_t position = FRAME; position < 10 * FRAME; position += FRAME) {
        pcm.position = position;
        CHECK_EQUAL(tell(), position);
    }
}

TEST(clock_knows_when_a_period_ends) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_start(&pcm, 1000);
    CHECK_EQUAL(xn_pcm_playback_due_usec(&pcm, false), INT64_MAX); /* the sink has nothing yet */
    int64_t due_usec = xn_pcm_playback_due_usec(&pcm, true);
    xn_pcm_advance_playback(&pcm, due_usec - 1, NULL, true);
    CHECK_EQUAL(pcm.position, PERIOD);
    xn_pcm_advance_playback(&pcm, due_usec, NULL, true);
    CHECK_EQUAL(pcm.position, PERIOD + FRAME);
}

TEST(report_never_jumps_a_lap) {
    begin();
    pcm.position = 10u * BUFFER + 4;
    pcm.report_now = true;
    uint64_t before = 0, position;
    while ((position = tell()) != 0) {
        CHECK(position > before);
        CHECK(position - before < BUFFER);
        before = position;
    }
    CHECK_EQUAL(before, 10u * BUFFER + 4);
}

TEST(period_of_no_octets_is_told_nothing) {
    begin_with(BUFFER, 0);
    pcm.position = 10u * BUFFER;
    pcm.report_now = true;
    CHECK_EQUAL(tell(), 0);
}

/* ---- capture -------------------------------------------------------------------------------- */

TEST(captured_data_lies_where_the_position_was) {
    begin();
    memset(sink, 0xaa, 100);
    CHECK_EQUAL(xn_pcm_capture(&pcm, sink, 100, 0), 100);
    CHECK_EQUAL(pcm.position, 100);
    CHECK_EQUAL(buffer[0], 0xaa);
    CHECK_EQUAL(buffer[99], 0xaa);
    CHECK_EQUAL(buffer[100], (uint8_t)(100 * 7));
}

TEST(silence_is_the_formats_own_and_goes_around_the_end) {
    begin();
    pcm.position = pcm.reported = BUFFER - 8;
    CHECK_EQUAL(xn_pcm_capture(&pcm, NULL, 20, 0), 20);
    for (unsigned i = 0; i < 8; i++) CHECK_EQUAL(buffer[BUFFER - 1 - i], 0x80);
    for (unsigned i = 0; i < 12; i++) CHECK_EQUAL(buffer[i], 0x80);
    CHECK_EQUAL(buffer[12], 12 * 7);
}

TEST(overrun_keeps_half_a_buffer_that_was_not_told) {
    begin();
    CHECK_EQUAL(xn_pcm_capture(&pcm, sink, BUFFER, 0), BUFFER / 2);
    CHECK_EQUAL(xn_pcm_capture(&pcm, sink, BUFFER, 0), 0);
    tell_all();
    CHECK_EQUAL(xn_pcm_capture(&pcm, sink, BUFFER, 0), BUFFER / 2);
}

TEST(overrun_appends_whole_frames) {
    begin_with(5 * FRAME, FRAME);
    CHECK_EQUAL(xn_pcm_capture(&pcm, sink, 5 * FRAME, 0), 2 * FRAME);
}

TEST(capture_without_events_takes_all_in_halves) {
    begin_with(BUFFER, 0);
    for (unsigned i = 1; i <= 10; i++) {
        CHECK_EQUAL(xn_pcm_capture(&pcm, sink, BUFFER, 0), BUFFER / 2);
        CHECK_EQUAL(pcm.position, i * BUFFER / 2);
    }
}

TEST(clock_makes_captured_octets_due_since_the_last_data) {
    begin();
    start();
    CHECK_EQUAL(xn_pcm_capture_due(&pcm, 5 * MSEC), 5 * OCTETS_A_MSEC);
    xn_pcm_capture(&pcm, sink, 100, 5 * MSEC);
    CHECK_EQUAL(xn_pcm_capture_due(&pcm, 5 * MSEC), 0);
    CHECK_EQUAL(xn_pcm_capture_due(&pcm, 7 * MSEC), 2 * OCTETS_A_MSEC);
    CHECK_EQUAL(xn_pcm_capture_due(&pcm, 4 * MSEC), 0);
}

TEST(captured_silence_keeps_time_over_ticks_of_any_length) {
    enum { TICK_USEC = 1190, SECONDS = 10 };
    begin();
    start();
    for (int64_t now_usec = 0; now_usec <= SECONDS * 1000 * MSEC; now_usec += TICK_USEC) {
        xn_pcm_capture(&pcm, NULL, xn_pcm_capture_due(&pcm, now_usec), now_usec);
        tell_all();
    }
    int64_t expected = SECONDS * 1000 * OCTETS_A_MSEC;
    CHECK(pcm.position <= (uint64_t)expected);
    CHECK(pcm.position >= (uint64_t)expected - TICK_USEC * OCTETS_A_MSEC / MSEC - FRAME);
}

TEST(deaf_frontend_loses_captured_silence_and_finds_no_more_than_half_a_buffer) {
    begin();
    start();
    for (int64_t msec = 1; msec <= 1000; msec++)
        xn_pcm_capture(&pcm, NULL, xn_pcm_capture_due(&pcm, msec * MSEC), msec * MSEC);
    CHECK_EQUAL(pcm.position, BUFFER / 2);
    tell_all();
    CHECK_EQUAL(xn_pcm_capture_due(&pcm, 1001 * MSEC), OCTETS_A_MSEC);
}

/* ---- time and octets ------------------------------------------------------------------------ */

TEST(time_becomes_whole_frames) {
    begin();
    CHECK_EQUAL(xn_pcm_usec_to_octets(&pcm, 199), FRAME);
    CHECK_EQUAL(xn_pcm_usec_to_octets(&pcm, 0), 0);
    CHECK_EQUAL(xn_pcm_usec_to_octets(&pcm, -5), 0);
    CHECK_EQUAL(xn_pcm_octets_to_usec(&pcm, 40), 1000);
}
