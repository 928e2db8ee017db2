/* What the frontend's writes make available to the sink. */
#include "pcm_fixture.h"

static uint8_t sink[4 * BUFFER];

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

TEST(rewind_that_ends_before_the_position_is_none_into_the_next_lap) {
    begin();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_start(&pcm, 0);
    xn_pcm_take(&pcm, sink, 1000);
    pcm.reported = 400;
    pcm.position = 800;
    xn_pcm_wrote(&pcm, 480, 120);
    CHECK_EQUAL(pcm.written, 1000);
    xn_pcm_wrote(&pcm, 600, 900);
    CHECK_EQUAL(pcm.written, 1500);
    CHECK_EQUAL(xn_pcm_take_back(&pcm), 320);
}

TEST(stream_returns_to_what_was_overwritten_however_far_it_was) {
    begin();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_start(&pcm, 0);
    xn_pcm_take(&pcm, sink, 1000);
    pcm.reported = 400;
    pcm.position = 800;
    xn_pcm_wrote(&pcm, 480, 1520);
    xn_pcm_return_to(&pcm, pcm.rewritten, 0);
    CHECK_EQUAL(pcm.position, 480);
    CHECK_EQUAL(xn_pcm_available(&pcm), 1520);
}

TEST(what_was_written_further_ahead_than_was_told_is_dropped_when_the_position_returns) {
    begin();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_start(&pcm, 0);
    xn_pcm_take(&pcm, sink, 1000);
    pcm.reported = 400;
    pcm.position = 800;
    xn_pcm_wrote(&pcm, 480, 1520);
    xn_pcm_wrote(&pcm, 2000, 1000);
    xn_pcm_wrote(&pcm, 0, 800);
    CHECK_EQUAL(pcm.written, 800 + BUFFER);
    xn_pcm_return_to(&pcm, pcm.rewritten, 0);
    CHECK_EQUAL(pcm.written, 480 + BUFFER);
    CHECK_EQUAL(xn_pcm_available(&pcm), BUFFER);
}

TEST(position_that_has_returned_is_told_again_only_when_it_is_further_than_it_was) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_start(&pcm, 0);
    xn_pcm_take(&pcm, sink, BUFFER);
    pcm.reported = 2420;
    pcm.position = 2480;
    xn_pcm_wrote(&pcm, 2320, 680); /* by a position that it had read before */
    xn_pcm_return_to(&pcm, pcm.rewritten, 0);
    CHECK_EQUAL(pcm.position, 2320);
    CHECK_EQUAL(tell(), 0);
    pcm.taken = pcm.written;
    play_until(MSEC, 2420);
    CHECK_EQUAL(tell(), 0);
    play_until(10 * MSEC, 2804);
    CHECK_EQUAL(tell(), 2804);
}

TEST(position_returns_by_fifty_milliseconds_at_most) {
    begin();
    xn_pcm_wrote(&pcm, 0, BUFFER);
    xn_pcm_start(&pcm, 0);
    xn_pcm_take(&pcm, sink, BUFFER);
    pcm.reported = pcm.position = 2400;
    xn_pcm_wrote(&pcm, 300, 2700);
    xn_pcm_return_to(&pcm, pcm.rewritten, 0);
    CHECK_EQUAL(pcm.position, 400);
    CHECK_EQUAL(xn_pcm_available(&pcm), 2600);
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
