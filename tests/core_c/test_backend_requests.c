/* Requests: in what order and how many at a time they are served. */
#include <pthread.h>
#include <sched.h>

#include "greedy_frontend.h"

TEST(write_is_answered_at_once_and_the_answer_notified) {
    connect(true), open();
    write_all(0, 400);
    CHECK_EQUAL(requests.notified, 1);
    CHECK_EQUAL(stats().buffered_octets, 400);
    CHECK_EQUAL(fake_python_wakeups, 0);
    xn_backend_free(backend);
}

TEST(answer_that_the_frontend_does_not_wait_for_wakes_nobody_unless_it_refuses) {
    connect(true), open();
    struct xn_packet packet;
    CHECK_EQUAL(xn_frontend_ring_take(&frontend, &packet, false), 0);
    request(XN_OP_WRITE, 0, 400, true);
    CHECK_EQUAL(requests.notified, 0);
    CHECK_EQUAL(stats().buffered_octets, 400);
    CHECK_EQUAL(answer(), 0);
    request(XN_OP_WRITE, BUFFER, 400, true);
    CHECK_EQUAL(requests.notified, 1);
    CHECK_EQUAL(answer(), -22);
    xn_backend_free(backend);
}

TEST(transfer_that_cannot_be_is_refused_and_harmless) {
    connect(true);
    CHECK_EQUAL(transfer(XN_OP_WRITE, 0, 4), -22);
    open();
    CHECK_EQUAL(transfer(XN_OP_WRITE, BUFFER, 4), -22);
    CHECK_EQUAL(transfer(XN_OP_WRITE, 4, BUFFER), -22);
    CHECK_EQUAL(transfer(XN_OP_WRITE, UINT32_MAX - 3, 4), -22);
    CHECK_EQUAL(transfer(XN_OP_WRITE, 0, 3), -22);
    CHECK_EQUAL(transfer(XN_OP_WRITE, 2, 4), -22);
    CHECK_EQUAL(transfer(XN_OP_READ, 0, 4), -22);
    xn_backend_close_pcm(backend);
    CHECK_EQUAL(transfer(XN_OP_WRITE, 0, 4), -22);
    CHECK_EQUAL(stats().refused, 7);
    CHECK_EQUAL(stats().buffered_octets, 0);
    xn_backend_free(backend);
}

TEST(control_request_waits_for_python_and_all_behind_it) {
    connect(true), open();
    request(OP_TRIGGER, 0, 0, false);
    request(XN_OP_WRITE, 0, 400, true);
    uint8_t packet[64];
    CHECK(xn_backend_next_request(backend, packet));
    CHECK_EQUAL(packet[2], OP_TRIGGER);
    CHECK_EQUAL(fake_python_wakeups, 1);
    fake_arrive(), fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(answer(), NO_ANSWER);
    CHECK_EQUAL(stats().buffered_octets, 0);
    memset(packet + 3, 0, sizeof packet - 3);
    xn_backend_answer(backend, packet);
    CHECK(!xn_backend_next_request(backend, packet));
    CHECK_EQUAL(answer(), 0);
    CHECK_EQUAL(answer(), 0);
    CHECK_EQUAL(stats().buffered_octets, 400);
    xn_backend_free(backend);
}

TEST(guest_is_said_to_be_served_while_it_is_and_no_longer) {
    connect(true), open();
    CHECK_EQUAL(served_word, 0);
    write_all(0, 400);
    CHECK_EQUAL(served_at_answer, 1);
    CHECK_EQUAL(served_word, 0);
    xn_backend_free(backend);
}

TEST(frontend_faster_than_the_backend_is_served_256_requests_a_millisecond_to_its_end) {
    connect(true), open();
    refills = 2000;
    request(XN_OP_WRITE, 0, 4, true);
    CHECK_EQUAL(stats().requests, AT_ONCE);
    for (unsigned msec = 1; msec <= 7; msec++) {
        CHECK(stats().requests <= AT_ONCE * msec);
        fake_pass_usec(MSEC);
    }
    CHECK_EQUAL(stats().requests, 2001);
    CHECK_EQUAL(answer(), 0);
    xn_backend_free(backend);
}

/* ---- a ring that never empties, and a server that never has enough -------------------------- */

TEST(pass_ends_after_256_requests_though_the_ring_never_empties_and_the_server_wants_more) {
    connect(true), open();
    fake_server_wants_again = 4096;
    attach();
    xn_backend_start(backend);
    refills = 100000;
    request(XN_OP_WRITE, 0, 4, true);
    CHECK_EQUAL(stats().requests, AT_ONCE);
    CHECK(fake_deepest_stack() < 4096);
    refills = 0;
    xn_backend_free(backend);
}

TEST(server_that_asks_makes_one_pass_of_256_requests_though_the_ring_never_empties) {
    connect(true), open();
    attach();
    xn_backend_start(backend);
    refills = 100000;
    request(XN_OP_WRITE, 0, 4, false);
    CHECK(fake_server_asks(4096) > 0);
    CHECK_EQUAL(stats().requests, AT_ONCE);
    CHECK(fake_deepest_stack() < 4096);
    refills = 0;
    xn_backend_free(backend);
}

static bool filler_ends;

/* A vCPU that does nothing but write one frame after another, and keeps the ring full. */
static void *fill_ring(void *unused) {
    (void)unused;
    struct xn_packet packet;
    for (uint32_t offset = 0; !__atomic_load_n(&filler_ends, __ATOMIC_RELAXED);) {
        while (xn_frontend_ring_take(&frontend, &packet, true) == 1) continue;
        xn_wire_transfer_request(&packet, (struct xn_transfer){1, XN_OP_WRITE, offset, FRAME});
        if (xn_frontend_ring_request(&frontend, &packet) >= 0) offset = (offset + FRAME) % BUFFER;
    }
    return NULL;
}

TEST(ring_kept_full_by_another_cpu_gets_256_requests_a_pass_and_no_more_stack) {
    pthread_t filler;
    connect(true), open();
    fake_server_wants_again = 4096;
    attach();
    xn_backend_start(backend);
    uint64_t before = stats().requests;
    CHECK_EQUAL(pthread_create(&filler, NULL, fill_ring, NULL), 0);
    for (unsigned msec = 0; msec < 500; msec++) {
        while (xn_load_index(&ring_page->req_prod) - xn_load_index(&ring_page->rsp_prod) <
               XN_RING_SLOTS - 1)
            sched_yield();
        unsigned passes = fake_pass_usec(MSEC); /* for the clock, perhaps */
        if (fake_arrive()) passes += 2;         /* for the requests, and the clock, perhaps */
        uint64_t served = stats().requests - before;
        CHECK(served <= AT_ONCE * passes);
        before += served;
    }
    CHECK(before > AT_ONCE);
    CHECK(fake_deepest_stack() < 4096);
    __atomic_store_n(&filler_ends, true, __ATOMIC_RELAXED);
    CHECK_EQUAL(pthread_join(filler, NULL), 0);
    xn_backend_free(backend);
}

TEST(ring_index_violation_is_reported_and_the_channel_left_alone) {
    connect(true), open();
    xn_store_index(&ring_page->req_prod, 33);
    fake_arrive();
    CHECK_EQUAL(xn_backend_violation(backend), XN_VIOLATION_RING_INDEX);
    CHECK_EQUAL(fake_python_wakeups, 1);
    CHECK(!fake_is_polled());
    fake_pass_usec(1000 * MSEC);
    CHECK(!fake_is_polled());
    CHECK_EQUAL(requests.notified, 0);
    xn_backend_free(backend);
}
