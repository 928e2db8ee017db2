/* START, STOP and PAUSE that are served before Python has seen them. */
#include "backend_fixture.h"

/* What the first process leaves when it dies: this, and the pages. */
static struct xn_pcm kept;

static void open_allowed(bool playback) {
    connect_and_keep(playback, &kept), open(), attach();
    fake_latency_usec = 0;
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
}

static void send(enum xn_trigger trigger, bool notified) {
    struct xn_packet packet;
    xn_wire_trigger_request(&packet, trigger);
    CHECK(xn_frontend_ring_request(&frontend, &packet) >= 0);
    if (notified) fake_arrive();
}

/* The status of the answer, if it came before Python has done anything. */
static int32_t pull(enum xn_trigger trigger) {
    send(trigger, true);
    return answer();
}

/* What Python does: it gets the request, and responds with a status. Returns the trigger. */
static uint8_t follow(int32_t status) {
    struct xn_packet packet, response;
    CHECK(xn_backend_next_request(backend, packet.octets));
    CHECK_EQUAL(xn_wire_operation(&packet), XN_OP_TRIGGER);
    xn_wire_response(&response, &packet, status);
    xn_backend_answer(backend, response.octets);
    return xn_wire_trigger(&packet);
}

static bool python_is_awaited(void) {
    uint8_t packet[64];
    return xn_backend_next_request(backend, packet);
}

static void succeed(void) {
    struct xn_pcm_config config = config_of(BUFFER, PERIOD);
    xn_backend_free(backend);
    attend(true, &kept);
    CHECK(xn_backend_adopt_pcm(backend, &config, buffer));
}

TEST(allowed_stream_starts_at_once_with_what_was_written) {
    open_allowed(true);
    memset(buffer, 0x11, BUFFER);
    write_all(0, BUFFER);
    CHECK_EQUAL(pull(XN_TRIGGER_START), 0);
    CHECK(fake_is_running());
    CHECK_EQUAL(fake_server_asks(PERIOD), PERIOD);
    fake_pass_usec(5 * MSEC);
    CHECK(stats().position_octets > 0);
    xn_backend_free(backend);
}

TEST(server_has_data_before_it_is_to_play) {
    open_allowed(true);
    fake_server_wants_again = PERIOD;
    attach();
    write_all(0, BUFFER);
    CHECK(!fake_is_running());
    CHECK_EQUAL(pull(XN_TRIGGER_START), 0);
    CHECK_EQUAL(fake_had_when_started, PERIOD);
    xn_backend_free(backend);
}

TEST(python_follows_what_was_answered_and_nothing_is_answered_twice) {
    open_allowed(true);
    unsigned before = fake_python_wakeups;
    CHECK_EQUAL(pull(XN_TRIGGER_START), 0);
    CHECK_EQUAL(fake_python_wakeups, before + 1);
    CHECK_EQUAL(follow(0), XN_TRIGGER_START);
    CHECK_EQUAL(answer(), NO_ANSWER);
    CHECK(!python_is_awaited());
    CHECK_EQUAL(pull(XN_TRIGGER_STOP), 0);
    CHECK_EQUAL(follow(0), XN_TRIGGER_STOP);
    xn_backend_free(backend);
}

TEST(writes_behind_a_start_do_not_wait_for_python) {
    open_allowed(true);
    send(XN_TRIGGER_START, false);
    request(XN_OP_WRITE, 0, 400, true);
    CHECK_EQUAL(answer(), 0);
    fake_arrive();
    CHECK_EQUAL(answer(), 0);
    CHECK_EQUAL(transfer(XN_OP_WRITE, 400, 400), 0);
    CHECK_EQUAL(stats().buffered_octets, 800);
    CHECK_EQUAL(follow(0), XN_TRIGGER_START);
    CHECK_EQUAL(transfer(XN_OP_WRITE, 800, 400), 0);
    xn_backend_free(backend);
}

TEST(request_behind_one_that_python_follows_costs_no_wakeups) {
    open_allowed(true);
    write_all(0, BUFFER);
    pull(XN_TRIGGER_START);
    send(XN_TRIGGER_STOP, true);
    unsigned quiet = fake_pass_usec(4 * MSEC);
    CHECK(quiet <= 1);
    follow(0);
    CHECK_EQUAL(answer(), 0);
    CHECK(!backend->pcm->running);
    xn_backend_free(backend);
}

