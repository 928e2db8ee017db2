/* A stream over vchan: playback, control words and peers. */
#include "vchan_stream_fixture.h"

static void check_heard(uint32_t from, uint32_t octets) {
    for (uint32_t i = 0; i < octets; i++) CHECK_EQUAL(fake_server_has[from + i], counted(from + i));
}

/* ---- playback */

TEST(playback_is_pulled_from_the_ring_as_the_server_asks) {
    play();
    server_writes(PLAY);
    CHECK_EQUAL(page->right.cons, 0);
    CHECK_EQUAL(fake_server_asks(3000), 3000);
    CHECK_EQUAL(page->right.cons, 3000);
    server_writes(3000);
    CHECK_EQUAL(fake_server_asks(6000), 6000);
    check_heard(0, 9000);
    CHECK_EQUAL(stats().octets, 9000);
    CHECK_EQUAL(stats().buffered_octets, PLAY + 3000 - 9000);
    xn_vchan_stream_free(stream);
}

TEST(stream_that_is_handed_over_leaves_the_guest_connected) {
    play();
    server_writes(PLAY);
    fake_server_asks(TEN_MSEC);
    unsigned before = channel.notified;
    xn_vchan_stream_hand_over(stream);
    CHECK_EQUAL(page->cli_live, 1);
    CHECK_EQUAL(channel.notified, before);
}

TEST(part_of_a_frame_stays_in_the_ring) {
    play();
    server_writes(10);
    CHECK_EQUAL(fake_server_asks(100), 8);
    server_writes(2);
    fake_arrive();
    CHECK_EQUAL(page->right.cons, 12);
    check_heard(0, 12);
    xn_vchan_stream_free(stream);
}

TEST(starving_server_gets_what_the_guest_writes_as_soon_as_it_notifies) {
    play();
    CHECK_EQUAL(fake_server_asks(TEN_MSEC), 0);
    CHECK_EQUAL(page->srv_notify & XN_VCHAN_WRITTEN, XN_VCHAN_WRITTEN);
    server_writes(TEN_MSEC);
    fake_arrive();
    check_heard(0, TEN_MSEC);
    xn_vchan_stream_free(stream);
}

TEST(guest_is_asked_for_nothing_while_the_server_has_enough) {
    play();
    server_writes(PLAY);
    fake_server_asks(TEN_MSEC);
    page->srv_notify = 0;
    for (int i = 0; i < 4; i++) {
        fake_server_asks(400);
        fake_pass_usec(10 * MSEC);
    }
    CHECK_EQUAL(page->srv_notify, 0);
    xn_vchan_stream_free(stream);
}

/* Lets the server ask for so much at a time. Returns how often the guest, which waits for room, was
 * notified. */
static unsigned told_of_room(uint32_t octets, int times) {
    unsigned before = channel.notified;
    for (int i = 0; i < times; i++) {
        page->cli_notify |= XN_VCHAN_READ;
        CHECK_EQUAL(fake_server_asks(octets), octets);
    }
    return channel.notified - before;
}

TEST(guest_that_waits_for_room_is_notified_once_when_there_is_some) {
    play();
    server_writes(PLAY);
    fake_arrive();
    CHECK_EQUAL(told_of_room(2048, 1), 1);
    unsigned before = channel.notified;
    fake_server_asks(2048);
    CHECK_EQUAL(channel.notified, before);
    xn_vchan_stream_free(stream);
}

TEST(guest_that_has_written_ahead_is_told_of_room_in_larger_parts) {
    play();
    server_writes(PLAY);
    CHECK_EQUAL(told_of_room(512, 8), 2);
    xn_vchan_stream_free(stream);
}

TEST(guest_that_has_little_more_to_play_is_told_of_any_room) {
    play();
    server_writes(3000);
    CHECK_EQUAL(told_of_room(400, 5), 5);
    xn_vchan_stream_free(stream);
    connect_to(true, 1024);
    attach();
    xn_vchan_stream_start(stream);
    server_writes(1024);
    CHECK_EQUAL(told_of_room(64, 8), 2); /* until half of it is empty */
    CHECK_EQUAL(told_of_room(64, 8), 8);
    xn_vchan_stream_free(stream);
}

TEST(corked_playback_stays_in_the_ring_and_goes_on_there) {
    play();
    server_writes(PLAY);
    fake_server_asks(4000);
    xn_vchan_stream_stop(stream);
    CHECK(!fake_is_running());
    fake_pass_usec(1000 * MSEC);
    CHECK_EQUAL(page->right.cons, 4000);
    xn_vchan_stream_start(stream);
    fake_server_asks(PLAY - 4000);
    check_heard(0, PLAY);
    xn_vchan_stream_free(stream);
}

