/* A guest's vchan, with its clock, its server and the audio server in the test's hands. */
#include "fake_engine.h"
#include "vchan_fixture.h"
#include "vchan_stream.h"

enum { OCTETS_A_SECOND = 44100 * 4, TEN_MSEC = 1764, PLAY = 8192, LARGE = 1 << 20, SMALL = 2048 };
enum { FRAGMENT = XN_VCHAN_FRAGMENT_OCTETS, HEADROOM = XN_VCHAN_HEADROOM_OCTETS };
#define MSEC 1000

static struct xn_engine *engine;
static struct xn_vchan_stream *stream;
static struct fake_channel channel;
static struct xn_vchan_given *given;
static uint32_t served;

/* The client's end, on the vchan as it is. */
static void attend(bool playback) {
    engine = fake_engine_new();
    memset(&channel, 0, sizeof channel);
    struct xn_channel end = fake_channel_end(&channel);
    stream = xn_vchan_stream_new(engine, playback, &vchan, &end, given, NULL, &served, NULL);
}

static void connect_to(bool playback, uint32_t octets) {
    if (playback)
        offer_at(SMALL, octets, 0);
    else
        offer_at(octets, SMALL, 0);
    given = fenced_octets(sizeof *given);
    attend(playback);
    xn_vchan_stream_begin(stream, false);
}

static void connect(bool playback) { connect_to(playback, playback ? PLAY : FRAGMENT); }

static void attach_with(uint32_t latency_usec) {
    const struct xn_audio_config config = {.latency_usec = latency_usec};
    const char *error;
    CHECK(xn_vchan_stream_attach_audio(stream, NULL, &config, &error));
}

static void attach(void) { attach_with(0); }

static void play(void) {
    connect(true);
    attach();
    xn_vchan_stream_start(stream);
}

static void record_into(uint32_t octets) {
    connect_to(false, octets);
    attach();
    xn_vchan_stream_start(stream);
}

/* As from a ring that is all read at once. */
static void record(void) { record_into(FRAGMENT); }

static struct xn_backend_stats stats(void) {
    struct xn_backend_stats now;
    xn_vchan_stream_stats(stream, &now);
    return now;
}

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

