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

/* Silence, all of which the server has, and of which it has made 25 ms audible; it plays 30. The
 * frontend knows of 20. */
static void play_silence(void) {
    connect(true), open_with(BUFFER, BUFFER / 2), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 80 * MSEC;
    CHECK_EQUAL(fake_server_asks(BUFFER), BUFFER);
    fake_latency_usec = 60 * MSEC;
    CHECK_EQUAL(fake_server_asks(0), 0);
    fake_latency_usec = 55 * MSEC;
    CHECK_EQUAL(fake_server_asks(0), 0);
    CHECK_EQUAL(hear(), 20 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().position_octets, 25 * OCTETS_A_MSEC);
    fake_server_plays = 30 * OCTETS_A_MSEC;
}

/* Writes 10 ms of a sound at `msec`. */
static void write_sound(uint32_t msec) {
    memset(buffer + msec * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(msec * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
}

TEST(sound_written_over_silence_that_was_heard_is_whole_and_heard_as_soon_as_it_can_be) {
    play_silence();
    write_sound(21);
    for (uint32_t msec = 30; msec < 60; msec++)
        CHECK_EQUAL(fake_server_has[msec * OCTETS_A_MSEC], msec < 40 ? 0x22 : 0);
    CHECK_EQUAL(stats().late_octets, 0);
    xn_backend_free(backend);
}

TEST(position_waits_where_the_sound_begins_until_that_is_heard) {
    play_silence();
    fake_latency_usec = -1; /* of what it was given now */
    write_sound(21);
    CHECK_EQUAL(stats().position_octets, 21 * OCTETS_A_MSEC);
    fake_pass_usec(5 * MSEC);
    CHECK_EQUAL(stats().position_octets, 21 * OCTETS_A_MSEC);
    fake_latency_usec = 50 * MSEC;
    CHECK_EQUAL(fake_server_asks(0), 0);
    fake_pass_usec(4 * MSEC);
    uint64_t now = stats().position_octets;
    CHECK(now >= 21 * OCTETS_A_MSEC && now <= 35 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(sound_written_over_a_sound_waits_for_nothing) {
    play_silence();
    write_sound(21);
    fake_latency_usec = 40 * MSEC;
    fake_server_asks(0);
    uint64_t before = stats().position_octets;
    memset(buffer + 22 * OCTETS_A_MSEC, 0x33, 10 * OCTETS_A_MSEC);
    fake_pass_usec(5 * MSEC);
    write_all(22 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    CHECK(stats().position_octets >= before);
    CHECK(stats().late_octets > 0);
    xn_backend_free(backend);
}

TEST(sound_behind_another_that_is_not_heard_yet_goes_to_its_place) {
    play_silence();
    write_sound(35); /* and 25 ms are heard */
    fake_pass_usec(5 * MSEC);
    memset(buffer + 50 * OCTETS_A_MSEC, 0x33, 10 * OCTETS_A_MSEC);
    fake_server_plays = 42 * OCTETS_A_MSEC;
    uint64_t before = stats().position_octets;
    uint32_t first = 0;
    while (fake_server_has[first] != 0x22) first++;
    write_all(50 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    CHECK(stats().position_octets >= before);
    CHECK_EQUAL(fake_server_has[first + 15 * OCTETS_A_MSEC - 1], 0);
    CHECK_EQUAL(fake_server_has[first + 15 * OCTETS_A_MSEC], 0x33);
    xn_backend_free(backend);
}

TEST(sound_that_begins_soon_after_another_is_whole_too) {
    play_silence();
    write_sound(35);
    fake_latency_usec = 25 * MSEC; /* all of it is heard */
    CHECK_EQUAL(fake_server_asks(0), 0);
    fake_pass_usec(5 * MSEC);
    uint64_t position = stats().position_octets;
    CHECK(position >= 50 * OCTETS_A_MSEC && position < 60 * OCTETS_A_MSEC);
    hear();
    uint64_t told = backend->pcm->reported;
    CHECK(told >= 45 * OCTETS_A_MSEC && told <= 58 * OCTETS_A_MSEC);
    uint32_t at = (uint32_t)(told / FRAME * FRAME) + FRAME;
    memset(buffer + at, 0x33, 10 * OCTETS_A_MSEC);
    fake_server_plays = 65 * OCTETS_A_MSEC;
    write_all(at, 10 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().late_octets, 0);
    unsigned whole = 0;
    for (uint32_t i = 0; i < FAKE_SERVER_HAS; i++) whole += fake_server_has[i] == 0x33;
    CHECK_EQUAL(whole, 10 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(silence_written_over_silence_waits_for_nothing) {
    play_silence();
    write_all(21 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().position_octets, 25 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().late_octets, 4 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(sound_written_over_silence_that_corked_the_server_is_whole) {
    start();
    play(0, 3000 * MSEC);
    CHECK(!fake_is_running());
    while (hear() == 0) fake_pass_usec(MSEC);
    fake_pass_usec(7 * MSEC); /* which the frontend has not been told */
    uint64_t told = backend->pcm->reported, given = stats().octets;
    CHECK(stats().position_octets >= told + 5 * OCTETS_A_MSEC);
    uint32_t at = (uint32_t)((told + OCTETS_A_MSEC) % BUFFER);
    CHECK(at + 10 * OCTETS_A_MSEC <= BUFFER);
    memset(buffer + at, 0x22, 10 * OCTETS_A_MSEC);
    write_all(at, 10 * OCTETS_A_MSEC);
    CHECK(fake_is_running());
    fake_server_asks(20 * OCTETS_A_MSEC);
    for (uint32_t i = 0; i < 10 * OCTETS_A_MSEC; i++)
        CHECK_EQUAL(fake_server_has[(given + i) % FAKE_SERVER_HAS], 0x22);
    xn_backend_free(backend);
}

TEST(sound_written_just_ahead_of_a_corked_position_that_has_passed_it_meanwhile_is_whole) {
    start();
    play(0, 3000 * MSEC);
    while (hear() == 0) fake_pass_usec(MSEC);
    uint64_t told = backend->pcm->reported, given = stats().octets;
    fake_now_usec += 7 * MSEC; /* without a pass */
    uint32_t at = (uint32_t)((told + OCTETS_A_MSEC) % BUFFER);
    CHECK(at + 10 * OCTETS_A_MSEC <= BUFFER);
    memset(buffer + at, 0x22, 10 * OCTETS_A_MSEC);
    write_all(at, 10 * OCTETS_A_MSEC);
    CHECK(fake_is_running());
    fake_server_asks(20 * OCTETS_A_MSEC);
    uint32_t heard_octets = 0;
    for (uint32_t i = 0; i < 20 * OCTETS_A_MSEC; i++)
        heard_octets += fake_server_has[(given + i) % FAKE_SERVER_HAS] == 0x22;
    CHECK_EQUAL(heard_octets, 10 * OCTETS_A_MSEC);
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
