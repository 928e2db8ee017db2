/* The backend's side of a stream, with its clock, its frontend and its audio server in our hands. */
#include "backend.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "backend_parts.h"
#include "check.h"
#include "event_page.h"
#include "fake_engine.h"
#include "ring.h"
#include "wire.h"

enum { RATE_HZ = 48000, FRAME = 4, OCTETS_A_MSEC = 192, BUFFER = 15360, PERIOD = 3840 };
enum { OP_TRIGGER = 8 };
#define MSEC 1000

static struct xn_engine *engine;
static struct xn_backend *backend;
static struct xn_ring_page *ring_page;
static struct xn_event_page *event_page;
static struct fake_channel requests, events;
static struct xn_frontend_ring frontend;
static struct xn_event_reader reader;
static uint8_t *buffer;
static uint32_t served_word; /* the guest's word */

/* A backend process on the pages as they are, before it begins. `pcm`: where it keeps its
 * positions. */
static void attend(bool playback, struct xn_pcm *pcm) {
    engine = fake_engine_new();
    memset(&requests, 0, sizeof requests);
    memset(&events, 0, sizeof events);
    struct xn_channel requests_end = fake_channel_end(&requests);
    struct xn_channel events_end = fake_channel_end(&events);
    backend = xn_backend_new(engine, playback, ring_page, event_page, &requests_end, &events_end,
                             pcm, NULL, &served_word);
}

/* The first process on new pages. */
static void connect_and_keep(bool playback, struct xn_pcm *pcm) {
    ring_page = fenced_page();
    event_page = fenced_page();
    xn_frontend_ring_attach(&frontend, ring_page);
    xn_event_reader_attach(&reader, event_page);
    attend(playback, pcm);
    xn_backend_begin(backend, false);
}

static void connect(bool playback) { connect_and_keep(playback, NULL); }

static struct xn_pcm_config config_of(uint32_t octets, uint32_t period_octets) {
    return (struct xn_pcm_config){.rate_hz = RATE_HZ,
                                  .frame_octets = FRAME,
                                  .buffer_octets = octets,
                                  .period_octets = period_octets};
}

static void open_with(uint32_t octets, uint32_t period_octets) {
    struct xn_pcm_config config = config_of(octets, period_octets);
    buffer = fenced_octets(octets);
    xn_backend_open_pcm(backend, &config, buffer);
}

static void open(void) { open_with(BUFFER, PERIOD); }

static void attach(void) {
    const struct xn_audio_config config = {0};
    const char *error;
    CHECK(xn_backend_attach_audio(backend, NULL, &config, &error));
}

/* The frontend's request; if `notified`, the channel tells the backend, which runs. */
static void request(uint8_t operation, uint32_t offset, uint32_t octets, bool notified) {
    struct xn_packet packet;
    xn_wire_transfer_request(&packet, (struct xn_transfer){1, operation, offset, octets});
    CHECK(xn_frontend_ring_request(&frontend, &packet) >= 0);
    if (notified) fake_arrive();
}

enum { NO_ANSWER = 1 };

/* The status of the next response. */
static int32_t answer(void) {
    struct xn_packet packet;
    if (xn_frontend_ring_take(&frontend, &packet) != 1) return NO_ANSWER;
    return xn_wire_status(&packet);
}

static int32_t transfer(uint8_t operation, uint32_t offset, uint32_t octets) {
    request(operation, offset, octets, true);
    return answer();
}

static void write_all(uint32_t offset, uint32_t octets) {
    CHECK_EQUAL(transfer(XN_OP_WRITE, offset, octets), 0);
}

/* The frontend takes note of all events; the last position, 0 for none. */
static uint64_t hear(void) {
    struct xn_packet event;
    uint64_t position = 0;
    while (xn_event_reader_take(&reader, &event) == 1) position = xn_wire_event_position(&event);
    return position;
}

static struct xn_backend_stats stats(void) {
    struct xn_backend_stats now;
    xn_backend_stats(backend, &now);
    return now;
}

