/* One process continues the stream of another. */
#include "backend_fixture.h"

/* What the first process leaves when it dies: this, and the pages. */
static struct xn_pcm kept;

static bool adopt(void) {
    struct xn_pcm_config config = config_of(BUFFER, PERIOD);
    return xn_backend_adopt_pcm(backend, &config, buffer);
}

TEST(successor_goes_on_where_the_process_before_stood) {
    connect_and_keep(true, &kept), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 0;
    CHECK_EQUAL(fake_server_asks(BUFFER / 2), BUFFER / 2);
    fake_pass_usec(10 * MSEC);
    uint64_t position = stats().position_octets;
    xn_backend_free(backend);
    attend(true, &kept);
    CHECK(adopt());
    CHECK_EQUAL(stats().position_octets, position);
    CHECK_EQUAL(stats().buffered_octets, BUFFER - position);
    xn_backend_start(backend);
    xn_backend_begin(backend, true);
    CHECK_EQUAL(requests.notified, 1);
    CHECK_EQUAL(events.notified, 1);
    fake_pass_usec(10 * MSEC);
    CHECK(stats().position_octets > position);
    xn_backend_free(backend);
}

TEST(successor_adopts_no_pcm_of_another_shape) {
    connect_and_keep(true, &kept), open_with(BUFFER / 2, PERIOD);
    xn_backend_free(backend);
    attend(true, &kept);
    CHECK(!adopt());
    xn_backend_free(backend);
}

TEST(clock_of_a_pcm_that_was_not_adopted_stands_still) {
    connect_and_keep(false, &kept), open();
    xn_backend_start(backend);
    fake_pass_usec(10 * MSEC);
    uint64_t position = kept.position;
    xn_backend_free(backend);
    attend(false, &kept);
    xn_backend_begin(backend, true);
    while (fake_is_polled()) fake_arrive(); /* a pause, whose end is a tick */
    fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(kept.position, position);
    xn_backend_free(backend);
}

TEST(write_sent_between_two_processes_is_answered_once_the_second_begins) {
    connect_and_keep(true, &kept), open();
    write_all(0, 400);
    xn_backend_free(backend);
    request(XN_OP_WRITE, 400, 400, false);
    attend(true, &kept);
    fake_arrive(), fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(answer(), NO_ANSWER);
    CHECK(adopt());
    xn_backend_begin(backend, true);
    CHECK_EQUAL(answer(), 0);
    CHECK_EQUAL(stats().buffered_octets, 800);
    xn_backend_free(backend);
}
