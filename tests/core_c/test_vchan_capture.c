/* Recording over vchan. */
#include "vchan_stream_fixture.h"
#include "vchan_waiting.h"

TEST(microphone_arrives_in_the_other_ring) {
    record();
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
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
    xn_sound_open_gate(xn_vchan_stream_sound(stream), fake_now_usec + 50 * MSEC);
    speak(400);
    CHECK_EQUAL(crossed(), 400);
    fake_pass_usec(50 * MSEC);
    speak(400);
    CHECK_EQUAL(crossed(), 0);
    xn_vchan_stream_free(stream);
}

static void check_most(uint32_t ring_octets, uint32_t most) {
    record_into(ring_octets);
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
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

/* ---- what waits */

enum { QUEUED = XN_VCHAN_QUEUED_OCTETS, WAIT_USEC = XN_VCHAN_WAITING_USEC };
static uint32_t spoken, heard;

/* Each octet is counted from the beginning. */
static void speak_counted(uint32_t octets) {
    for (uint32_t i = 0; i < octets; i++) sound[i] = counted(spoken + i);
    spoken += octets;
    fake_server_records(sound, octets);
}

static void record_counted(uint32_t octets) {
    record_into(octets);
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
    spoken = heard = 0;
}

/* The guest reads all, which are those that were spoken next, and wants more. Returns how many. */
static uint32_t hear(void) {
    uint32_t count = server_can_read();
    for (uint32_t i = 0; i < count; i++) CHECK_EQUAL(server_reads(), counted(heard + i));
    heard += count;
    page->cli_notify |= XN_VCHAN_WRITTEN;
    fake_arrive();
    return count;
}

static void hear_all(void) {
    while (hear()) {}
}

TEST(what_the_ring_has_no_room_for_waits_until_the_guest_has_read) {
    record_counted(FRAGMENT);
    speak_counted(2 * FRAGMENT + 4000);
    CHECK_EQUAL(page->srv_notify & XN_VCHAN_READ, XN_VCHAN_READ);
    CHECK_EQUAL(hear(), FRAGMENT);
    unsigned before = channel.notified;
    CHECK_EQUAL(hear(), FRAGMENT);
    CHECK_EQUAL(channel.notified, before + 1);
    CHECK_EQUAL(hear(), 4000);
    CHECK_EQUAL(stats().late_octets, 0);
    CHECK_EQUAL(stats().gaps, 0);
    xn_vchan_stream_free(stream);
}

TEST(guest_that_reads_in_steps_longer_than_its_ring_loses_nothing) {
    record_counted(FRAGMENT);
    for (int i = 1; i <= 600; i++) {
        fake_pass_usec(10 * MSEC);
        speak_counted(TEN_MSEC);
        if (i % 6 == 0) hear_all();
    }
    CHECK_EQUAL(heard, spoken);
    CHECK_EQUAL(stats().gaps, 0);
    xn_vchan_stream_free(stream);
}

TEST(guest_is_not_asked_to_tell_of_its_reading_while_nothing_waits) {
    record_counted(FRAGMENT);
    for (int i = 0; i < 10; i++) {
        speak_counted(TEN_MSEC);
        hear();
    }
    CHECK_EQUAL(page->srv_notify & XN_VCHAN_READ, 0);
    xn_vchan_stream_free(stream);
}

/* What it reads is at most 64 ms old: the newest, after what its ring has. */
static void lag(uint32_t at_once, int times) {
    record_counted(FRAGMENT);
    for (int i = 0; i < times; i++) {
        speak_counted(at_once);
        fake_pass_usec(WAIT_USEC);
    }
    CHECK_EQUAL(stats().gaps, 1);
    CHECK_EQUAL(stats().late_octets, spoken - QUEUED);
    CHECK_EQUAL(hear(), FRAGMENT);
    heard = spoken - HEADROOM;
    CHECK_EQUAL(hear(), HEADROOM);
    CHECK_EQUAL(hear(), 0);
    speak_counted(400);
    CHECK_EQUAL(hear(), 400);
    CHECK_EQUAL(stats().gaps, 1);
    xn_vchan_stream_free(stream);
}

TEST(guest_that_does_not_read_loses_what_waits_for_too_long) {
    lag(FRAGMENT + 4000, 1);
    lag(2 * TEN_MSEC, 50);
    lag(XN_VCHAN_WAITING_OCTETS + FRAGMENT + 4000, 1);
}

TEST(nothing_but_the_headroom_is_queued_in_a_larger_ring_for_long) {
    record_counted(LARGE);
    speak_counted(QUEUED + 4000);
    fake_pass_usec(WAIT_USEC);
    CHECK_EQUAL(hear(), QUEUED);
    CHECK_EQUAL(hear(), 0);
    CHECK_EQUAL(stats().late_octets, 4000);
    xn_vchan_stream_free(stream);
}

/* Reads what was queued when the gate was closed, and what has waited. Returns the octets of that. */
static uint32_t read_what_waits(void) {
    uint32_t before = 0;
    while (server_can_read() && before < FRAGMENT) before += server_reads() == 0x55;
    CHECK_EQUAL(before, FRAGMENT);
    fake_arrive();
    uint32_t waited = server_can_read();
    CHECK_EQUAL(crossed(), 0);
    return waited;
}

TEST(what_waits_is_silence_once_the_gate_is_closed) {
    for (int opens_again = 0; opens_again < 2; opens_again++) {
        record_counted(FRAGMENT);
        speak(FRAGMENT + 4000);
        xn_sound_close_gate(xn_vchan_stream_sound(stream));
        if (opens_again) xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
        CHECK_EQUAL(read_what_waits(), 4000);
        CHECK_EQUAL(stats().late_octets, 0);
        xn_vchan_stream_free(stream);
    }
}

TEST(what_waits_is_wiped_when_the_gate_was_closed_and_more_comes) {
    record_counted(FRAGMENT);
    speak(FRAGMENT + 400);
    xn_sound_close_gate(xn_vchan_stream_sound(stream));
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
    speak(400);
    for (int i = 0; i < FRAGMENT; i++) CHECK_EQUAL(server_reads(), 0x55);
    fake_arrive();
    for (int i = 0; i < 400; i++) CHECK_EQUAL(server_reads(), 0);
    CHECK_EQUAL(crossed(), 400);
    xn_vchan_stream_free(stream);
}

TEST(what_was_recorded_with_a_closed_gate_is_silence_however_long_it_waits) {
    record();
    speak(2 * FRAGMENT);
    CHECK_EQUAL(crossed(), 0);
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
    fake_arrive();
    CHECK_EQUAL(server_can_read(), FRAGMENT);
    CHECK_EQUAL(crossed(), 0);
    xn_vchan_stream_free(stream);
}

TEST(nothing_waits_for_a_source_that_was_stopped_and_started) {
    record_counted(FRAGMENT);
    speak(2 * FRAGMENT);
    xn_vchan_stream_stop(stream);
    xn_vchan_stream_start(stream);
    CHECK_EQUAL(crossed(), FRAGMENT);
    fake_arrive();
    CHECK_EQUAL(server_can_read(), 0);
    xn_vchan_stream_free(stream);
}

/* ---- a larger ring */

TEST(recording_into_a_larger_ring_begins_with_silence_before_what_comes_first) {
    enum { BEGIN = XN_VCHAN_BEGIN_OCTETS };
    record_into(LARGE);
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
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
        xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
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
    xn_sound_open_gate(xn_vchan_stream_sound(stream), INT64_MAX);
    fake_pass_usec(400 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    CHECK(server_can_read() > 0);
    CHECK_EQUAL(crossed(), 0);
    speak(TEN_MSEC);
    CHECK_EQUAL(crossed(), TEN_MSEC);
    xn_vchan_stream_free(stream);
}
