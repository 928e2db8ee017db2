/* How the position moves, and when the frontend is notified of it. */
#include "backend_fixture.h"

TEST(playback_without_audio_goes_with_the_clock) {
    connect(true), open();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    CHECK(play_on_for(1000 * MSEC) > 0);
    CHECK(stats().position_octets >= 1000 * OCTETS_A_MSEC - PERIOD);
    CHECK(stats().position_octets <= 1000 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().discarded_octets, stats().position_octets);
    xn_backend_free(backend);
}

/* Linux counts a period when the positions told have moved by more than one, as in its
 * xen_snd_front_alsa_handle_cur_pos(). */
struct driver {
    uint64_t known, out, period_octets, periods;
};

static void tell_driver(struct driver *driver) {
    struct xn_packet event;
    while (xn_event_reader_take(&reader, &event) == 1) {
        uint64_t position = xn_wire_event_position(&event);
        driver->out += position - driver->known;
        driver->known = position;
        if (driver->out <= driver->period_octets) continue;
        driver->out %= driver->period_octets;
        driver->periods++;
    }
}

static void write_again(uint64_t *written, uint64_t known, uint32_t size) {
    while (*written < known + size) {
        uint32_t offset = (uint32_t)(*written % size);
        uint64_t room = known + size - *written, end = size - offset;
        write_all(offset, (uint32_t)(room < end ? room : end));
        *written += room < end ? room : end;
    }
}

/* A server that takes as much as is heard, in steps of ten milliseconds; or none. */
static void count_periods(uint32_t period_frames, int64_t jitter_usec, bool with_server) {
    connect(true), open_with(BUFFER, period_frames * FRAME);
    if (with_server) attach();
    fake_jitter_usec = jitter_usec;
    struct driver driver = {.period_octets = period_frames * FRAME};
    uint64_t written = 0;
    write_again(&written, 0, BUFFER);
    xn_backend_start(backend);
    if (with_server) fake_server_asks(30 * OCTETS_A_MSEC);
    int64_t started_usec = fake_now_usec, asked_usec = 0;
    for (int64_t usec = 0; usec < 500 * MSEC; usec = fake_now_usec - started_usec) {
        bool asks = with_server && usec >= asked_usec + 10 * MSEC;
        if (asks) asked_usec += 10 * MSEC;
        if (with_server) fake_latency_usec = asked_usec + 30 * MSEC - usec;
        if (asks) fake_server_asks(10 * OCTETS_A_MSEC);
        fake_pass_usec(100);
        tell_driver(&driver);
        write_again(&written, driver.known, BUFFER);
        int64_t octets = (usec - 2 * MSEC) * OCTETS_A_MSEC / MSEC;
        CHECK((int64_t)driver.periods >= octets / (int64_t)driver.period_octets);
        int64_t early_usec = with_server ? 1250 : 0;
        octets = (fake_now_usec - started_usec + early_usec) * OCTETS_A_MSEC / MSEC;
        CHECK((int64_t)driver.periods <= octets / (int64_t)driver.period_octets);
    }
    xn_backend_free(backend);
}

TEST(each_period_is_over_for_linux_within_two_milliseconds_however_late_the_ticks_are) {
    const uint32_t period_frames[] = {64, 100, 441, 512, 960, 1024, 1920};
    for (unsigned i = 0; i < sizeof period_frames / sizeof period_frames[0]; i++)
        for (int64_t jitter_usec = 0; jitter_usec <= 200; jitter_usec += 50)
            for (int with_server = 0; with_server <= 1; with_server++)
                count_periods(period_frames[i], jitter_usec, with_server);
}

TEST(recording_that_the_server_feeds_never_wakes_for_the_clock) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    static const uint8_t recorded[10 * OCTETS_A_MSEC];
    for (unsigned i = 0; i < 100; i++) {
        fake_server_records(recorded, sizeof recorded);
        hear();
        CHECK_EQUAL(fake_pass_usec(10 * MSEC), 0);
    }
    xn_backend_free(backend);
}

