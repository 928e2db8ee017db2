/* Which positions are reported to the frontend, and when. */
#include "pcm_fixture.h"

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