TEST(guest_that_waits_for_room_is_notified_when_there_is_some) {
    play();
    server_writes(PLAY);
    fake_arrive();
    page->cli_notify = XN_VCHAN_READ;
    unsigned before = channel.notified;
    fake_server_asks(400);
    CHECK_EQUAL(channel.notified, before + 1);
    fake_server_asks(400);
    CHECK_EQUAL(channel.notified, before + 1);
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

/* ---- capture */

static uint8_t sound[4 * FRAGMENT];

static unsigned crossed(void) {
    unsigned count = 0;
    while (server_can_read()) count += server_reads() == 0x55;
    return count;
}

static void speak(uint32_t octets) {
    memset(sound, 0x55, sizeof sound);
    fake_server_records(sound, octets);
}

TEST(microphone_arrives_in_the_other_ring) {
    record();
    xn_vchan_stream_open_gate(stream, INT64_MAX);
    unsigned before = channel.notified;
    speak(TEN_MSEC);
    CHECK_EQUAL(channel.notified, before + 1);
    CHECK_EQUAL(server_can_read(), TEN_MSEC);
    CHECK_EQUAL(crossed(), TEN_MSEC);
    xn_vchan_stream_free(stream);
}

TEST(closed_gate_is_silence_of_the_same_length) {
    record();
    speak(2 * FRAGMENT / 4);
    CHECK_EQUAL(server_can_read(), 2 * FRAGMENT / 4);
    CHECK_EQUAL(crossed(), 0);
    xn_vchan_stream_open_gate(stream, fake_now_usec + 50 * MSEC);
    speak(400);
    CHECK_EQUAL(crossed(), 400);
    fake_pass_usec(50 * MSEC);
    speak(400);
    CHECK_EQUAL(crossed(), 0);
    xn_vchan_stream_free(stream);
}

static void check_most(uint32_t ring_octets, uint32_t most) {
    record_into(ring_octets);
    xn_vchan_stream_open_gate(stream, INT64_MAX);
    for (int i = 0; i < 100; i++) speak(TEN_MSEC);
    CHECK_EQUAL(server_can_read(), most);
    CHECK_EQUAL(stats().gaps, 1);
    page->left.cons += TEN_MSEC;
    speak(4 * TEN_MSEC);
    CHECK_EQUAL(server_can_read(), most);
    xn_vchan_stream_free(stream);
}

TEST(guest_that_does_not_read_has_one_fragment_and_the_headroom_at_most) {
    check_most(FRAGMENT, FRAGMENT);
    check_most(LARGE, FRAGMENT + HEADROOM);
}

TEST(recording_into_a_larger_ring_begins_with_silence_before_what_comes_first) {
    enum { BEGIN = XN_VCHAN_BEGIN_OCTETS };
    record_into(LARGE);
    xn_vchan_stream_open_gate(stream, INT64_MAX);
    CHECK_EQUAL(server_can_read(), 0);
    speak(TEN_MSEC);
    CHECK_EQUAL(server_can_read(), BEGIN);
    CHECK_EQUAL(left[BEGIN - TEN_MSEC - 1], 0);
    CHECK_EQUAL(crossed(), TEN_MSEC);
    speak(TEN_MSEC);
    CHECK_EQUAL(crossed(), TEN_MSEC);
    CHECK_EQUAL(stats().discarded_octets, 0);
    xn_vchan_stream_stop(stream);
    xn_vchan_stream_start(stream);
    speak(BEGIN + 4);
    CHECK_EQUAL(server_can_read(), BEGIN + 4);
    xn_vchan_stream_free(stream);
}

/* Makes a cycle longer while less than a fragment is there before it, and shorter while there is
 * more, as slowly as the loop in Qubes' module for PipeWire does. */
struct pace {
    double once, twice, sum; /* the error, smoothed, and smoothed again; what that adds up to */
};

static double next_cycle_usec(struct pace *pace, double usec) {
    double error = (double)FRAGMENT - server_can_read();
    error = error > 1024 ? 1024 : error < -1024 ? -1024 : error;
    pace->once += 0.0116 * (3.4e-6 * error - pace->once);
    pace->twice += 0.0116 * (pace->once - pace->twice);
    pace->sum += 3.9e-4 * pace->twice;
    return usec / (1 - pace->twice - pace->sum);
}

static void speak_until(int64_t usec) {
    for (; fake_now_usec + 10 * MSEC <= usec; speak(TEN_MSEC)) fake_pass_usec(10 * MSEC);
}

/* Reads a cycle's worth in each cycle, of which some are late, for 70 s. Its clock is faster by
 * `ppm`. Nothing is missing, and little older than 60 ms. */
static void read_in_cycles(int ppm) {
    enum { CYCLE = 4096, CYCLES = 3000, LATE_USEC = 3000, SIXTY_MSEC = 6 * TEN_MSEC };
    struct pace pace = {0, 0, 0};
    double due_usec = (double)fake_now_usec, usec = CYCLE * 1e6 / OCTETS_A_SECOND * (1 - ppm / 1e6);
    int old = 0;
    for (int i = 0; i < CYCLES; i++) {
        speak_until((int64_t)due_usec + (i % 7 == 0 ? LATE_USEC : 0));
        due_usec += next_cycle_usec(&pace, usec);
        CHECK(server_can_read() >= CYCLE);
        old += server_can_read() > SIXTY_MSEC;
        page->left.cons += CYCLE;
    }
    CHECK(old < CYCLES / 100);
}

TEST(reader_that_keeps_a_fragment_in_the_ring_loses_nothing) {
    for (int i = 0; i < 12; i++) {
        record_into(LARGE);
        xn_vchan_stream_open_gate(stream, INT64_MAX);
        speak(TEN_MSEC);
        fake_pass_usec(2 * i * MSEC); /* until its first cycle */
        read_in_cycles(100 * (i % 5 - 2));
        CHECK_EQUAL(stats().gaps, 0);
        CHECK_EQUAL(stats().stalled, 0);
        xn_vchan_stream_free(stream);
    }
}

TEST(server_records_in_parts_that_fit_whatever_latency_is_asked_for) {
    connect(false);
    attach_with(20 * MSEC);
    CHECK_EQUAL(fake_asked_latency_usec, 20 * MSEC);
    attach_with(400 * MSEC);
    CHECK(fake_asked_latency_usec > 20 * MSEC);
    CHECK((uint64_t)fake_asked_latency_usec * OCTETS_A_SECOND / 1000000 <=
          2 * XN_VCHAN_PART_OCTETS); /* it comes in halves */
    xn_vchan_stream_free(stream);
}

TEST(denied_microphone_is_silence_at_its_rate) {
    connect(false);
    xn_vchan_stream_start(stream);
    uint32_t read = 0;
    memset(left, 0x55, left_size);
    for (int i = 0; i < 1000; i++) {
        fake_pass_usec(10 * MSEC);
        for (; server_can_read(); read++) CHECK_EQUAL(server_reads(), 0);
    }
    CHECK(read <= 10 * OCTETS_A_SECOND);
    CHECK(read >= 10 * OCTETS_A_SECOND - OCTETS_A_SECOND / 40);
    CHECK_EQUAL(read % 4, 0);
    xn_vchan_stream_free(stream);
}

TEST(stopped_microphone_is_nothing_at_all) {
    connect(false);
    fake_pass_usec(1000 * MSEC);
    xn_vchan_stream_start(stream);
    fake_pass_usec(40 * MSEC);
    xn_vchan_stream_stop(stream);
    uint32_t there = server_can_read();
    CHECK(there > 0);
    CHECK_EQUAL(fake_pass_usec(1000 * MSEC), 0);
    CHECK_EQUAL(server_can_read(), there);
    xn_vchan_stream_free(stream);
}

TEST(server_that_gives_nothing_is_replaced_by_the_clock) {
    record();
    xn_vchan_stream_open_gate(stream, INT64_MAX);
    fake_pass_usec(400 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    CHECK(server_can_read() > 0);
    CHECK_EQUAL(crossed(), 0);
    speak(TEN_MSEC);
    CHECK_EQUAL(crossed(), TEN_MSEC);
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
    xn_vchan_stream_open_gate(stream, INT64_MAX);
    speak(400);
    CHECK_EQUAL(xn_vchan_stream_recent(stream, last, 8), 8);
    CHECK_EQUAL(last[7], 0x55);
    xn_vchan_stream_free(stream);
}
