#include "sample_queue.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "check.h"

#define FRAME_OCTETS 6 /* not a power of two, as 24 bit samples or three channels have it */

static struct xn_queue queue;

static void begin(uint32_t frames) { CHECK(xn_queue_init(&queue, frames, FRAME_OCTETS)); }

static void end(void) { xn_queue_free(&queue); }

static void write_octets(uint8_t first, uint32_t octets) {
    for (uint32_t i = 0; i < octets; i++) {
        uint8_t octet = (uint8_t)(first + i);
        CHECK_EQUAL(xn_queue_write(&queue, &octet, 1), 1);
    }
}

static void check_read(uint8_t first, uint32_t octets) {
    for (uint32_t i = 0; i < octets; i++) {
        uint8_t octet;
        CHECK_EQUAL(xn_queue_read(&queue, &octet, 1), 1);
        CHECK_EQUAL(octet, (uint8_t)(first + i));
    }
}

TEST(what_is_written_is_read_in_order_over_the_end_of_the_ring) {
    begin(4);
    for (uint8_t lap = 0; lap < 10; lap++) {
        uint8_t from[18], to[18];
        memset(from, lap, sizeof from);
        CHECK_EQUAL(xn_queue_write(&queue, from, sizeof from), sizeof from);
        CHECK_EQUAL(xn_queue_read(&queue, to, sizeof to), sizeof to);
        CHECK(memcmp(from, to, sizeof to) == 0);
    }
    end();
}

TEST(full_queue_takes_no_more_and_empty_one_gives_nothing) {
    begin(2);
    uint8_t octets[20] = {0};
    CHECK_EQUAL(xn_queue_read(&queue, octets, sizeof octets), 0);
    CHECK_EQUAL(xn_queue_write(&queue, octets, sizeof octets), 2 * FRAME_OCTETS);
    CHECK_EQUAL(xn_queue_fill(&queue), 2 * FRAME_OCTETS);
    uint32_t room = 1;
    xn_queue_room(&queue, &room);
    CHECK_EQUAL(room, 0);
    end();
}

TEST(room_at_the_end_of_the_ring_is_whole_frames) {
    begin(4);
    write_octets(0, 3 * FRAME_OCTETS);
    check_read(0, 3 * FRAME_OCTETS);
    uint32_t room = 3 * FRAME_OCTETS;
    xn_queue_room(&queue, &room);
    CHECK_EQUAL(room, FRAME_OCTETS);
    end();
}

TEST(what_was_taken_back_is_replaced_by_what_is_written_next) {
    begin(4);
    write_octets(0, 12);
    CHECK_EQUAL(xn_queue_take_back(&queue, 6, 0), 6);
    write_octets(100, 6);
    check_read(0, 6);
    check_read(100, 6);
    end();
}

TEST(taking_back_leaves_the_reader_what_it_is_about_to_read) {
    begin(4);
    write_octets(0, 12);
    CHECK_EQUAL(xn_queue_take_back(&queue, 12, 6), 6);
    CHECK_EQUAL(xn_queue_fill(&queue), 6);
    CHECK_EQUAL(xn_queue_take_back(&queue, 12, 6), 0);
    check_read(0, 6);
    end();
}

TEST(writer_that_took_back_too_late_goes_on_at_the_readers_place) {
    begin(4);
    write_octets(0, 12);
    queue.read = 9; /* the reader took it while the writer took it back */
    queue.written = 6;
    CHECK_EQUAL(xn_queue_fill(&queue), 0);
    uint8_t octet;
    CHECK_EQUAL(xn_queue_read(&queue, &octet, 1), 0);
    write_octets(50, 6);
    CHECK_EQUAL(xn_queue_fill(&queue), 6);
    check_read(50, 6);
    end();
}

TEST(peeked_octets_stay_until_they_are_dropped) {
    begin(4);
    write_octets(7, 12);
    uint32_t octets;
    const uint8_t *first = xn_queue_peek(&queue, &octets);
    CHECK_EQUAL(octets, 12);
    CHECK_EQUAL(first[0], 7);
    xn_queue_drop(&queue, 6);
    CHECK_EQUAL(*(const uint8_t *)xn_queue_peek(&queue, &octets), 13);
    CHECK_EQUAL(octets, 6);
    end();
}

#define PASSED (1u << 18)

static void *write_all(void *nothing) {
    for (uint32_t next = 0; next < PASSED;) {
        uint8_t octet = (uint8_t)(next * 7);
        uint32_t written = xn_queue_write(&queue, &octet, 1);
        if (!written) sched_yield(); /* both threads may share one processor */
        next += written;
    }
    return nothing;
}

TEST(two_threads_pass_all_octets_in_order) {
    begin(16);
    pthread_t writer;
    CHECK(pthread_create(&writer, NULL, write_all, NULL) == 0);
    for (uint32_t next = 0; next < PASSED;) {
        uint8_t octets[32];
        uint32_t count = xn_queue_read(&queue, octets, sizeof octets);
        if (!count) sched_yield();
        for (uint32_t i = 0; i < count; i++, next++) CHECK_EQUAL(octets[i], (uint8_t)(next * 7));
    }
    pthread_join(writer, NULL);
    end();
}