/* A guest that fills its ring as soon as there is room. Returns how much it has written. */
static uint32_t fill_for(int64_t usec) {
    for (int64_t end_usec = fake_now_usec + usec; fake_now_usec < end_usec;) {
        server_writes(PLAY - (page->right.prod - page->right.cons));
        fake_arrive();
        fake_pass_usec(1 * MSEC);
    }
    return page->right.cons;
}

TEST(denied_playback_is_discarded_at_its_rate) {
    connect(true);
    xn_vchan_stream_start(stream);
    uint32_t consumed = fill_for(10000 * MSEC);
    CHECK(consumed <= 10 * OCTETS_A_SECOND);
    CHECK(consumed >= 10 * OCTETS_A_SECOND - OCTETS_A_SECOND / 20);
    CHECK_EQUAL(stats().discarded_octets, consumed);
    CHECK_EQUAL(stats().octets, 0);
    xn_vchan_stream_free(stream);
}

TEST(denied_playback_of_a_silent_guest_causes_no_wakeups) {
    connect(true);
    xn_vchan_stream_start(stream);
    fill_for(100 * MSEC);
    fake_pass_usec(1000 * MSEC);
    CHECK_EQUAL(fake_pass_usec(60000 * MSEC), 0);
    xn_vchan_stream_free(stream);
}

