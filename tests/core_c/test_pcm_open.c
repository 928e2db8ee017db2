/* A PCM that is opened, or adopted from another process. */
#include "pcm_fixture.h"

static uint8_t sink[4 * BUFFER];

TEST(open_forgets_the_stream_before) {
    begin();
    discard_up_to(1000);
    begin();
    CHECK_EQUAL(pcm.position, 0);
    CHECK_EQUAL(pcm.reported, 0);
    CHECK_EQUAL(xn_pcm_available(&pcm), 0);
    CHECK(!pcm.running);
}

TEST(adopted_pcm_stands_and_gives_again_what_was_not_heard) {
    begin();
    start();
    xn_pcm_wrote(&pcm, 0, 2000);
    xn_pcm_take(&pcm, sink, 1200);
    play_until(MSEC, 400);
    struct xn_pcm_config config = pcm.config;
    pcm.buffer = NULL; /* what it was in another process */
    CHECK(xn_pcm_adopt(&pcm, &config, buffer, 5000 * MSEC));
    CHECK(!pcm.running);
    CHECK_EQUAL(pcm.position, 400);
    CHECK_EQUAL(xn_pcm_available(&pcm), 1600);
    xn_pcm_take(&pcm, sink, 1600);
    CHECK(memcmp(sink, buffer + 400, 1600) == 0);
}

TEST(pcm_whose_period_was_told_early_is_adopted_with_what_was_written_after_it) {
    begin();
    pcm.position = pcm.taken = 10 * BUFFER - FRAME;
    pcm.reported = 10 * BUFFER;
    pcm.written = 11 * BUFFER;
    struct xn_pcm_config config = pcm.config;
    CHECK(xn_pcm_adopt(&pcm, &config, buffer, 0));
    CHECK_EQUAL(xn_pcm_available(&pcm), BUFFER); /* one frame is overwritten */
}

TEST(positions_that_cannot_be_are_not_adopted) {
    for (unsigned i = 0; i < 5; i++) {
        begin();
        pcm.position = pcm.reported = pcm.taken = pcm.written = 10 * BUFFER;
        if (i == 1) pcm.reported += 50 * OCTETS_A_MSEC + FRAME;
        if (i == 2) pcm.taken += FRAME;
        if (i == 3) pcm.written += BUFFER + FRAME;
        if (i == 4) pcm.reported = 7 * BUFFER;
        struct xn_pcm_config config = pcm.config;
        CHECK_EQUAL(xn_pcm_adopt(&pcm, &config, buffer, 0), i == 0);
    }
}

TEST(positions_of_another_shape_are_not_adopted) {
    begin();
    struct xn_pcm_config config = pcm.config;
    config.buffer_octets *= 2;
    CHECK(!xn_pcm_adopt(&pcm, &config, buffer, 0));
}
