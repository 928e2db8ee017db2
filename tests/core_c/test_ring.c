#include "ring.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "wire.h"

static struct xn_ring_page *page;
static struct xn_backend_ring backend;
static struct xn_frontend_ring frontend;

static struct xn_packet numbered(unsigned number) {
    struct xn_packet packet;
    memset(&packet, 0, sizeof packet);
    memcpy(packet.octets + 8, &number, sizeof number);
    return packet;
}

static unsigned number_of(const struct xn_packet *packet) {
    unsigned number;
    memcpy(&number, packet->octets + 8, sizeof number);
    return number;
}

static void begin(void) {
    page = fenced_page();
    xn_frontend_ring_attach(&frontend, page);
    xn_backend_ring_attach(&backend, page);
}

/* Both ends, as if they had talked for so long. */
static void begin_at(uint32_t index) {
    begin();
    page->req_prod = page->rsp_prod = index;
    page->req_event = page->rsp_event = index + 1;
    frontend.req_prod = frontend.rsp_cons = index;
    xn_backend_ring_attach(&backend, page);
}

static int request(unsigned number) {
    struct xn_packet packet = numbered(number);
    return xn_frontend_ring_request(&frontend, &packet);
}

static void answer(unsigned number) {
    struct xn_packet packet = numbered(number);
    xn_backend_ring_answer(&backend, &packet);
}

/* The number of the request taken, or what xn_backend_ring_take() gave in place of one. */
static int take(void) {
    struct xn_packet packet;
    int taken = xn_backend_ring_take(&backend, &packet);
    return taken == 1 ? (int)number_of(&packet) : taken;
}

static int take_response(void) {
    struct xn_packet packet;
    int taken = xn_frontend_ring_take(&frontend, &packet, true);
    return taken == 1 ? (int)number_of(&packet) : taken;
}

TEST(backend_takes_requests_in_order_and_none_twice) {
    begin();
    request(101), request(102);
    CHECK_EQUAL(take(), 101);
    CHECK_EQUAL(take(), 102);
    CHECK_EQUAL(take(), 0);
}

TEST(frontend_takes_responses_in_order_and_none_twice) {
    begin();
    request(101), request(102);
    take(), take();
    answer(201), answer(202);
    CHECK_EQUAL(take_response(), 201);
    CHECK_EQUAL(take_response(), 202);
    CHECK_EQUAL(take_response(), 0);
}

TEST(taken_request_is_a_copy_that_the_frontend_cannot_change) {
    begin();
    struct xn_packet taken;
    request(101);
    CHECK_EQUAL(xn_backend_ring_take(&backend, &taken), 1);
    memset(page->slots, 0xff, sizeof page->slots);
    CHECK_EQUAL(number_of(&taken), 101);
}

TEST(all_32_slots_can_be_under_way) {
    begin();
    for (unsigned i = 1; i <= 32; i++) CHECK(request(i) >= 0);
    CHECK_EQUAL(xn_frontend_ring_free_slots(&frontend), 0);
    for (unsigned i = 1; i <= 32; i++) CHECK_EQUAL(take(), i);
    CHECK_EQUAL(take(), 0);
}

TEST(request_on_a_full_ring_is_refused_and_overwrites_nothing) {
    begin();
    for (unsigned i = 1; i <= 32; i++) request(i);
    CHECK_EQUAL(request(33), -EAGAIN);
    CHECK_EQUAL(page->req_prod, 32);
    CHECK_EQUAL(take(), 1);
}

TEST(slot_is_free_again_only_when_its_response_was_taken) {
    begin();
    for (unsigned i = 1; i <= 32; i++) request(i);
    take();
    CHECK_EQUAL(request(33), -EAGAIN);
    answer(201);
    CHECK_EQUAL(request(33), -EAGAIN);
    CHECK_EQUAL(take_response(), 201);
    CHECK(request(33) >= 0);
}

TEST(more_requests_than_slots_are_a_violation_and_none_is_taken) {
    begin();
    xn_store_index(&page->req_prod, 33);
    CHECK_EQUAL(take(), -EPROTO);
    CHECK_EQUAL(backend.req_cons, 0);
}

TEST(requests_not_answered_yet_count_against_the_slots) {
    begin();
    for (unsigned i = 1; i <= 32; i++) request(i), take();
    xn_store_index(&page->req_prod, 33);
    CHECK_EQUAL(take(), -EPROTO);
    answer(201);
    CHECK(take() >= 0);
}

TEST(request_index_that_goes_back_is_a_violation) {
    begin_at(1000);
    xn_store_index(&page->req_prod, 999);
    CHECK_EQUAL(take(), -EPROTO);
}

TEST(request_index_that_goes_back_behind_unanswered_requests_is_a_violation) {
    begin();
    for (unsigned i = 1; i <= 5; i++) request(i), take();
    xn_store_index(&page->req_prod, 3);
    CHECK_EQUAL(take(), -EPROTO);
}

TEST(response_never_asked_for_is_a_violation_and_is_not_taken) {
    begin();
    request(101);
    xn_store_index(&page->rsp_prod, 2);
    CHECK_EQUAL(take_response(), -EPROTO);
    CHECK_EQUAL(frontend.rsp_cons, 0);
}

TEST(response_index_that_goes_back_is_a_violation) {
    begin_at(1000);
    xn_store_index(&page->rsp_prod, 999);
    CHECK_EQUAL(take_response(), -EPROTO);
}