TEST(frozen_server_is_replaced_by_the_clock_until_it_asks_again) {
    play();
    server_writes(PLAY);
    fake_server_asks(400);
    fill_for(1000 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    CHECK(stats().discarded_octets > OCTETS_A_SECOND / 2);
    fake_server_asks(400);
    uint64_t discarded = stats().discarded_octets;
    fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(stats().discarded_octets, discarded);
    xn_vchan_stream_free(stream);
}

TEST(server_that_queues_more_may_ask_less_often) {
    play();
    attach_with(400 * MSEC);
    server_writes(PLAY);
    fake_server_asks(400);
    fill_for(700 * MSEC);
    CHECK_EQUAL(stats().stalled, 0);
    CHECK_EQUAL(stats().discarded_octets, 0);
    fill_for(300 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    xn_vchan_stream_free(stream);
}

TEST(server_that_was_given_nothing_for_a_while_has_not_stalled_when_the_guest_plays_again) {
    play();
    server_writes(TEN_MSEC);
    CHECK_EQUAL(fake_server_asks(2 * TEN_MSEC), TEN_MSEC);
    fake_pass_usec(1000 * MSEC);
    server_writes(4 * TEN_MSEC); /* more than the server wants */
    fake_arrive();
    fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(stats().stalled, 0);
    CHECK_EQUAL(page->right.cons, 2 * TEN_MSEC);
    fake_server_asks(3 * TEN_MSEC);
    check_heard(0, 5 * TEN_MSEC);
    xn_vchan_stream_free(stream);
}

TEST(another_process_gives_again_what_was_not_heard) {
    play();
    server_writes(PLAY);
    fake_latency_usec = 20 * MSEC;
    fake_server_asks(3 * TEN_MSEC);
    xn_vchan_stream_free(stream); /* as if it had died: */
    page->cli_live = 1;
    memset(right, 0x99, 3 * TEN_MSEC); /* the guest has written into the room since */
    xn_vchan_attach(&vchan, page, left, SMALL, right, PLAY);
    attend(true);
    xn_vchan_stream_begin(stream, true);
    attach();
    xn_vchan_stream_start(stream);
    CHECK_EQUAL(fake_server_asks(3 * TEN_MSEC), 3 * TEN_MSEC);
    for (uint32_t i = 0; i < 3 * TEN_MSEC; i++)
        CHECK_EQUAL(fake_server_has[i], counted(TEN_MSEC + i));
    CHECK_EQUAL(page->right.cons, 4 * TEN_MSEC);
    xn_vchan_stream_free(stream);
}

TEST(counts_of_another_process_that_cannot_be_right_give_nothing_again) {
    offer_at(SMALL, PLAY, 0);
    given = fenced_octets(sizeof *given);
    given->octets = 8;
    given->heard = 12;
    attend(true);
    xn_vchan_stream_begin(stream, true);
    attach();
    xn_vchan_stream_start(stream);
    server_writes(400);
    CHECK_EQUAL(fake_server_asks(800), 400);
    check_heard(0, 400);
    xn_vchan_stream_free(stream);
}

/* ---- control words */

static void say(uint32_t word) {
    for (int i = 0; i < 4; i++)
        right[page->right.prod++ % right_size] = (uint8_t)(word >> 8 * i);
}

TEST(control_words_wait_for_python_one_at_a_time) {
    uint32_t word;
    connect(false);
    CHECK(!xn_vchan_stream_next_word(stream, &word));
    say(0x00010001);
    say(0x00020000);
    unsigned before = fake_python_wakeups;
    fake_arrive();
    CHECK_EQUAL(fake_python_wakeups, before + 1);
    CHECK(xn_vchan_stream_next_word(stream, &word));
    CHECK_EQUAL(word, 0x00010001);
    CHECK(xn_vchan_stream_next_word(stream, &word)); /* it stays until it is dropped */
    CHECK_EQUAL(page->right.cons, 0);
    xn_vchan_stream_drop_word(stream);
    CHECK_EQUAL(page->right.cons, 4);
    CHECK(xn_vchan_stream_next_word(stream, &word));
    CHECK_EQUAL(word, 0x00020000);
    xn_vchan_stream_drop_word(stream);
    CHECK(!xn_vchan_stream_next_word(stream, &word));
    CHECK_EQUAL(page->srv_notify & XN_VCHAN_WRITTEN, XN_VCHAN_WRITTEN);
    xn_vchan_stream_free(stream);
}

TEST(part_of_a_word_is_none) {
    uint32_t word;
    connect(false);
    say(0x00010001);
    page->right.prod -= 1;
    fake_arrive();
    CHECK(!xn_vchan_stream_next_word(stream, &word));
    page->right.prod += 1;
    fake_arrive();
    CHECK(xn_vchan_stream_next_word(stream, &word));
    xn_vchan_stream_free(stream);
}

/* ---- peers */

TEST(server_that_goes_is_told_to_python_once_and_polled_no_more) {
    play();
    unsigned before = fake_python_wakeups;
    page->srv_live = 0;
    fake_arrive();
    CHECK_EQUAL(fake_python_wakeups, before + 1);
    CHECK(!xn_vchan_stream_is_open(stream));
    CHECK(!fake_is_polled());
    fake_server_asks(400);
    fake_pass_usec(10000 * MSEC);
    CHECK_EQUAL(fake_python_wakeups, before + 1);
    xn_vchan_stream_free(stream);
}

TEST(client_that_goes_says_so) {
    connect(true);
    CHECK_EQUAL(page->cli_live, 1);
    unsigned before = channel.notified;
    xn_vchan_stream_free(stream);
    CHECK_EQUAL(page->cli_live, 0);
    CHECK_EQUAL(channel.notified, before + 1);
}

TEST(client_that_was_no_client_yet_says_nothing) {
    offer_at(SMALL, PLAY, 0);
    attend(true);
    xn_vchan_stream_free(stream);
    CHECK_EQUAL(page->cli_live, 2);
    CHECK_EQUAL(channel.notified, 0);
}

TEST(index_out_of_range_is_a_violation_and_moves_nothing) {
    play();
    page->right.prod = PLAY + 1;
    CHECK_EQUAL(fake_server_asks(400), 0);
    CHECK_EQUAL(xn_vchan_stream_violation(stream), XN_VIOLATION_RING_INDEX);
    CHECK(!fake_is_polled());
    xn_vchan_stream_free(stream);
    record();
    page->left.cons = 1;
    speak(400);
    CHECK_EQUAL(xn_vchan_stream_violation(stream), XN_VIOLATION_RING_INDEX);
    CHECK_EQUAL(page->left.prod, 0);
    xn_vchan_stream_free(stream);
    connect(false);
    page->right.prod = SMALL + 1;
    fake_arrive();
    CHECK_EQUAL(xn_vchan_stream_violation(stream), XN_VIOLATION_RING_INDEX);
    xn_vchan_stream_free(stream);
}

TEST(endless_notifications_are_paused_and_then_a_violation) {
    connect(true);
    for (int i = 0; i < 1000000 && !xn_vchan_stream_violation(stream); i++) {
        if (!fake_arrive()) fake_pass_usec(1 * MSEC);
        fake_now_usec += 10;
    }
    CHECK_EQUAL(xn_vchan_stream_violation(stream), XN_VIOLATION_STORM);
    CHECK(!fake_is_polled());
    xn_vchan_stream_free(stream);
}

TEST(guest_is_marked_as_served_only_during_a_pass) {
    play();
    CHECK_EQUAL(served, 0);
    server_writes(400);
    fake_arrive();
    CHECK_EQUAL(served, 0);
    xn_vchan_stream_free(stream);
}

TEST(what_was_moved_last_can_be_looked_at) {
    uint8_t last[8];
    play();
    CHECK_EQUAL(xn_vchan_stream_recent(stream, last, 8), 0);
    server_writes(400);
    fake_server_asks(400);
    CHECK_EQUAL(xn_vchan_stream_recent(stream, last, 8), 8);
    for (uint32_t i = 0; i < 8; i++) CHECK_EQUAL(last[i], counted(392 + i));
    xn_vchan_stream_free(stream);
    record();
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
    speak(400);
    CHECK_EQUAL(xn_vchan_stream_recent(stream, last, 8), 8);
    CHECK_EQUAL(last[7], 0x55);
    xn_vchan_stream_free(stream);
}