TEST(next_trigger_waits_until_python_has_followed) {
    open_allowed(true);
    send(XN_TRIGGER_START, false), send(XN_TRIGGER_STOP, false);
    request(XN_OP_WRITE, 0, 400, true);
    CHECK_EQUAL(answer(), 0);
    CHECK_EQUAL(answer(), NO_ANSWER);
    fake_arrive(), fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(answer(), NO_ANSWER);
    CHECK(backend->pcm->running);
    follow(0);
    CHECK_EQUAL(answer(), 0); /* STOP */
    CHECK_EQUAL(answer(), NO_ANSWER);
    CHECK(!backend->pcm->running);
    follow(0);
    CHECK_EQUAL(answer(), 0); /* WRITE */
    xn_backend_free(backend);
}

static void starts_only_after_python(void) {
    CHECK_EQUAL(pull(XN_TRIGGER_START), NO_ANSWER);
    CHECK(!backend->pcm->running);
    CHECK_EQUAL(follow(0), XN_TRIGGER_START);
    CHECK_EQUAL(answer(), 0);
    xn_backend_free(backend);
}

TEST(stream_that_is_not_allowed_starts_only_after_python) {
    open_allowed(true);
    xn_sound_close_gate(xn_backend_sound(backend));
    starts_only_after_python();
}

TEST(stream_whose_rule_has_ended_starts_only_after_python) {
    open_allowed(false);
    xn_sound_open_gate(xn_backend_sound(backend), fake_now_usec + 50 * MSEC);
    fake_pass_usec(50 * MSEC);
    starts_only_after_python();
}

TEST(stream_that_was_not_decided_starts_only_after_python) {
    connect(true), open(), attach();
    starts_only_after_python();
}

TEST(stream_that_is_not_open_starts_only_after_python) {
    connect(true);
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    starts_only_after_python();
}

TEST(stop_is_answered_at_once_and_after_the_next_lap_was_told) {
    open_allowed(true);
    write_all(0, BUFFER);
    pull(XN_TRIGGER_START), follow(0);
    fake_server_asks(BUFFER / 2);
    CHECK_EQUAL(pull(XN_TRIGGER_STOP), 0);
    CHECK_EQUAL(hear(), BUFFER);
    CHECK(events.last < requests.last);
    CHECK(!fake_is_running());
    CHECK(!backend->pcm->running);
    xn_backend_free(backend);
}

TEST(paused_stream_starts_again_at_once) {
    open_allowed(true);
    pull(XN_TRIGGER_START), follow(0);
    CHECK_EQUAL(pull(XN_TRIGGER_PAUSE), 0);
    CHECK(!fake_is_running());
    CHECK_EQUAL(follow(0), XN_TRIGGER_PAUSE);
    CHECK_EQUAL(pull(XN_TRIGGER_START), 0);
    CHECK(fake_is_running());
    xn_backend_free(backend);
}

TEST(what_changes_nothing_or_cannot_be_is_for_python) {
    open_allowed(true);
    static const enum xn_trigger stopped[] = {XN_TRIGGER_STOP, XN_TRIGGER_PAUSE, XN_TRIGGER_RESUME};
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQUAL(pull(stopped[i]), NO_ANSWER);
        follow(-22);
        CHECK_EQUAL(answer(), -22);
    }
    pull(XN_TRIGGER_START), follow(0);
    CHECK_EQUAL(pull(XN_TRIGGER_START), NO_ANSWER);
    follow(0);
    CHECK_EQUAL(answer(), 0);
    CHECK_EQUAL(pull((enum xn_trigger)77), NO_ANSWER);
    follow(-22);
    CHECK_EQUAL(answer(), -22);
    CHECK(backend->pcm->running);
    xn_backend_free(backend);
}

TEST(start_that_python_refuses_after_all_is_undone) {
    open_allowed(true);
    CHECK_EQUAL(pull(XN_TRIGGER_START), 0);
    follow(-5);
    CHECK(!backend->pcm->running);
    CHECK(!fake_is_running());
    CHECK_EQUAL(answer(), NO_ANSWER);
    xn_backend_free(backend);
}

TEST(recording_that_starts_at_once_gets_nothing_through_a_gate_that_closes) {
    static uint8_t sound[PERIOD];
    memset(sound, 0x55, sizeof sound);
    open_allowed(false);
    CHECK_EQUAL(pull(XN_TRIGGER_START), 0);
    xn_sound_close_gate(xn_backend_sound(backend));
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(stats().octets, 0);
    CHECK_EQUAL(stats().discarded_octets, PERIOD);
    xn_backend_free(backend);
}

