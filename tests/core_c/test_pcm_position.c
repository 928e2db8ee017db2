/* How the position of a playback moves. */
#include "pcm_fixture.h"

static uint8_t sink[4 * BUFFER];

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