TEST(own_indices_are_kept_in_private_and_published_anew) {
    begin();
    request(101);
    page->rsp_prod = 77;
    CHECK_EQUAL(take(), 101);
    answer(201);
    CHECK_EQUAL(page->rsp_prod, 1);
    page->req_prod = 77;
    request(102);
    CHECK_EQUAL(page->req_prod, 2);
}

TEST(backend_that_asks_is_told_of_the_next_request) {
    begin_at(1000);
    page->req_event = 0;
    CHECK(!xn_backend_ring_ask(&backend));
    CHECK_EQUAL(page->req_event, 1001);
}

TEST(backend_that_asks_too_late_learns_that_a_request_is_there) {
    begin();
    CHECK_EQUAL(take(), 0);
    request(101);
    CHECK(xn_backend_ring_ask(&backend));
    CHECK_EQUAL(take(), 101);
    CHECK(!xn_backend_ring_ask(&backend));
}

TEST(backend_that_does_not_ask_is_not_told) {
    begin();
    CHECK_EQUAL(request(101), 1);
    CHECK_EQUAL(take(), 101);
    CHECK_EQUAL(take(), 0);
    CHECK_EQUAL(request(102), 0);
}

TEST(frontend_with_two_requests_under_way_is_pipelined) {
    begin();
    request(101), take(), answer(201);
    request(102), take();
    CHECK(!backend.pipelined);
    request(103), request(104), take();
    CHECK(backend.pipelined);
}

TEST(frontend_that_finds_nothing_asks_to_be_told_of_the_next_response) {
    begin_at(1000);
    page->rsp_event = 0;
    CHECK_EQUAL(take_response(), 0);
    CHECK_EQUAL(page->rsp_event, 1001);
}

TEST(frontend_that_awaits_no_response_is_notified_of_none_until_the_ring_was_full) {
    begin_at(0u - 10);
    struct xn_packet packet;
    CHECK_EQUAL(xn_frontend_ring_take(&frontend, &packet, false), 0);
    for (unsigned i = 0; i < XN_RING_SLOTS; i++) {
        request(i), take(), answer(i);
        CHECK_EQUAL(xn_backend_ring_must_notify(&backend), i == XN_RING_SLOTS - 1);
    }
}

TEST(frontend_that_awaits_a_response_is_notified_of_it) {
    begin_at(1000);
    request(101), take();
    CHECK_EQUAL(take_response(), 0);
    answer(201);
    CHECK(xn_backend_ring_must_notify(&backend));
}

TEST(frontend_that_has_missed_a_response_is_notified_of_all_that_follow) {
    begin_at(0u - 3);
    page->rsp_event = 0u - 3; /* as Linux may leave it */
    for (unsigned i = 0; i < 10; i++) {
        request(i), take(), answer(i);
        CHECK(xn_backend_ring_must_notify(&backend));
    }
}

TEST(frontend_notifies_a_backend_that_asked_and_once) {
    begin();
    CHECK(!xn_backend_ring_ask(&backend));
    CHECK_EQUAL(request(101), 1);
    CHECK_EQUAL(request(102), 0);
    take(), take();
    CHECK(!xn_backend_ring_ask(&backend));
    CHECK_EQUAL(request(103), 1);
    CHECK_EQUAL(request(104), 0);
}

TEST(new_ring_asks_to_be_told_of_the_first_of_each) {
    page = fenced_page();
    memset(page, 0xff, sizeof *page);
    xn_frontend_ring_attach(&frontend, page);
    CHECK_EQUAL(page->req_prod, 0);
    CHECK_EQUAL(page->rsp_prod, 0);
    CHECK_EQUAL(page->req_event, 1);
    CHECK_EQUAL(page->rsp_event, 1);
}

TEST(backend_that_takes_over_finds_what_was_not_answered) {
    begin();
    request(101), request(102);
    take(), answer(201);
    take();
    struct xn_backend_ring successor;
    struct xn_packet packet;
    xn_backend_ring_attach(&successor, page);
    CHECK_EQUAL(xn_backend_ring_take(&successor, &packet), 1);
    CHECK_EQUAL(number_of(&packet), 102);
}

TEST(conversation_goes_on_over_the_wrap_of_the_indices) {
    begin_at(0u - 40);
    unsigned asked = 1, served = 1, heard = 1;
    while (heard <= 100) {
        while (asked - heard < 1 + heard % 32) CHECK(request(asked++) >= 0);
        while (served < asked) {
            CHECK_EQUAL(take(), served);
            answer(served++);
        }
        CHECK_EQUAL(take(), 0);
        while (heard < served) CHECK_EQUAL(take_response(), heard++);
        CHECK_EQUAL(take_response(), 0);
    }
    CHECK(page->req_prod < 1000); /* it was over the wrap */
}

TEST(notification_is_asked_for_over_the_wrap) {
    begin_at(UINT32_MAX);
    CHECK(!xn_backend_ring_ask(&backend));
    CHECK_EQUAL(page->req_event, 0);
    CHECK_EQUAL(request(101), 1);
    CHECK_EQUAL(request(102), 0);
}

TEST(violation_is_seen_over_the_wrap) {
    begin_at(UINT32_MAX - 3);
    xn_store_index(&page->req_prod, 28);
    CHECK(take() >= 0);
    xn_store_index(&page->req_prod, 29);
    CHECK_EQUAL(take(), -EPROTO);
}
