#include "event_page.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "wire.h"

static struct xn_event_page *page;
static struct xn_event_writer writer;
static struct xn_event_reader reader;

static void begin_at(uint32_t index) {
    page = fenced_page();
    page->in_prod = page->in_cons = index;
    xn_event_writer_attach(&writer, page);
    xn_event_reader_attach(&reader, page);
}

static int take(uint64_t *position) {
    struct xn_packet event;
    int taken = xn_event_reader_take(&reader, &event);
    if (taken == 1) *position = xn_wire_event_position(&event);
    return taken;
}

TEST(position_event_is_these_octets) {
    begin_at(0);
    memset(page->slots, 0xee, sizeof page->slots);
    CHECK_EQUAL(xn_event_writer_position(&writer, 0x123456789abcdef0u), 0);
    const uint8_t expected[XN_PACKET_OCTETS] = {0,    0,    0,    0,    0,    0,    0,    0,
                                                0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12};
    CHECK(memcmp(page->slots[0].octets, expected, sizeof expected) == 0);
    CHECK_EQUAL(page->slots[1].octets[0], 0xee);
    CHECK_EQUAL(page->in_prod, 1);
}

TEST(id_of_an_event_is_its_index_cut_to_16_bits) {
    begin_at(0x1fffe);
    const uint16_t ids[] = {0xfffe, 0xffff, 0, 1};
    for (unsigned i = 0; i < 4; i++) {
        uint32_t at = (0x1fffeu + i) % XN_EVENT_SLOTS;
        CHECK_EQUAL(xn_event_writer_position(&writer, 1), 0);
        CHECK_EQUAL(xn_wire_id(&page->slots[at]), ids[i]);
    }
}

TEST(page_takes_63_events_and_no_more) {
    begin_at(0);
    for (unsigned i = 0; i < 63; i++) CHECK_EQUAL(xn_event_writer_position(&writer, i), 0);
    CHECK_EQUAL(xn_event_writer_position(&writer, 63), -EAGAIN);
    CHECK_EQUAL(page->in_prod, 63);
}

TEST(event_without_room_uses_up_no_id) {
    begin_at(0);
    uint64_t position = 0;
    for (unsigned i = 0; i < 63; i++) xn_event_writer_position(&writer, i);
    CHECK_EQUAL(xn_event_writer_position(&writer, 99), -EAGAIN);
    CHECK_EQUAL(take(&position), 1);
    CHECK_EQUAL(xn_event_writer_position(&writer, 100), 0);
    CHECK_EQUAL(xn_wire_id(&page->slots[0]), 63);
    CHECK_EQUAL(xn_wire_event_position(&page->slots[0]), 100);
}

TEST(nonsense_in_cons_is_a_full_page) {
    const uint32_t nonsense[] = {1001, 1000 - 63, 1000 - 64, 1000 + 0x80000000u};
    begin_at(1000);
    memset(page->slots, 0xee, sizeof page->slots);
    for (unsigned i = 0; i < 4; i++) {
        xn_store_index(&page->in_cons, nonsense[i]);
        CHECK_EQUAL(xn_event_writer_position(&writer, 1), -EAGAIN);
    }
    CHECK_EQUAL(page->in_prod, 1000);
    for (unsigned i = 0; i < sizeof page->slots; i++)
        CHECK_EQUAL(((const uint8_t *)page->slots)[i], 0xee);
}

TEST(frontend_that_comes_to_its_senses_is_told_again) {
    begin_at(1000);
    xn_store_index(&page->in_cons, 5);
    CHECK_EQUAL(xn_event_writer_position(&writer, 1), -EAGAIN);
    xn_store_index(&page->in_cons, 1000);
    CHECK_EQUAL(xn_event_writer_position(&writer, 1), 0);
}

TEST(in_prod_that_the_frontend_changed_is_published_anew) {
    begin_at(0);
    xn_store_index(&page->in_prod, 77);
    CHECK_EQUAL(xn_event_writer_position(&writer, 1), 0);
    CHECK_EQUAL(page->in_prod, 1);
}

TEST(backend_that_takes_over_goes_on_counting) {
    begin_at(1000);
    CHECK_EQUAL(xn_event_writer_position(&writer, 1), 0);
    struct xn_event_writer successor;
    xn_event_writer_attach(&successor, page);
    CHECK_EQUAL(xn_event_writer_position(&successor, 2), 0);
    CHECK_EQUAL(xn_wire_id(&page->slots[1001 % 63]), 1001);
}

TEST(reader_takes_events_in_order_and_gives_their_slots_back) {
    begin_at(0);
    uint64_t position = 0;
    for (uint64_t i = 1; i <= 200; i++) {
        CHECK_EQUAL(xn_event_writer_position(&writer, i), 0);
        CHECK_EQUAL(take(&position), 1);
        CHECK_EQUAL(position, i);
        CHECK_EQUAL(page->in_cons, i);
    }
    CHECK_EQUAL(take(&position), 0);
}

TEST(more_events_than_slots_are_a_violation_and_none_is_taken) {
    begin_at(0);
    uint64_t position = 0;
    xn_store_index(&page->in_prod, 64);
    CHECK_EQUAL(take(&position), -EPROTO);
    CHECK_EQUAL(page->in_cons, 0);
}

TEST(event_index_that_goes_back_is_a_violation) {
    begin_at(1000);
    uint64_t position = 0;
    xn_store_index(&page->in_prod, 999);
    CHECK_EQUAL(take(&position), -EPROTO);
}

TEST(both_ends_agree_on_the_slots_over_the_wrap_of_the_index) {
    begin_at(0u - 10);
    uint64_t position = 0;
    for (uint64_t i = 1; i <= 20; i++) {
        CHECK_EQUAL(xn_event_writer_position(&writer, i), 0);
        CHECK_EQUAL(take(&position), 1);
        CHECK_EQUAL(position, i);
    }
    CHECK_EQUAL(page->in_prod, 10);
}