/* As Linux wakes it: at the end of a period, if a whole period is there that it has not read. */
TEST(reader_finds_a_period_at_the_end_of_each_also_if_the_buffer_has_but_two) {
    enum { LONG_PERIOD = 100 * OCTETS_A_MSEC, PIECE = 7 * OCTETS_A_MSEC };
    connect(false), open_with(2 * LONG_PERIOD, LONG_PERIOD), attach();
    xn_backend_start(backend);
    static const uint8_t recorded[PIECE];
    struct driver driver = {.period_octets = LONG_PERIOD};
    uint64_t read = 0, wakeups = 0;
    for (unsigned pieces = 1; pieces <= 1000; pieces++) {
        uint64_t periods = driver.periods;
        fake_server_records(recorded, sizeof recorded);
        tell_driver(&driver);
        CHECK_EQUAL(driver.periods, (pieces * PIECE - FRAME) / LONG_PERIOD);
        if (driver.periods == periods || driver.known - read < LONG_PERIOD) continue;
        CHECK(driver.known - read < 2 * LONG_PERIOD);
        read = driver.known;
        wakeups++;
    }
    CHECK_EQUAL(wakeups, driver.periods);
    xn_backend_free(backend);
}

/* As Linux wakes it: at the end of a period, if there is room for a whole period. */
TEST(writer_finds_room_for_a_period_at_the_end_of_each_also_if_the_buffer_has_but_two) {
    enum { LONG_PERIOD = 100 * OCTETS_A_MSEC, SIZE = 2 * LONG_PERIOD };
    connect(true), open_with(SIZE, LONG_PERIOD);
    struct driver driver = {.period_octets = LONG_PERIOD};
    uint64_t written = 0, wakeups = 0;
    write_again(&written, 0, SIZE);
    xn_backend_start(backend);
    fake_jitter_usec = MSEC;
    for (int64_t end_usec = fake_now_usec + 5000 * MSEC; fake_now_usec < end_usec;) {
        uint64_t periods = driver.periods;
        fake_pass_usec(100);
        tell_driver(&driver);
        CHECK(driver.known < written); /* no underrun */
        bool has_room = driver.known + SIZE >= written + LONG_PERIOD;
        if (driver.periods == periods || !has_room) continue;
        write_again(&written, driver.known, SIZE);
        wakeups++;
    }
    CHECK_EQUAL(wakeups, driver.periods);
    xn_backend_free(backend);
}

TEST(recording_that_leaves_the_server_goes_on_with_silence_at_once) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    static const uint8_t recorded[10 * OCTETS_A_MSEC];
    fake_server_records(recorded, sizeof recorded);
    hear();
    xn_backend_detach_audio(backend);
    fake_pass_usec(12 * MSEC); /* what the period of 20 ms lacks */
    CHECK(hear() >= PERIOD);
    xn_backend_free(backend);
}

/* A playback of one period, 20 ms, and one frame, whose server has three. */
static void begin_a_period(void) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 60 * MSEC;
    fake_server_asks(60 * OCTETS_A_MSEC);
}

TEST(wakeup_for_the_end_of_a_period_may_be_a_moment_after_it) {
    begin_a_period();
    int64_t end_usec = fake_now_usec + 20 * MSEC + 21; /* and one frame */
    CHECK_EQUAL(fake_next_due_usec(), end_usec + 1750);
    fake_pass_usec(22 * MSEC);
    CHECK(hear() > PERIOD);
    xn_backend_free(backend);
}

TEST(request_of_the_server_a_moment_before_the_end_of_a_period_serves_for_it) {
    begin_a_period();
    fake_pass_usec(18 * MSEC);
    fake_latency_usec = 42 * MSEC;
    fake_server_asks(0);
    CHECK(hear() < PERIOD);
    fake_now_usec += MSEC;
    fake_latency_usec = 41 * MSEC;
    fake_server_asks(0);
    CHECK_EQUAL(hear(), PERIOD + FRAME);
    CHECK(fake_next_due_usec() > fake_now_usec + 20 * MSEC);
    xn_backend_free(backend);
}

TEST(wakeup_for_another_stream_a_moment_before_the_end_of_a_period_serves_for_it) {
    begin_a_period();
    fake_pass_usec(18500);
    fake_wake();
    CHECK_EQUAL(hear(), 0);
    fake_pass_usec(500);
    fake_wake();
    CHECK_EQUAL(hear(), PERIOD + FRAME);
    CHECK(fake_next_due_usec() > fake_now_usec + 20 * MSEC);
    xn_backend_free(backend);
}

/* Plays for a second, from a server that asks every 5 ms. Each period of 20 ms ends so much after
 * one of these requests. Returns how often the clock has woken. */
