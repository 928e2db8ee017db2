/* What is recorded, and how far. */
#include "pcm_fixture.h"

static uint8_t sink[4 * BUFFER];

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

static uint64_t tell_capture(void) {
    uint64_t position = xn_pcm_capture_report(&pcm);
    if (position) xn_pcm_reported(&pcm, position);
    return position;
}

TEST(little_that_was_recorded_after_the_end_of_a_period_is_told_later) {
    begin_with(40 * PERIOD, 10 * PERIOD);
    pcm.position = pcm.reported = 10 * PERIOD;
    pcm.position += 10 * PERIOD / 8 + FRAME;
    CHECK_EQUAL(tell_capture(), 10 * PERIOD + FRAME);
    CHECK_EQUAL(tell_capture(), 0);
    pcm.position = 10 * PERIOD + FRAME + 10 * PERIOD / 8 * 3;
    CHECK_EQUAL(tell_capture(), pcm.position);
}

TEST(much_that_was_recorded_after_the_end_of_a_period_is_told_with_it) {
    begin_with(40 * PERIOD, 10 * PERIOD);
    pcm.position = 10 * PERIOD + 10 * PERIOD / 8 + 2 * FRAME;
    CHECK_EQUAL(tell_capture(), pcm.position);
    pcm.position = 40 * PERIOD; /* all but a frame of a period */
    CHECK_EQUAL(tell_capture(), pcm.position);
}

TEST(end_of_the_last_of_several_periods_is_told) {
    begin();
    pcm.position = 3 * PERIOD + 10 * FRAME;
    CHECK_EQUAL(tell_capture(), 3 * PERIOD + FRAME);
}

TEST(stop_of_a_recording_is_told_as_it_is) {
    begin();
    start();
    pcm.position = PERIOD + 2 * FRAME;
    xn_pcm_stop(&pcm);
    while (tell_capture()) continue;
    CHECK_EQUAL(pcm.reported, BUFFER);
}
