/* What one guest may make the engine do. */
#include "greedy_frontend.h"

static struct xn_budget_stats spent(void) {
    struct xn_budget_stats now;
    xn_budget_stats(&backend->own_budget, &now);
    return now;
}

/* As many notifications as are looked at, up to 200 in each of so many milliseconds. */
static void storm(unsigned msec) {
    for (unsigned i = 0; i < msec; i++) {
        for (unsigned n = 0; n < 200 && fake_is_polled(); n++) fake_arrive();
        fake_pass_usec(MSEC);
    }
}

/* A frontend on a CPU of its own, whose ring is never empty, for so many milliseconds. */
static void keep_full_for(unsigned msec) {
    refills = UINT32_MAX;
    request(XN_OP_WRITE, 0, 4, true);
    fake_pass_usec(msec * MSEC);
    refills = 0;
}

TEST(guest_that_rings_without_end_takes_a_twentieth_of_the_engine_and_a_burst) {
    connect(true);
    storm(2000);
    CHECK(requests.cleared <= 2 * 10000 + 5000 + 10);
    CHECK(spent().engine_usec <= 2 * 50000 + 25000 + 100);
    CHECK_EQUAL(spent().notifications, requests.cleared);
    CHECK_EQUAL(xn_backend_violation(backend), XN_NO_VIOLATION);
    xn_backend_free(backend);
}

TEST(guest_may_be_given_more_or_less_than_the_usual) {
    unsigned percents[] = {10, 1000};
    for (unsigned i = 0; i < 2; i++) {
        connect(true);
        xn_budget_set_percent(&backend->own_budget, percents[i]);
        fake_pass_usec(1000 * MSEC); /* now it has what may be kept of it */
        uint64_t before_usec = spent().engine_usec;
        storm(2000);
        uint64_t usual_usec = (spent().engine_usec - before_usec) * 100 / percents[i];
        CHECK(usual_usec <= 2 * 50000 + 25000 + 1000);
        CHECK(usual_usec > 25000);
        xn_backend_free(backend);
    }
}

TEST(guest_that_rings_without_end_is_paused_within_a_second_and_python_told) {
    connect(true);
    storm(1000);
    CHECK(spent().pauses > 0);
    CHECK_EQUAL(fake_python_wakeups, spent().pauses);
    xn_backend_free(backend);
}

TEST(guest_that_keeps_its_ring_full_is_paused_within_a_second) {
    connect(true), open();
    keep_full_for(1000);
    CHECK(spent().pauses > 0);
    CHECK(spent().requests <= 100000 + 50000 + AT_ONCE);
    xn_backend_free(backend);
}

TEST(pauses_double_as_long_as_it_goes_on_and_then_it_is_a_violation) {
    connect(true);
    uint64_t expected_usec = 10 * MSEC, before_usec = 0;
    for (unsigned pauses = 1; pauses <= 9; pauses++) {
        while (spent().pauses < pauses) storm(1);
        CHECK_EQUAL(spent().paused_usec - before_usec, expected_usec);
        before_usec += expected_usec;
        expected_usec *= 2;
    }
    CHECK_EQUAL(xn_backend_violation(backend), XN_NO_VIOLATION);
    storm(4000);
    CHECK_EQUAL(xn_backend_violation(backend), XN_VIOLATION_STORM);
    CHECK_EQUAL(spent().pauses, 9);
    CHECK(!fake_is_polled());
    CHECK_EQUAL(fake_next_due_usec(), XN_NEVER);
    xn_backend_free(backend);
}

TEST(ring_kept_full_without_end_is_a_violation) {
    connect(true), open();
    keep_full_for(10000);
    CHECK_EQUAL(xn_backend_violation(backend), XN_VIOLATION_STORM);
    xn_backend_free(backend);
}

TEST(guest_that_was_quiet_for_a_second_begins_with_the_shortest_pause_again) {
    connect(true);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t before_usec = spent().paused_usec;
        storm(60);
        CHECK_EQUAL(spent().paused_usec - before_usec, (10 + 20 + 40) * MSEC);
        fake_pass_usec(1100 * MSEC);
        fake_arrive();
    }
    CHECK_EQUAL(xn_backend_violation(backend), XN_NO_VIOLATION);
    CHECK(fake_is_polled());
    xn_backend_free(backend);
}

