/* Which positions are reported to the frontend, and when. */
#include "pcm_fixture.h"

TEST(position_is_told_when_it_has_moved_by_three_eighths_of_a_period) {
    begin_with(30 * BUFFER, 10 * PERIOD);
    pcm.position = 10 * PERIOD / 8 * 3 - FRAME;
    CHECK_EQUAL(tell(), 0);
    pcm.position += FRAME;
    CHECK_EQUAL(tell(), pcm.position);
    CHECK_EQUAL(tell(), 0);
}

TEST(position_is_not_told_more_often_than_every_eight_milliseconds_but_for_a_period) {
    begin_with(BUFFER, 16 * OCTETS_A_MSEC);
    pcm.position = 8 * OCTETS_A_MSEC - FRAME;
    CHECK_EQUAL(tell(), 0);
    pcm.position += FRAME;
    CHECK_EQUAL(tell(), pcm.position);
    pcm.position = 16 * OCTETS_A_MSEC + FRAME;
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

TEST(little_that_was_played_past_the_end_of_one_of_two_periods_is_told_later) {
    begin_with(2 * PERIOD, PERIOD);
    pcm.position = PERIOD + PERIOD / 4 + FRAME;
    CHECK_EQUAL(tell(), PERIOD + FRAME);
    CHECK_EQUAL(tell(), 0);
    pcm.position = PERIOD + FRAME + 8 * OCTETS_A_MSEC;
    CHECK_EQUAL(tell(), pcm.position);
}

TEST(little_that_was_played_past_the_end_of_one_of_three_periods_is_told_with_it) {
    begin_with(3 * PERIOD, PERIOD);
    pcm.position = PERIOD + 2 * FRAME;
    CHECK_EQUAL(tell(), pcm.position);
}

TEST(more_than_a_quarter_of_a_period_or_5_ms_past_its_end_is_told_with_it) {
    begin_with(2 * PERIOD, PERIOD);
    pcm.position = PERIOD + PERIOD / 4 + 2 * FRAME;
    CHECK_EQUAL(tell(), pcm.position);
    begin_with(20 * PERIOD, 10 * PERIOD);
    pcm.position = 10 * PERIOD + 5 * OCTETS_A_MSEC + 2 * FRAME;
    CHECK_EQUAL(tell(), pcm.position);
}

/* 1.25 ms are 12 frames. */
#define EARLY (12 * FRAME)

TEST(end_of_a_period_whose_data_the_sink_has_is_told_up_to_1_25_ms_early) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    pcm.taken = PERIOD + FRAME;
    pcm.reported = PERIOD / 2;
    pcm.position = PERIOD + FRAME - EARLY - FRAME;
    CHECK_EQUAL(tell(), 0);
    pcm.position += FRAME;
    CHECK_EQUAL(tell(), PERIOD + FRAME);
    CHECK_EQUAL(tell(), 0);
    CHECK_EQUAL(xn_pcm_period_end(&pcm), 2 * PERIOD + FRAME);
}

TEST(end_of_a_period_whose_data_the_sink_has_not_is_never_told_early) {
    begin();
    xn_pcm_wrote(&pcm, 0, PERIOD);
    pcm.taken = PERIOD;
    pcm.position = PERIOD - FRAME;
    pcm.reported = PERIOD / 2;
    CHECK_EQUAL(tell(), 0);
}

TEST(short_period_is_told_a_quarter_of_it_early_at_most) {
    begin_with(BUFFER, 8 * FRAME);
    xn_pcm_wrote(&pcm, 0, BUFFER);
    pcm.taken = BUFFER;
    pcm.position = 6 * FRAME;
    CHECK_EQUAL(tell(), 0);
    pcm.position = 7 * FRAME;
    CHECK_EQUAL(tell(), 9 * FRAME);
}

TEST(after_an_early_report_the_frontend_may_write_up_to_a_lap_behind_it) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    pcm.taken = BUFFER;
    pcm.position = PERIOD;
    pcm.reported = PERIOD - 10 * FRAME;
    CHECK_EQUAL(tell(), PERIOD + FRAME);
    xn_pcm_wrote(&pcm, 0, PERIOD + FRAME);
    CHECK_EQUAL(pcm.written, BUFFER + PERIOD + FRAME);
    CHECK_EQUAL(pcm.rewritten, XN_NOT_REWRITTEN);
}

TEST(stop_after_an_early_report_never_goes_back) {
    begin_with(2 * PERIOD, PERIOD);
    xn_pcm_wrote(&pcm, 0, 2 * PERIOD);
    pcm.taken = 2 * PERIOD;
    pcm.position = pcm.reported = PERIOD + FRAME;
    xn_pcm_wrote(&pcm, 0, PERIOD);
    pcm.taken = 3 * PERIOD;
    pcm.position = 2 * PERIOD;
    CHECK_EQUAL(tell(), 2 * PERIOD + FRAME);
    xn_pcm_stop(&pcm);
    CHECK_EQUAL(tell(), 4 * PERIOD);
    CHECK_EQUAL(tell(), 0);
}

TEST(period_of_one_frame_is_told_each_frame) {
    begin_with(BUFFER, FRAME);
    for (uint64_t position = 2 * FRAME; position < 10 * FRAME; position += FRAME) {
        pcm.position = position;
        CHECK_EQUAL(tell(), position);
    }
}

TEST(period_without_a_sink_is_told_from_its_end_to_a_moment_after_it) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_start(&pcm, 1000);
    CHECK_EQUAL(xn_pcm_playback_window(&pcm, false).until_usec, XN_NEVER); /* it has no data yet */
    struct xn_window window = xn_pcm_playback_window(&pcm, true);
    xn_pcm_advance_playback(&pcm, window.from_usec - 1, NULL, true);
    CHECK_EQUAL(pcm.position, PERIOD);
    CHECK_EQUAL(window.until_usec, window.from_usec + 1750);
    xn_pcm_advance_playback(&pcm, window.from_usec, NULL, true);
    CHECK_EQUAL(pcm.position, PERIOD + FRAME);
}

TEST(period_at_a_sink_is_told_from_1_25_ms_before_its_end_to_1_75_ms_after_it) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_start(&pcm, 1000);
    pcm.taken = BUFFER;
    int64_t end_usec = 1000 + 10 * MSEC + 100; /* and one frame */
    struct xn_window window = xn_pcm_playback_window(&pcm, false);
    CHECK_EQUAL(window.from_usec, end_usec - 1200); /* whole frames */
    CHECK_EQUAL(window.until_usec, end_usec + 1750);
    xn_pcm_advance_playback(&pcm, window.from_usec - 1, NULL, false);
    pcm.reported = pcm.position - FRAME;
    CHECK_EQUAL(tell(), 0);
    xn_pcm_advance_playback(&pcm, window.from_usec, NULL, false);
    CHECK_EQUAL(tell(), PERIOD + FRAME);
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
