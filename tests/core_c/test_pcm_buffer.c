/* Bounds of the buffer, copies out of it and into it, and its length in time. */
#include "pcm_fixture.h"

static uint8_t sink[4 * BUFFER];

TEST(whole_buffer_and_its_empty_end_are_in_the_buffer) {
    begin();
    CHECK(xn_pcm_in_buffer(&pcm, 0, BUFFER));
    CHECK(xn_pcm_in_buffer(&pcm, BUFFER - 1, 1));
    CHECK(xn_pcm_in_buffer(&pcm, BUFFER, 0));
}

TEST(one_octet_too_far_is_outside_the_buffer) {
    begin();
    CHECK(!xn_pcm_in_buffer(&pcm, 0, BUFFER + 1));
    CHECK(!xn_pcm_in_buffer(&pcm, 1, BUFFER));
    CHECK(!xn_pcm_in_buffer(&pcm, BUFFER, 1));
    CHECK(!xn_pcm_in_buffer(&pcm, BUFFER + 1, 0));
}

TEST(offset_and_length_whose_sum_wraps_are_outside_the_buffer) {
    begin();
    CHECK(!xn_pcm_in_buffer(&pcm, UINT32_MAX, 1));
    CHECK(!xn_pcm_in_buffer(&pcm, UINT32_MAX - 3, FRAME));
    CHECK(!xn_pcm_in_buffer(&pcm, FRAME, UINT32_MAX - 3));
    CHECK(!xn_pcm_in_buffer(&pcm, UINT32_MAX, UINT32_MAX));
    CHECK(!xn_pcm_in_buffer(&pcm, 0x80000000u, 0x80000000u));
}

TEST(copy_out_goes_around_the_end_of_a_buffer_of_any_size) {
    begin();
    xn_pcm_copy_out(&pcm, 5u * BUFFER - 8, sink, 20);
    CHECK(memcmp(sink, buffer + BUFFER - 8, 8) == 0);
    CHECK(memcmp(sink + 8, buffer, 12) == 0);
}

/* From where a guest has written over what was taken, it may be more than a lap to the end. */
TEST(silence_is_looked_for_in_one_lap_of_the_buffer_and_not_past_its_end) {
    begin();
    memset(buffer, 0x80, BUFFER);
    pcm.written = pcm.taken = 4 * BUFFER;
    CHECK(xn_pcm_is_silent(&pcm, BUFFER + 8, 3 * BUFFER - 8));
    buffer[4] = 0x81;
    CHECK(!xn_pcm_is_silent(&pcm, BUFFER + 8, 3 * BUFFER - 8));
}

TEST(copy_in_goes_around_the_end_of_a_buffer_of_any_size) {
    begin();
    uint8_t before[BUFFER];
    memcpy(before, buffer, BUFFER);
    memset(sink, 0xaa, 20);
    xn_pcm_copy_in(&pcm, 5u * BUFFER - 8, sink, 20);
    CHECK(memcmp(buffer + BUFFER - 8, sink, 8) == 0);
    CHECK(memcmp(buffer, sink, 12) == 0);
    CHECK(memcmp(buffer + 12, before + 12, BUFFER - 20) == 0);
}

TEST(whole_lap_is_copied_from_any_position) {
    begin();
    for (uint64_t position = 0; position < BUFFER; position += FRAME)
        xn_pcm_copy_out(&pcm, position, sink, BUFFER);
    CHECK(memcmp(sink, buffer + BUFFER - FRAME, FRAME) == 0);
    CHECK(memcmp(sink + FRAME, buffer, BUFFER - FRAME) == 0);
}

TEST(time_becomes_whole_frames) {
    begin();
    CHECK_EQUAL(xn_pcm_usec_to_octets(&pcm, 199), FRAME);
    CHECK_EQUAL(xn_pcm_usec_to_octets(&pcm, 0), 0);
    CHECK_EQUAL(xn_pcm_usec_to_octets(&pcm, -5), 0);
    CHECK_EQUAL(xn_pcm_octets_to_usec(&pcm, 40), 1000);
}