TEST(requests_of_a_paused_guest_are_served_when_the_pause_ends) {
    connect(true), open();
    while (fake_is_polled()) fake_arrive();
    request(XN_OP_WRITE, 0, 4, true);
    CHECK_EQUAL(answer(), NO_ANSWER);
    fake_pass_usec(10 * MSEC);
    CHECK_EQUAL(answer(), 0);
    CHECK(fake_is_polled());
    xn_backend_free(backend);
}

TEST(streams_of_one_guest_are_paused_together) {
    connect(true);
    struct xn_backend *first = backend;
    while (fake_is_polled()) fake_arrive();
    ring_page = fenced_page();
    xn_frontend_ring_attach(&frontend, ring_page);
    struct xn_channel requests_end = fake_channel_end(&requests);
    struct xn_channel events_end = fake_channel_end(&events);
    backend = xn_backend_new(engine, true, ring_page, fenced_page(), &requests_end, &events_end,
                             NULL, &first->own_budget, &served_word, NULL);
    request(XN_OP_WRITE, 0, 4, false);
    xn_backend_begin(backend, false);
    CHECK_EQUAL(answer(), NO_ANSWER);
    fake_pass_usec(10 * MSEC);
    CHECK_EQUAL(answer(), -22); /* no PCM is open */
    xn_backend_free(backend);
    xn_backend_free(first);
}

TEST(what_a_paused_guest_has_written_plays_on) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    while (fake_is_polled()) fake_arrive();
    CHECK_EQUAL(fake_server_asks(BUFFER), BUFFER);
    xn_backend_free(backend);
}

TEST(violation_of_a_paused_guest_stays_unheard) {
    connect(true);
    xn_store_index(&ring_page->req_prod, 33);
    fake_arrive();
    CHECK_EQUAL(xn_backend_violation(backend), XN_VIOLATION_RING_INDEX);
    for (unsigned i = 0; i < 100; i++) fake_arrive();
    fake_pass_usec(100 * MSEC);
    CHECK(!fake_is_polled());
    CHECK_EQUAL(requests.cleared, 1);
    xn_backend_free(backend);
}

TEST(sixty_four_refused_transfers_are_a_violation) {
    connect(true), open();
    for (unsigned i = 1; i < 64; i++) CHECK_EQUAL(transfer(XN_OP_WRITE, BUFFER, 4), -22);
    CHECK_EQUAL(xn_backend_violation(backend), XN_NO_VIOLATION);
    open(); /* which is no new beginning */
    CHECK_EQUAL(transfer(XN_OP_WRITE, BUFFER, 4), -22);
    CHECK_EQUAL(xn_backend_violation(backend), XN_VIOLATION_REFUSED);
    request(XN_OP_WRITE, 0, 4, true);
    CHECK_EQUAL(answer(), NO_ANSWER);
    CHECK_EQUAL(spent().refused, 64);
    xn_backend_free(backend);
}

/* A guest that minds the rules, in pieces of so many frames, for ten seconds. */
static void play_in_pieces(uint32_t frames, bool each_notified) {
    connect(true), open_with(BUFFER, 64 * FRAME), attach();
    memset(buffer, 0x11, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 0;
    uint64_t written = 0;
    for (unsigned step = 1; step <= 10 * 750; step++) {
        while (written < (uint64_t)step * 64 * FRAME + BUFFER / 2) {
            request(XN_OP_WRITE, (uint32_t)(written % BUFFER), frames * FRAME, each_notified);
            written += frames * FRAME;
            if (each_notified) CHECK_EQUAL(answer(), 0);
            if (!each_notified && written % (16 * FRAME) == 0) {
                fake_arrive();
                while (answer() == 0) continue;
            }
        }
        fake_pass_usec(1333);
        fake_server_asks(64 * FRAME);
        hear();
    }
    CHECK_EQUAL(spent().pauses, 0);
    CHECK(stats().position_octets > 9 * 1000 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(stream_of_the_smallest_period_never_meets_its_budget_however_it_writes) {
    play_in_pieces(64, true);
    play_in_pieces(8, true);
    play_in_pieces(1, false);
}
