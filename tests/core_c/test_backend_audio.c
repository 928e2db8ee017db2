/* What the audio server gets from a stream, and gives to it. */
#include "backend_fixture.h"

TEST(position_is_what_the_server_has_made_audible) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 20 * MSEC;
    CHECK_EQUAL(fake_server_asks(30 * OCTETS_A_MSEC), 30 * OCTETS_A_MSEC);
    fake_pass_usec(20 * MSEC);
    CHECK(stats().position_octets >= 10 * OCTETS_A_MSEC);
    CHECK(stats().position_octets <= 30 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().octets, 30 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

/* A playback of 0x11 that runs, all of which the server has, and of which it has played 20 ms. */
static void play_ones(void) {
    connect(true), open_with(BUFFER, BUFFER / 2), attach();
    memset(buffer, 0x11, BUFFER);
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 80 * MSEC;
    CHECK_EQUAL(fake_server_asks(BUFFER), BUFFER);
    fake_latency_usec = 60 * MSEC;
    CHECK_EQUAL(fake_server_asks(0), 0);
    CHECK_EQUAL(stats().position_octets, 20 * OCTETS_A_MSEC);
}

/* A playback by a guest that writes as late as it may: so much is written, of which the server has 16
 * ms. It keeps 20, and asks for 2. Returns how much more it gets. */
static uint32_t ask_a_late_writer_for_2_ms(uint32_t written_msec) {
    connect(true), open(), attach_for(20 * MSEC);
    write_all(0, 16 * OCTETS_A_MSEC);
    xn_backend_start(backend);
    CHECK_EQUAL(fake_server_asks(16 * OCTETS_A_MSEC), 16 * OCTETS_A_MSEC);
    fake_now_usec += 8 * MSEC;
    fake_latency_usec = 8 * MSEC;
    write_all(16 * OCTETS_A_MSEC, (written_msec - 16) * OCTETS_A_MSEC);
    return fake_server_asks(2 * OCTETS_A_MSEC);
}

TEST(write_of_a_late_writer_is_given_in_one_piece_though_the_server_asks_for_less) {
    CHECK_EQUAL(ask_a_late_writer_for_2_ms(26), 10 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().buffered_octets, 0);
    xn_backend_free(backend);
}

TEST(server_has_no_more_than_its_latency_whatever_the_guest_has_written) {
    CHECK_EQUAL(ask_a_late_writer_for_2_ms(28), 12 * OCTETS_A_MSEC); /* with these it has 20 ms */
    xn_backend_free(backend);
    CHECK_EQUAL(ask_a_late_writer_for_2_ms(29), 2 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().buffered_octets, 11 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(server_that_asks_for_nothing_gets_nothing_although_it_may_have_more) {
    connect(true), open(), attach_for(20 * MSEC);
    write_all(0, 4 * OCTETS_A_MSEC);
    xn_backend_start(backend);
    fake_latency_usec = 0;
    CHECK_EQUAL(fake_server_asks(4 * OCTETS_A_MSEC), 4 * OCTETS_A_MSEC);
    write_all(4 * OCTETS_A_MSEC, 4 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().buffered_octets, 4 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

/* Sends a WRITE of a millisecond. Returns whether the backend wants to be notified of it. */
static int send_a_write(uint32_t at_msec) {
    struct xn_packet packet;
    const struct xn_transfer write = {1, XN_OP_WRITE, at_msec * OCTETS_A_MSEC, OCTETS_A_MSEC};
    xn_wire_transfer_request(&packet, write);
    return xn_frontend_ring_request(&frontend, &packet);
}

/* The server's next request may be for what it has got by then: nobody would look. */
TEST(backend_is_notified_of_the_write_after_one_that_was_given_in_one_piece) {
    connect(true), open(), attach_for(20 * MSEC);
    request(XN_OP_WRITE, 0, 20 * OCTETS_A_MSEC, false); /* it does not await answers */
    request(XN_OP_WRITE, 20 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC, true);
    xn_backend_start(backend);
    fake_latency_usec = 0;
    CHECK_EQUAL(fake_server_asks(16 * OCTETS_A_MSEC), 16 * OCTETS_A_MSEC);
    fake_latency_usec = 16 * MSEC;
    request(XN_OP_WRITE, 30 * OCTETS_A_MSEC, OCTETS_A_MSEC, true);
    CHECK_EQUAL(send_a_write(31), 0); /* the server's next request is soon enough */
    fake_now_usec += 12 * MSEC;
    fake_latency_usec = 4 * MSEC;
    CHECK_EQUAL(fake_server_asks(2 * OCTETS_A_MSEC), 16 * OCTETS_A_MSEC);
    CHECK_EQUAL(send_a_write(32), 1);
    xn_backend_free(backend);
}

TEST(rewind_is_given_to_the_server_in_its_place) {
    play_ones();
    memset(buffer + 30 * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(30 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    for (uint32_t i = 0; i < BUFFER; i++) {
        bool rewritten = i >= 30 * OCTETS_A_MSEC && i < 40 * OCTETS_A_MSEC;
        CHECK_EQUAL(fake_server_has[i], rewritten ? 0x22 : 0x11);
    }
    CHECK_EQUAL(stats().late_octets, 0);
    CHECK_EQUAL(stats().buffered_octets, 0);
    xn_backend_free(backend);
}

TEST(rewind_over_what_was_heard_is_counted_and_the_rest_is_given) {
    play_ones();
    memset(buffer + 15 * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(15 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_server_has[20 * OCTETS_A_MSEC - 1], 0x11);
    CHECK_EQUAL(fake_server_has[20 * OCTETS_A_MSEC], 0x22);
    CHECK_EQUAL(stats().late_octets, 5 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(what_the_server_plays_although_it_was_overwritten_is_counted_as_late) {
    play_ones();
    fake_server_keeps = 3 * OCTETS_A_MSEC;
    memset(buffer + 15 * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(15 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().late_octets, (5 + 3) * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(what_follows_a_rewind_goes_behind_what_the_server_has) {
    play_ones();
    memset(buffer, 0x33, 20 * OCTETS_A_MSEC);
    memset(buffer + 70 * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(70 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    write_all(0, 20 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_server_asks(20 * OCTETS_A_MSEC), 20 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_server_has[BUFFER - 1], 0x22);
    CHECK_EQUAL(fake_server_has[BUFFER], 0x33);
    CHECK_EQUAL(fake_server_has[BUFFER + 20 * OCTETS_A_MSEC - 1], 0x33);
    xn_backend_free(backend);
}

TEST(rewinds_one_after_another_reach_the_server_every_five_milliseconds) {
    play_ones();
    for (uint32_t msec = 0; msec < 4; msec++) {
        memset(buffer + (40 + msec) * OCTETS_A_MSEC, 0x22, OCTETS_A_MSEC);
        write_all((40 + msec) * OCTETS_A_MSEC, OCTETS_A_MSEC);
    }
    CHECK_EQUAL(fake_server_has[41 * OCTETS_A_MSEC - 1], 0x22);
    CHECK_EQUAL(fake_server_has[41 * OCTETS_A_MSEC], 0x11);
    fake_pass_usec(5 * MSEC);
    CHECK_EQUAL(fake_server_has[44 * OCTETS_A_MSEC - 1], 0x22);
    xn_backend_free(backend);
}

TEST(new_server_is_given_what_the_old_one_had_not_made_audible) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 20 * MSEC;
    fake_server_asks(30 * OCTETS_A_MSEC);
    fake_pass_usec(5 * MSEC);
    attach();
    uint64_t position = stats().position_octets;
    CHECK(position > 0 && position < 30 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().buffered_octets, BUFFER - position);
    xn_backend_free(backend);
}

TEST(server_that_stalls_is_left_behind_by_the_clock_until_it_asks_again) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 0;
    play_on_for(300 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    CHECK(stats().position_octets >= 200 * OCTETS_A_MSEC);
    uint64_t before = stats().octets;
    CHECK(fake_server_asks(400) > 0);
    CHECK(stats().octets > before);
    xn_backend_free(backend);
}

TEST(server_that_was_given_nothing_for_a_while_has_not_stalled_when_the_guest_writes_again) {
    connect(true), open(), attach();
    write_all(0, PERIOD);
    xn_backend_start(backend);
    fake_latency_usec = 0;
    CHECK_EQUAL(fake_server_asks(2 * PERIOD), PERIOD);
    for (unsigned i = 0; i < 10; i++) {
        fake_pass_usec(20 * MSEC);
        hear();
    }
    fake_pass_usec(fake_next_due_usec() - fake_now_usec - 1);
    write_all(PERIOD, 3 * PERIOD); /* more than the server wants */
    fake_pass_usec(40 * MSEC);
    CHECK_EQUAL(stats().stalled, 0);
    CHECK_EQUAL(stats().discarded_octets, 0);
    CHECK_EQUAL(fake_server_asks(2 * PERIOD), 2 * PERIOD);
    xn_backend_free(backend);
}

TEST(server_that_wants_more_and_begins_nothing_is_left_behind_by_the_clock) {
    connect(true), open();
    fake_server_wants_again = 4 * BUFFER;
    attach();
    write_all(0, BUFFER);
    xn_backend_start(backend); /* fake_latency_usec: none of it is audible */
    fake_pass_usec(45 * MSEC);
    CHECK_EQUAL(stats().position_octets, 0);
    CHECK_EQUAL(stats().buffered_octets, 0);
    play_on_for(200 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    CHECK(stats().position_octets >= 100 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(position_never_stands_still_for_a_hundred_milliseconds_when_the_server_vanishes) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_server_failed = true;
    fake_pass_usec(100 * MSEC);
    CHECK(hear() > 0);
    xn_backend_free(backend);
}

TEST(new_server_reads_nothing_outside_the_buffer_whatever_the_frontend_wrote) {
    connect(true), open_with(64, 16), attach();
    write_all(0, 64);
    xn_backend_start(backend);
    fake_latency_usec = 1000 * MSEC;
    for (unsigned i = 0; i < 100; i++) { /* it writes what was taken, heard or not */
        fake_server_asks(64);
        write_all(0, 64);
    }
    attach();
    CHECK(fake_server_asks(4096) <= 64);
    xn_backend_free(backend);
}

TEST(server_that_asks_with_no_stream_open_is_given_nothing) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    xn_backend_close_pcm(backend);
    CHECK(!fake_is_attached());
    xn_backend_free(backend);
}

TEST(recorded_data_lies_in_the_buffer_and_is_told) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    static uint8_t recorded[PERIOD];
    memset(recorded, 0x55, sizeof recorded);
    fake_server_records(recorded, sizeof recorded);
    CHECK_EQUAL(hear(), PERIOD);
    CHECK_EQUAL(buffer[0], 0x55);
    CHECK_EQUAL(buffer[PERIOD - 1], 0x55);
    CHECK_EQUAL(transfer(XN_OP_READ, 0, PERIOD), 0);
    xn_backend_free(backend);
}

TEST(recording_longer_than_the_buffer_is_taken_while_the_frontend_is_told) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    fake_server_records(NULL, 2 * BUFFER);
    CHECK_EQUAL(hear(), 2 * BUFFER);
    xn_backend_free(backend);
}

TEST(recording_for_a_deaf_frontend_ends_at_half_a_buffer_untold) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    event_page->in_cons = event_page->in_prod - 63;
    for (unsigned i = 0; i < 100; i++) fake_server_records(NULL, PERIOD);
    CHECK_EQUAL(stats().position_octets, BUFFER / 2);
    xn_backend_free(backend);
}

TEST(nothing_is_recorded_before_start) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    xn_backend_stop(backend);
    uint64_t before = stats().position_octets;
    fake_pass_usec(1000 * MSEC);
    CHECK_EQUAL(stats().position_octets, before);
    xn_backend_free(backend);
}

/* ---- a guest that has written far ahead ----------------------------------------------------- */

enum { AHEAD_MSEC = 5, FED_MSEC = 12 }; /* of a latency of 20 ms */

/* A playback by a guest that has written so much, of which the server has its latency. */
static void play_far_ahead(uint32_t written_msec) {
    connect(true), open(), attach_for(20 * MSEC);
    fake_server_takes_ahead = true;
    memset(buffer, 0x11, BUFFER);
    write_all(0, written_msec * OCTETS_A_MSEC);
    xn_backend_start(backend);
    CHECK_EQUAL(fake_server_asks(20 * OCTETS_A_MSEC), 20 * OCTETS_A_MSEC); /* it has not begun */
    fake_now_usec += 5 * MSEC;
    fake_latency_usec = 15 * MSEC;
}

TEST(server_gets_more_than_it_asks_for_and_need_not_be_heard_for_a_while) {
    play_far_ahead(80);
    CHECK_EQUAL(fake_is_fed, false);
    CHECK_EQUAL(fake_server_asks(5 * OCTETS_A_MSEC), (5 + AHEAD_MSEC) * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_is_fed, true);
    int64_t fed_usec = fake_now_usec;
    CHECK(fake_next_due_usec() <= fed_usec + FED_MSEC * MSEC);
    fake_latency_usec = (25 - FED_MSEC) * MSEC;
    fake_pass_usec(FED_MSEC * MSEC); /* it has not asked, as far as is known */
    CHECK_EQUAL(stats().octets, (30 + FED_MSEC) * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_is_fed, true);
    xn_backend_free(backend);
}

TEST(server_that_asks_no_more_is_heard_again_and_gets_nothing) {
    play_far_ahead(80);
    fake_server_asks(5 * OCTETS_A_MSEC);
    fake_latency_usec = 25 * MSEC; /* it plays nothing */
    fake_pass_usec(FED_MSEC * MSEC);
    CHECK_EQUAL(fake_is_fed, false);
    fake_pass_usec(20 * MSEC);
    fake_latency_usec = 0; /* its time goes on, which libpulse only computes */
    fake_pass_usec(PERIOD / OCTETS_A_MSEC * MSEC);
    CHECK_EQUAL(fake_is_fed, false);
    CHECK_EQUAL(stats().octets, 30 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(guest_that_has_less_than_the_latency_left_gets_each_request_answered) {
    play_far_ahead(20 + 5 + 19);
    CHECK_EQUAL(fake_server_asks(5 * OCTETS_A_MSEC), 5 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_is_fed, false);
    xn_backend_free(backend);
}

TEST(server_that_takes_no_more_than_its_latency_is_always_heard) {
    play_far_ahead(80);
    fake_server_takes_ahead = false;
    CHECK_EQUAL(fake_server_asks(5 * OCTETS_A_MSEC), 5 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_is_fed, false);
    xn_backend_free(backend);
}

TEST(what_the_server_has_ahead_is_given_anew_when_the_guest_rewinds) {
    play_far_ahead(80);
    fake_server_asks(5 * OCTETS_A_MSEC);
    fake_latency_usec = 25 * MSEC;
    memset(buffer + 28 * OCTETS_A_MSEC, 0x22, 52 * OCTETS_A_MSEC);
    write_all(28 * OCTETS_A_MSEC, 52 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_server_has[28 * OCTETS_A_MSEC - 1], 0x11);
    CHECK_EQUAL(fake_server_has[28 * OCTETS_A_MSEC], 0x22);
    CHECK_EQUAL(fake_server_has[30 * OCTETS_A_MSEC - 1], 0x22);
    CHECK_EQUAL(stats().octets, (30 + 2) * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_is_fed, true);
    xn_backend_free(backend);
}

TEST(stream_that_stops_or_gets_another_server_has_given_that_nothing) {
    play_far_ahead(80);
    fake_server_asks(5 * OCTETS_A_MSEC);
    xn_backend_stop(backend);
    CHECK_EQUAL(fake_is_fed, false);
    write_all(0, BUFFER);
    fake_latency_usec = -1;
    xn_backend_start(backend);
    CHECK_EQUAL(fake_is_fed, false);
    xn_backend_free(backend);

    play_far_ahead(80);
    fake_server_asks(5 * OCTETS_A_MSEC);
    fake_latency_usec = -1;
    attach_for(20 * MSEC);
    fake_server_asks(5 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_is_fed, false);
    xn_backend_free(backend);
}
