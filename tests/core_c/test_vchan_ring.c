#include "vchan_fixture.h"

static uint32_t readable(void) {
    uint32_t octets;
    CHECK(xn_vchan_readable(&vchan, &octets));
    return octets;
}

static uint32_t unread(void) {
    uint32_t octets;
    CHECK(xn_vchan_unread(&vchan, &octets));
    return octets;
}

static void read_and_check(uint32_t octets) {
    uint8_t *copy = fenced_octets(octets);
    uint32_t first = vchan.from_guest.position;
    xn_vchan_peek(&vchan, copy, octets);
    for (uint32_t i = 0; i < octets; i++) CHECK_EQUAL(copy[i], counted(first + i));
    xn_vchan_consume(&vchan, octets);
}

TEST(connecting_says_that_the_client_has_come_and_wants_to_hear_of_writes) {
    offer_at(1024, 2048, 0);
    xn_vchan_connect(&vchan);
    CHECK_EQUAL(page->cli_live, 1);
    CHECK_EQUAL(page->srv_notify, XN_VCHAN_WRITTEN);
    CHECK(xn_vchan_is_open(&vchan));
    xn_vchan_disconnect(&vchan);
    CHECK_EQUAL(page->cli_live, 0);
    page->srv_live = 0;
    CHECK(!xn_vchan_is_open(&vchan));
}

TEST(what_the_server_writes_is_read_across_the_end_of_the_ring_and_of_its_index) {
    offer_at(1024, 2048, UINT32_MAX - 3000);
    for (int lap = 0; lap < 8; lap++) {
        server_writes(1500);
        CHECK_EQUAL(readable(), 1500);
        read_and_check(1500);
        CHECK_EQUAL(readable(), 0);
        CHECK_EQUAL(page->right.cons, page->right.prod);
    }
}

TEST(peeking_leaves_octets_where_they_are) {
    uint8_t octets[8];
    offer_at(1024, 2048, 0);
    server_writes(8);
    xn_vchan_peek(&vchan, octets, 8);
    CHECK_EQUAL(readable(), 8);
    CHECK_EQUAL(page->right.cons, 0);
}

TEST(what_is_put_arrives_across_the_end_of_the_ring_and_of_its_index) {
    uint8_t octets[700];
    offer_at(1024, 2048, UINT32_MAX - 1000);
    for (uint32_t lap = 0; lap < 8; lap++) {
        for (uint32_t i = 0; i < sizeof octets; i++) octets[i] = counted(lap * 1000 + i);
        xn_vchan_put(&vchan, octets, sizeof octets);
        CHECK_EQUAL(unread(), sizeof octets);
        CHECK_EQUAL(server_can_read(), sizeof octets);
        for (uint32_t i = 0; i < sizeof octets; i++) CHECK_EQUAL(server_reads(), octets[i]);
        CHECK_EQUAL(unread(), 0);
    }
}

TEST(nothing_to_put_is_zeros) {
    offer_at(1024, 2048, 900);
    memset(left, 0x55, 1024);
    xn_vchan_put(&vchan, NULL, 512);
    for (uint32_t i = 0; i < 512; i++) CHECK_EQUAL(server_reads(), 0);
    CHECK_EQUAL(left[(900 + 512) % 1024], 0x55);
}

TEST(whole_ring_can_be_read_and_one_octet_more_is_out_of_range) {
    uint32_t octets;
    offer_at(1024, 2048, 5);
    page->right.prod = 5 + 2048;
    CHECK(xn_vchan_readable(&vchan, &octets));
    CHECK_EQUAL(octets, 2048);
    page->right.prod = 5 + 2049;
    CHECK(!xn_vchan_readable(&vchan, &octets));
    page->right.prod = 4;
    CHECK(!xn_vchan_readable(&vchan, &octets));
}

TEST(server_that_has_read_more_than_was_put_is_out_of_range) {
    uint32_t octets;
    offer_at(1024, 2048, 5);
    page->left.cons = 6;
    CHECK(!xn_vchan_unread(&vchan, &octets));
    page->left.cons = 5 - 1025u;
    CHECK(!xn_vchan_unread(&vchan, &octets));
}

TEST(our_own_indices_are_not_read_back) {
    offer_at(1024, 2048, 0);
    server_writes(100);
    page->right.cons = 77;
    page->left.prod = 99;
    read_and_check(100);
    CHECK_EQUAL(page->right.cons, 100);
    xn_vchan_put(&vchan, NULL, 4);
    CHECK_EQUAL(page->left.prod, 4);
}

TEST(another_client_goes_on_where_the_last_one_was) {
    offer_at(1024, 2048, 0);
    server_writes(600);
    read_and_check(200);
    xn_vchan_put(&vchan, NULL, 24);
    xn_vchan_attach(&vchan, page, left, 1024, right, 2048);
    CHECK_EQUAL(readable(), 400);
    CHECK_EQUAL(unread(), 24);
    read_and_check(400);
}

TEST(server_is_notified_once_for_each_time_that_it_asks) {
    offer_at(1024, 2048, 0);
    CHECK(xn_vchan_owes(&vchan, XN_VCHAN_WRITTEN));
    CHECK(!xn_vchan_owes(&vchan, XN_VCHAN_WRITTEN));
    page->cli_notify = XN_VCHAN_READ;
    CHECK(!xn_vchan_owes(&vchan, XN_VCHAN_WRITTEN));
    CHECK(xn_vchan_owes(&vchan, XN_VCHAN_READ));
    CHECK_EQUAL(page->cli_notify, 0);
}

TEST(asking_adds_to_what_was_asked_before) {
    offer_at(1024, 2048, 0);
    xn_vchan_ask(&vchan, XN_VCHAN_WRITTEN);
    xn_vchan_ask(&vchan, XN_VCHAN_READ);
    CHECK_EQUAL(page->srv_notify, XN_VCHAN_WRITTEN | XN_VCHAN_READ);
    CHECK_EQUAL(page->cli_notify, XN_VCHAN_WRITTEN);
}
