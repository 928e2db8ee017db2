/* Where STOP moves the position. */
#include "pcm_fixture.h"

static uint8_t sink[4 * BUFFER];

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