/* Returns how many of so many triggers were answered before Python saw them. */
static unsigned answered_at_once(unsigned count) {
    unsigned at_once = 0;
    for (unsigned i = 0; i < count; i++) {
        if (pull(i % 2 ? XN_TRIGGER_STOP : XN_TRIGGER_START) == 0) {
            at_once++;
            follow(0);
            continue;
        }
        i % 2 ? xn_backend_stop(backend) : xn_backend_start(backend);
        follow(0);
        CHECK_EQUAL(answer(), 0);
    }
    return at_once;
}

TEST(guest_that_toggles_without_end_waits_for_python_until_it_has_rested) {
    open_allowed(true);
    fake_pass_usec(1000 * MSEC);
    unsigned at_once = answered_at_once(2 * XN_CONTROL_REQUESTS_A_SECOND);
    CHECK(at_once > XN_CONTROL_REQUESTS_A_SECOND / 2);
    CHECK(at_once < XN_CONTROL_REQUESTS_A_SECOND);
    CHECK_EQUAL(answered_at_once(10), 0);
    fake_pass_usec(3000 * MSEC);
    CHECK_EQUAL(answered_at_once(10), 10);
    xn_backend_free(backend);
}

TEST(opens_count_for_more_than_other_requests) {
    connect(true);
    fake_pass_usec(1000 * MSEC);
    for (unsigned i = 0; i < XN_CONTROL_REQUESTS_A_SECOND / XN_OPEN_COUNTS_AS; i++) {
        struct xn_packet response = {0};
        request(XN_OP_OPEN, 0, 0, true);
        open();
        xn_backend_answer(backend, response.octets);
        CHECK_EQUAL(answer(), 0);
    }
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    starts_only_after_python();
}

TEST(start_that_nobody_has_followed_is_followed_by_the_next_process) {
    open_allowed(true);
    write_all(0, BUFFER);
    CHECK_EQUAL(pull(XN_TRIGGER_START), 0);
    succeed();
    CHECK(!backend->pcm->running);
    xn_backend_begin(backend, true);
    attach();
    CHECK_EQUAL(fake_python_wakeups, 1);
    CHECK(python_is_awaited());
    xn_backend_start(backend);
    CHECK_EQUAL(follow(0), XN_TRIGGER_START);
    CHECK(fake_is_running());
    CHECK_EQUAL(answer(), NO_ANSWER);
    xn_backend_free(backend);
}

TEST(stop_that_nobody_has_followed_is_followed_by_the_next_process) {
    open_allowed(true);
    pull(XN_TRIGGER_START), follow(0);
    fake_pass_usec(5 * MSEC);
    CHECK_EQUAL(pull(XN_TRIGGER_STOP), 0);
    uint64_t position = stats().position_octets;
    succeed();
    xn_backend_start(backend); /* as its agent, which knows only that it ran */
    xn_backend_begin(backend, true);
    fake_pass_usec(20 * MSEC);
    CHECK_EQUAL(follow(0), XN_TRIGGER_STOP);
    CHECK_EQUAL(stats().position_octets, position);
    CHECK_EQUAL(pull(XN_TRIGGER_START), NO_ANSWER); /* it is not decided yet */
    xn_backend_free(backend);
}

TEST(what_was_followed_is_not_followed_by_the_next_process) {
    open_allowed(true);
    pull(XN_TRIGGER_START), follow(0);
    succeed();
    xn_backend_begin(backend, true);
    CHECK(!python_is_awaited());
    xn_backend_free(backend);
}

/* It died after it had started the stream, and before it answered. */
TEST(start_whose_answer_was_not_published_is_answered_once_by_the_next_process) {
    open_allowed(true);
    send(XN_TRIGGER_START, false);
    kept.ahead = XN_STARTED_AHEAD;
    succeed();
    xn_backend_begin(backend, true);
    xn_backend_start(backend);
    CHECK_EQUAL(follow(0), XN_TRIGGER_START);
    CHECK_EQUAL(answer(), NO_ANSWER);
    CHECK_EQUAL(follow(0), XN_TRIGGER_START);
    CHECK_EQUAL(answer(), 0);
    CHECK_EQUAL(answer(), NO_ANSWER);
    xn_backend_free(backend);
}
