/* The gate that lets microphone data pass, or not. */
#include <pthread.h>
#include <sched.h>

#include "backend_fixture.h"

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
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    fake_server_records(sound, BUFFER);
    hear();
    CHECK_EQUAL(crossed(), BUFFER);
    xn_sound_close_gate(xn_backend_sound(backend));
    fake_server_records(sound, BUFFER);
    CHECK_EQUAL(hear(), 2 * BUFFER);
    CHECK_EQUAL(crossed(), 0);
    CHECK_EQUAL(stats().octets, BUFFER);
    xn_backend_free(backend);
}

TEST(gate_closes_at_its_deadline_with_nobody_there) {
    record();
    xn_sound_open_gate(xn_backend_sound(backend), fake_now_usec + 50 * MSEC);
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
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    xn_backend_close_pcm(backend);
    open(), attach();
    xn_backend_start(backend);
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(crossed(), 0);
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    open(); /* again, without CLOSE */
    xn_backend_start(backend);
    fake_server_records(sound, PERIOD);
    CHECK_EQUAL(crossed(), 0);
    xn_backend_free(backend);
}

TEST(gate_is_opened_and_closed_without_the_engines_lock) {
    record();
    unsigned before = fake_locked;
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    xn_sound_close_gate(xn_backend_sound(backend));
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
    xn_sound_close_gate(xn_backend_sound(backend));
    __atomic_store_n(&was_closed, true, __ATOMIC_SEQ_CST);
    return NULL;
}

uint32_t __wrap_xn_pcm_capture(struct xn_pcm *pcm, const void *from, uint32_t octets,
                               int64_t now_usec) {
    if (closes_meanwhile && from) {
        closes_meanwhile = false;
        CHECK_EQUAL(pthread_create(&closer, NULL, close_gate, NULL), 0);
        while (__atomic_load_n(&backend->sound.gate->until_usec, __ATOMIC_SEQ_CST))
            sched_yield();
        for (unsigned i = 0; i < 1000; i++) sched_yield(); /* it could return, if it did not wait */
        CHECK(!__atomic_load_n(&was_closed, __ATOMIC_SEQ_CST));
    }
    return __real_xn_pcm_capture(pcm, from, octets, now_usec);
}

TEST(closing_waits_for_the_part_that_is_being_copied_and_no_other_crosses) {
    record();
    xn_sound_open_gate(xn_backend_sound(backend), INT64_MAX);
    closes_meanwhile = true;
    fake_server_records(sound, BUFFER);
    CHECK_EQUAL(pthread_join(closer, NULL), 0);
    CHECK_EQUAL(crossed(), XN_GATE_OCTETS);
    CHECK_EQUAL(hear(), BUFFER);
    xn_backend_free(backend);
}