static unsigned play_beside_requests(int64_t after_usec) {
    connect(true), open(), attach();
    uint64_t written = 0, known = 0, periods = 0;
    unsigned wakeups = 0;
    write_again(&written, 0, BUFFER);
    xn_backend_start(backend);
    fake_server_asks(20 * OCTETS_A_MSEC);
    for (int64_t usec = 0; usec < 1000 * MSEC; usec += 5 * MSEC) {
        fake_latency_usec = 15 * MSEC + after_usec;
        fake_server_asks(usec ? 5 * OCTETS_A_MSEC : 0);
        wakeups += fake_pass_usec(5 * MSEC);
        uint64_t position = hear();
        if (position / PERIOD > known / PERIOD) periods++;
        if (position) known = position;
        write_again(&written, known, BUFFER);
    }
    CHECK(periods >= 49);
    xn_backend_free(backend);
    return wakeups;
}

TEST(clock_wakes_nobody_while_the_requests_of_the_server_come_within_the_time_for_a_period) {
    CHECK_EQUAL(play_beside_requests(1000), 0);
    CHECK_EQUAL(play_beside_requests(4000), 0);
    unsigned wakeups = play_beside_requests(2500);
    CHECK(wakeups >= 49 && wakeups <= 50);
}

TEST(start_twice_is_start_once) {
    connect(true), open();
    write_all(0, BUFFER);
    for (unsigned msec = 0; msec < 60; msec += 3) {
        xn_backend_start(backend);
        fake_pass_usec(3 * MSEC);
        hear();
    }
    CHECK(stats().position_octets >= 50 * OCTETS_A_MSEC);
    CHECK(stats().position_octets <= 60 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(stream_that_stands_still_wakes_nobody) {
    const uint32_t periods[] = {0, PERIOD};
    for (unsigned i = 0; i < 2; i++) {
        connect(true), open_with(BUFFER, periods[i]);
        CHECK_EQUAL(fake_next_due_usec(), XN_NEVER);
        write_all(0, 400);
        xn_backend_start(backend);
        fake_pass_usec(200 * MSEC);
        xn_backend_stop(backend);
        CHECK_EQUAL(fake_next_due_usec(), XN_NEVER);
        xn_backend_free(backend);
    }
}

TEST(stop_is_told_as_soon_as_a_full_event_page_has_room) {
    connect(true), open();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_pass_usec(20 * MSEC);
    event_page->in_cons = event_page->in_prod - 63;
    xn_backend_stop(backend);
    fake_pass_usec(100 * MSEC);
    event_page->in_cons = reader.in_cons = event_page->in_prod;
    fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(hear(), BUFFER);
    CHECK_EQUAL(fake_next_due_usec(), XN_NEVER);
    xn_backend_free(backend);
}

TEST(no_event_comes_after_close) {
    connect(true), open();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_pass_usec(33 * MSEC);
    xn_backend_close_pcm(backend);
    hear();
    fake_pass_usec(1000 * MSEC);
    CHECK_EQUAL(hear(), 0);
    CHECK_EQUAL(fake_next_due_usec(), XN_NEVER);
    xn_backend_free(backend);
}

TEST(what_a_full_event_page_could_not_be_told_is_forgotten_at_close) {
    connect(true), open();
    write_all(0, BUFFER);
    event_page->in_cons = event_page->in_prod - 63;
    xn_backend_start(backend);
    fake_pass_usec(33 * MSEC);
    xn_backend_stop(backend);
    xn_backend_close_pcm(backend);
    CHECK_EQUAL(fake_next_due_usec(), XN_NEVER);
    event_page->in_cons = event_page->in_prod;
    while (fake_is_polled()) fake_arrive(); /* a pause, whose end is a tick */
    fake_pass_usec(100 * MSEC);
    CHECK_EQUAL(hear(), 0);
    xn_backend_free(backend);
}

TEST(event_ids_run_on_over_close_and_open) {
    connect(true);
    for (unsigned i = 0; i < 3; i++) {
        open();
        write_all(0, BUFFER);
        xn_backend_start(backend);
        fake_pass_usec(30 * MSEC);
        xn_backend_close_pcm(backend);
    }
    struct xn_packet event;
    unsigned id = 0;
    for (; xn_event_reader_take(&reader, &event) == 1; id++)
        CHECK_EQUAL(xn_wire_id(&event), id);
    CHECK(id >= 3);
    xn_backend_free(backend);
}

TEST(capture_without_audio_keeps_time) {
    connect(false), open();
    xn_backend_start(backend);
    fake_jitter_usec = 137;
    int64_t started_usec = fake_now_usec;
    for (unsigned i = 0; i < 1000; i++) fake_pass_usec(MSEC), hear();
    uint64_t expected = (uint64_t)(fake_now_usec - started_usec) * OCTETS_A_MSEC / MSEC;
    CHECK(stats().position_octets >= expected - PERIOD);
    CHECK(stats().position_octets <= expected);
    xn_backend_free(backend);
}