/* A guest that writes as soon as it learns of room, for so long; its largest step of position. */
static uint64_t play_on_for(int64_t usec) {
    uint64_t heard = 0, widest = 0, written = BUFFER;
    for (int64_t end_usec = fake_now_usec + usec; fake_now_usec < end_usec;) {
        fake_pass_usec(100);
        uint64_t position = hear();
        if (!position) continue;
        if (heard && position - heard > widest) widest = position - heard;
        heard = position;
        while (written < heard + BUFFER) {
            uint32_t offset = (uint32_t)(written % BUFFER);
            uint32_t room = (uint32_t)(heard + BUFFER - written);
            uint32_t octets = room < BUFFER - offset ? room : BUFFER - offset;
            write_all(offset, octets);
            written += octets;
        }
    }
    return widest;
}

/* ---- requests ------------------------------------------------------------------------------- */

TEST(write_is_answered_at_once_and_the_answer_notified) {
    connect(true), open();
    write_all(0, 400);
    CHECK_EQUAL(requests.notified, 1);
    CHECK_EQUAL(stats().buffered_octets, 400);
    CHECK_EQUAL(fake_python_wakeups, 0);
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

enum { AT_ONCE = 256 }; /* requests in one pass */

/* With --wrap=xn_backend_ring_answer: a frontend on a CPU of its own that asks again at once. */
static unsigned refills;
static uint32_t served_at_answer;
void __real_xn_backend_ring_answer(struct xn_backend_ring *, const struct xn_packet *);
void __wrap_xn_backend_ring_answer(struct xn_backend_ring *, const struct xn_packet *);

void __wrap_xn_backend_ring_answer(struct xn_backend_ring *ring, const struct xn_packet *response) {
    __real_xn_backend_ring_answer(ring, response);
    served_at_answer = served_word;
    if (refills == 0) return;
    refills--;
    CHECK_EQUAL(answer(), 0);
    request(XN_OP_WRITE, 0, 4, false);
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
        while (xn_frontend_ring_take(&frontend, &packet) == 1) continue;
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
    for (unsigned passes = 0; passes < 500; passes++) {
        while (xn_load_index(&ring_page->req_prod) - xn_load_index(&ring_page->rsp_prod) <
               XN_RING_SLOTS - 1)
            sched_yield();
        fake_pass_usec(MSEC);
        uint64_t served = stats().requests - before;
        CHECK(served <= AT_ONCE);
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

/* ---- what a guest may make us do ------------------------------------------------------------- */

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

/* ---- the clock ------------------------------------------------------------------------------ */

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

static void write_again(uint64_t *written, uint64_t known) {
    while (*written < known + BUFFER) {
        uint32_t offset = (uint32_t)(*written % BUFFER);
        uint64_t room = known + BUFFER - *written, end = BUFFER - offset;
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
    write_again(&written, 0);
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
        write_again(&written, driver.known);
        int64_t octets = (usec - 2 * MSEC) * OCTETS_A_MSEC / MSEC;
        CHECK((int64_t)driver.periods >= octets / (int64_t)driver.period_octets);
        octets = (fake_now_usec - started_usec) * OCTETS_A_MSEC / MSEC;
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

TEST(recording_that_the_server_feeds_wakes_for_a_stall_alone) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    static const uint8_t recorded[PERIOD];
    for (unsigned i = 0; i < 10; i++) {
        fake_server_records(recorded, PERIOD);
        hear();
        CHECK(fake_next_due_usec() >= fake_now_usec + 40 * MSEC);
        fake_pass_usec(20 * MSEC);
    }
    xn_backend_free(backend);
}

TEST(playback_that_the_server_feeds_wakes_once_a_period) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 60 * MSEC;
    fake_server_asks(60 * OCTETS_A_MSEC);
    int64_t due_usec = fake_next_due_usec();
    CHECK(due_usec >= fake_now_usec + 20 * MSEC);
    CHECK(due_usec <= fake_now_usec + 22 * MSEC);
    xn_backend_free(backend);
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

/* ---- the audio server ----------------------------------------------------------------------- */

TEST(position_is_what_the_server_has_made_audible) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 20 * MSEC;
    CHECK_EQUAL(fake_server_asks(30 * OCTETS_A_MSEC), 30 * OCTETS_A_MSEC);
    fake_pass_usec(20 * MSEC);
    CHECK(stats().position_octets >= 10 * OCTETS_A_MSEC);
    CHECK(stats().position_octets <= 30 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().octets, 30 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

/* A playback of 0x11 that runs, all of which the server has, and of which it has played 20 ms. */
static void play_ones(void) {
    connect(true), open(), attach();
    memset(buffer, 0x11, BUFFER);
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 80 * MSEC;
    CHECK_EQUAL(fake_server_asks(BUFFER), BUFFER);
    fake_latency_usec = 60 * MSEC;
    CHECK_EQUAL(fake_server_asks(0), 0);
    CHECK_EQUAL(hear(), 20 * OCTETS_A_MSEC);
}

TEST(rewind_is_given_to_the_server_in_its_place) {
    play_ones();
    memset(buffer + 30 * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(30 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    for (uint32_t i = 0; i < BUFFER; i++) {
        bool rewritten = i >= 30 * OCTETS_A_MSEC && i < 40 * OCTETS_A_MSEC;
        CHECK_EQUAL(fake_server_has[i], rewritten ? 0x22 : 0x11);
    }
    CHECK_EQUAL(stats().late_octets, 0);
    CHECK_EQUAL(stats().buffered_octets, 0);
    xn_backend_free(backend);
}

TEST(rewind_over_what_was_heard_is_counted_and_the_rest_is_given) {
    play_ones();
    memset(buffer + 15 * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(15 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_server_has[20 * OCTETS_A_MSEC - 1], 0x11);
    CHECK_EQUAL(fake_server_has[20 * OCTETS_A_MSEC], 0x22);
    CHECK_EQUAL(stats().late_octets, 5 * OCTETS_A_MSEC);
    xn_backend_free(backend);
}

TEST(what_follows_a_rewind_goes_behind_what_the_server_has) {
    play_ones();
    memset(buffer, 0x33, 20 * OCTETS_A_MSEC);
    memset(buffer + 70 * OCTETS_A_MSEC, 0x22, 10 * OCTETS_A_MSEC);
    write_all(70 * OCTETS_A_MSEC, 10 * OCTETS_A_MSEC);
    write_all(0, 20 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_server_asks(20 * OCTETS_A_MSEC), 20 * OCTETS_A_MSEC);
    CHECK_EQUAL(fake_server_has[BUFFER - 1], 0x22);
    CHECK_EQUAL(fake_server_has[BUFFER], 0x33);
    CHECK_EQUAL(fake_server_has[BUFFER + 20 * OCTETS_A_MSEC - 1], 0x33);
    xn_backend_free(backend);
}

TEST(rewinds_one_after_another_reach_the_server_every_five_milliseconds) {
    play_ones();
    for (uint32_t msec = 0; msec < 4; msec++) {
        memset(buffer + (40 + msec) * OCTETS_A_MSEC, 0x22, OCTETS_A_MSEC);
        write_all((40 + msec) * OCTETS_A_MSEC, OCTETS_A_MSEC);
    }
    CHECK_EQUAL(fake_server_has[41 * OCTETS_A_MSEC - 1], 0x22);
    CHECK_EQUAL(fake_server_has[41 * OCTETS_A_MSEC], 0x11);
    fake_pass_usec(5 * MSEC);
    CHECK_EQUAL(fake_server_has[44 * OCTETS_A_MSEC - 1], 0x22);
    xn_backend_free(backend);
}

TEST(new_server_is_given_what_the_old_one_had_not_made_audible) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 20 * MSEC;
    fake_server_asks(30 * OCTETS_A_MSEC);
    fake_pass_usec(5 * MSEC);
    attach();
    uint64_t position = stats().position_octets;
    CHECK(position > 0 && position < 30 * OCTETS_A_MSEC);
    CHECK_EQUAL(stats().buffered_octets, BUFFER - position);
    xn_backend_free(backend);
}

TEST(server_that_stalls_is_left_behind_by_the_clock_until_it_asks_again) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_latency_usec = 0;
    play_on_for(300 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    CHECK(stats().position_octets >= 200 * OCTETS_A_MSEC);
    uint64_t before = stats().octets;
    CHECK(fake_server_asks(400) > 0);
    CHECK(stats().octets > before);
    xn_backend_free(backend);
}

TEST(server_that_wants_more_and_begins_nothing_is_left_behind_by_the_clock) {
    fake_server_wants_again = 4 * BUFFER;
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend); /* fake_latency_usec: none of it is audible */
    fake_pass_usec(45 * MSEC);
    CHECK_EQUAL(stats().position_octets, 0);
    CHECK_EQUAL(stats().buffered_octets, 0);
    play_on_for(200 * MSEC);
    CHECK_EQUAL(stats().stalled, 1);
    CHECK(stats().position_octets >= 100 * OCTETS_A_MSEC);
    fake_server_wants_again = 0;
    xn_backend_free(backend);
}

TEST(position_never_stands_still_for_a_hundred_milliseconds_when_the_server_vanishes) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    fake_server_failed = true;
    fake_pass_usec(100 * MSEC);
    CHECK(hear() > 0);
    xn_backend_free(backend);
}

TEST(new_server_reads_nothing_outside_the_buffer_whatever_the_frontend_wrote) {
    connect(true), open_with(64, 16), attach();
    write_all(0, 64);
    xn_backend_start(backend);
    fake_latency_usec = 1000 * MSEC;
    for (unsigned i = 0; i < 100; i++) { /* it writes what was taken, heard or not */
        fake_server_asks(64);
        write_all(0, 64);
    }
    attach();
    CHECK(fake_server_asks(4096) <= 64);
    xn_backend_free(backend);
}

TEST(server_that_asks_with_no_stream_open_is_given_nothing) {
    connect(true), open(), attach();
    write_all(0, BUFFER);
    xn_backend_start(backend);
    xn_backend_close_pcm(backend);
    CHECK(!fake_is_attached());
    xn_backend_free(backend);
}

TEST(recorded_data_lies_in_the_buffer_and_is_told) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    xn_backend_open_gate(backend, INT64_MAX);
    static uint8_t recorded[PERIOD];
    memset(recorded, 0x55, sizeof recorded);
    fake_server_records(recorded, sizeof recorded);
    CHECK_EQUAL(hear(), PERIOD);
    CHECK_EQUAL(buffer[0], 0x55);
    CHECK_EQUAL(buffer[PERIOD - 1], 0x55);
    CHECK_EQUAL(transfer(XN_OP_READ, 0, PERIOD), 0);
    xn_backend_free(backend);
}

TEST(recording_longer_than_the_buffer_is_taken_while_the_frontend_is_told) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    fake_server_records(NULL, 2 * BUFFER);
    CHECK_EQUAL(hear(), 2 * BUFFER);
    xn_backend_free(backend);
}

TEST(recording_for_a_deaf_frontend_ends_at_half_a_buffer_untold) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    event_page->in_cons = event_page->in_prod - 63;
    for (unsigned i = 0; i < 100; i++) fake_server_records(NULL, PERIOD);
    CHECK_EQUAL(stats().position_octets, BUFFER / 2);
    xn_backend_free(backend);
}

TEST(nothing_is_recorded_before_start) {
    connect(false), open(), attach();
    xn_backend_start(backend);
    xn_backend_stop(backend);
    uint64_t before = stats().position_octets;
    fake_pass_usec(1000 * MSEC);
    CHECK_EQUAL(stats().position_octets, before);
    xn_backend_free(backend);
}

/* ---- the microphone's gate --------------------------------------------------------------------- */

static uint8_t sound[BUFFER];

/* A recording that runs; everything the server records is 0x55. */
static void record(void) {
    memset(sound, 0x55, sizeof sound);
    connect(false), open(), attach();
    xn_backend_start(backend);
}

/* How many octets of the microphone are in the guest's buffer. */
static unsigned crossed(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < BUFFER; i++) count += buffer[i] == 0x55;
    return count;
}

TEST(nothing_crosses_a_gate_that_was_not_opened_and_the_clock_goes_on) {
    record();
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(hear(), PERIOD);
    CHECK_EQUAL(crossed(), 0);
    CHECK_EQUAL(stats().discarded_octets, PERIOD);
    xn_backend_free(backend);
}

TEST(closed_gate_is_silence_over_what_was_there) {
    record();
    xn_backend_open_gate(backend, INT64_MAX);
    fake_server_records(sound, BUFFER);
    hear();
    CHECK_EQUAL(crossed(), BUFFER);
    xn_backend_close_gate(backend);
    fake_server_records(sound, BUFFER);
    CHECK_EQUAL(hear(), 2 * BUFFER);
    CHECK_EQUAL(crossed(), 0);
    CHECK_EQUAL(stats().octets, BUFFER);
    xn_backend_free(backend);
}

TEST(gate_closes_at_its_deadline_with_nobody_there) {
    record();
    xn_backend_open_gate(backend, fake_now_usec + 50 * MSEC);
    fake_pass_usec(50 * MSEC - 1);
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(crossed(), PERIOD);
    fake_pass_usec(1);
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(crossed(), PERIOD);
    xn_backend_free(backend);
}

TEST(pcm_begins_and_ends_with_its_gate_closed) {
    record();
    xn_backend_open_gate(backend, INT64_MAX);
    xn_backend_close_pcm(backend);
    open(), attach();
    xn_backend_start(backend);
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(crossed(), 0);
    xn_backend_open_gate(backend, INT64_MAX);
    open(); /* again, without CLOSE */
    xn_backend_start(backend);
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(crossed(), 0);
    xn_backend_free(backend);
}

TEST(gate_is_opened_and_closed_without_the_engines_lock) {
    record();
    unsigned before = fake_locked;
    xn_backend_open_gate(backend, INT64_MAX);
    xn_backend_close_gate(backend);
    CHECK_EQUAL(fake_locked, before);
    xn_backend_free(backend);
}

/* With --wrap=xn_pcm_capture: another thread closes the gate while a part is being copied. */
static bool closes_meanwhile, was_closed;
static pthread_t closer;
uint32_t __real_xn_pcm_capture(struct xn_pcm *, const void *, uint32_t, int64_t);
uint32_t __wrap_xn_pcm_capture(struct xn_pcm *, const void *, uint32_t, int64_t);

static void *close_gate(void *unused) {
    (void)unused;
    xn_backend_close_gate(backend);
    __atomic_store_n(&was_closed, true, __ATOMIC_SEQ_CST);
    return NULL;
}

uint32_t __wrap_xn_pcm_capture(struct xn_pcm *pcm, const void *from, uint32_t octets,
                               int64_t now_usec) {
    if (closes_meanwhile && from) {
        closes_meanwhile = false;
        CHECK_EQUAL(pthread_create(&closer, NULL, close_gate, NULL), 0);
        while (__atomic_load_n(&backend->gate.until_usec, __ATOMIC_SEQ_CST)) sched_yield();
        for (unsigned i = 0; i < 1000; i++) sched_yield(); /* it could return, if it did not wait */
        CHECK(!__atomic_load_n(&was_closed, __ATOMIC_SEQ_CST));
    }
    return __real_xn_pcm_capture(pcm, from, octets, now_usec);
}

TEST(closing_waits_for_the_part_that_is_being_copied_and_no_other_crosses) {
    record();
    xn_backend_open_gate(backend, INT64_MAX);
    closes_meanwhile = true;
    fake_server_records(sound, BUFFER);
    CHECK_EQUAL(pthread_join(closer, NULL), 0);
    CHECK_EQUAL(crossed(), XN_GATE_OCTETS);
    CHECK_EQUAL(hear(), BUFFER);
    xn_backend_free(backend);
}

/* ---- one process after another -------------------------------------------------------------- */

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
