/* Silence that lasts: the server's stream is corked, and goes on with the first sample that is none. */
#include "backend_fixture.h"

static uint64_t written, heard;

/* For so long the guest writes this octet wherever there is room, and the server plays 20 ms behind
 * what it has. */
static void play(uint8_t octet, int64_t usec) {
    for (int64_t end_usec = fake_now_usec + usec; fake_now_usec < end_usec;) {
        uint64_t position = hear();
        if (position) heard = position;
        while (written < heard + BUFFER) {
            uint32_t offset = (uint32_t)(written % BUFFER);
            uint32_t room = (uint32_t)(heard + BUFFER - written);
            uint32_t octets = room < BUFFER - offset ? room : BUFFER - offset;
            memset(buffer + offset, octet, octets);
            write_all(offset, octets);
            written += octets;
        }
        fake_pass_usec(MSEC);
        if (fake_is_running()) fake_server_asks(OCTETS_A_MSEC);
    }
}

static void start(void) {
    written = heard = 0;
    connect(true), open(), attach();
    fake_latency_usec = 20 * MSEC;
    xn_backend_start(backend);
    fake_server_asks(20 * OCTETS_A_MSEC);
}

TEST(silence_corks_the_server_after_two_seconds_and_the_position_goes_on) {
    start();
    play(0, 1900 * MSEC);
    CHECK(fake_is_running());
    play(0, 400 * MSEC);
    CHECK(!fake_is_running());
    uint64_t before = stats().position_octets;
    play(0, 500 * MSEC);
    uint64_t moved = stats().position_octets - before;
    CHECK(moved >= 498 * OCTETS_A_MSEC && moved <= 502 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().stalled, 0);
    CHECK_EQUAL(stats().discarded_octets, 0);
    xn_backend_free(backend);
}

TEST(sound_is_never_corked_nor_is_silence_between_sounds) {
    start();
    for (int i = 0; i < 3; i++) {
        play(0x11, 1000 * MSEC);
        CHECK(fake_is_running());
        play(0, 1500 * MSEC);
        CHECK(fake_is_running());
    }
    xn_backend_free(backend);
}

TEST(server_is_given_the_first_sample_that_is_not_silent_before_its_time) {
    start();
    play(0, 3000 * MSEC);
    CHECK(!fake_is_running());
    uint64_t first = written, given = stats().octets;
    while (!fake_is_running()) play(0x11, MSEC);
    CHECK(stats().position_octets < first);
    /* What it gets begins at the position: silence, and then the sound. */
    uint64_t silent = first - stats().position_octets;
    uint32_t begin = (uint32_t)(stats().octets - given);
    fake_server_asks(BUFFER);
    CHECK(stats().octets - given > begin + silent);
    CHECK_EQUAL(fake_server_has[(stats().octets - 1) % FAKE_SERVER_HAS], 0x11);
    xn_backend_free(backend);
}

TEST(stream_that_was_corked_in_silence_stops_and_starts_as_any_other) {
    start();
    play(0, 3000 * MSEC);
    CHECK(!fake_is_running());
    xn_backend_stop(backend);
    xn_backend_start(backend);
    CHECK(fake_is_running());
    written = heard = stats().position_octets;
    play(0x11, 3000 * MSEC);
    CHECK(fake_is_running());
    xn_backend_free(backend);
}

TEST(new_server_plays_what_the_old_one_was_corked_in) {
    start();
    play(0, 3000 * MSEC);
    attach();
    CHECK(fake_is_running());
    play(0, 2500 * MSEC);
    CHECK(!fake_is_running());
    xn_backend_free(backend);
}

/* Writes so much silence behind the last, and returns whether the backend wants to be notified. */
static bool wants_notice_of(uint32_t octets) {
    struct xn_packet packet;
    struct xn_transfer transfer = {1, XN_OP_WRITE, (uint32_t)(written % BUFFER), octets};
    xn_wire_transfer_request(&packet, transfer);
    int must_notify = xn_frontend_ring_request(&frontend, &packet);
    CHECK(must_notify >= 0);
    written += octets;
    return must_notify;
}

/* Returns when everything that was written is answered. */
static void await_answers(void) {
    for (int msec = 0; frontend.rsp_cons != frontend.req_prod; msec++) {
        CHECK(msec < 25);
        fake_pass_usec(MSEC);
        hear();
        while (answer() != NO_ANSWER) {}
    }
}

TEST(guest_that_writes_far_ahead_in_silence_need_not_notify) {
    start();
    wants_notice_of(PERIOD);
    wants_notice_of(PERIOD); /* it does not wait for answers */
    fake_arrive();
    await_answers();
    play(0, 3000 * MSEC);
    CHECK(!fake_is_running());
    fake_pass_usec(10 * MSEC);
    CHECK(!wants_notice_of(PERIOD / 4));
    await_answers(); /* all the same */
    fake_pass_usec(40 * MSEC);
    CHECK(wants_notice_of(PERIOD / 4));
    xn_backend_free(backend);
}

TEST(guest_that_waits_for_answers_in_silence_gets_them_at_once) {
    start();
    play(0, 3000 * MSEC);
    fake_pass_usec(10 * MSEC);
    CHECK(wants_notice_of(PERIOD / 4));
    xn_backend_free(backend);
}

TEST(recording_is_never_corked) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    fake_pass_usec(3000 * MSEC);
    CHECK(fake_is_running());
    xn_backend_free(backend);
}
