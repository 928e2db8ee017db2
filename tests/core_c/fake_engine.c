#include "fake_engine.h"

#include <stdlib.h>
#include <string.h>

#include "audio_stream.h"
#include "check.h"

/* ---- time ----------------------------------------------------------------------------------- */

int64_t fake_now_usec, fake_jitter_usec;
unsigned fake_python_wakeups;

static struct xn_schedule schedule;
static bool late;

int64_t xn_now_usec(void) { return fake_now_usec; }

int64_t fake_next_due_usec(void) { return xn_schedule_latest_usec(&schedule); }

void fake_wake(void) { xn_schedule_run(&schedule, fake_now_usec); }

unsigned fake_pass_usec(int64_t usec) {
    int64_t end_usec = fake_now_usec + usec;
    unsigned wakeups = 0;
    for (int64_t due_usec; (due_usec = fake_next_due_usec()) <= end_usec; wakeups++) {
        CHECK(wakeups < 1000000); /* a task that is always due leaves nobody else a turn */
        if (due_usec > fake_now_usec) fake_now_usec = due_usec;
        if (late) fake_now_usec += fake_jitter_usec;
        late = !late;
        fake_wake();
    }
    if (fake_now_usec < end_usec) fake_now_usec = end_usec;
    return wakeups;
}

void xn_engine_add_task(struct xn_engine *engine, struct xn_task *task) {
    (void)engine;
    xn_schedule_add(&schedule, task);
}

void xn_engine_remove_task(struct xn_engine *engine, struct xn_task *task) {
    (void)engine;
    xn_schedule_remove(&schedule, task);
}

void xn_engine_schedule(struct xn_engine *engine, struct xn_task *task, struct xn_window window) {
    (void)engine;
    xn_schedule_set(task, window);
}

unsigned fake_locked;

void xn_engine_lock(struct xn_engine *engine) {
    (void)engine;
    fake_locked++;
}

void xn_engine_unlock(struct xn_engine *engine) { (void)engine; }

void xn_engine_wake_python(struct xn_engine *engine) {
    (void)engine;
    fake_python_wakeups++;
}

/* ---- the request channel -------------------------------------------------------------------- */

struct pa_io_event {
    pa_io_event_cb_t run;
    void *data;
    bool exists, polled, pending;
};

static pa_io_event polled_event;
static pa_mainloop_api api;

static void deliver(void) {
    if (!polled_event.exists || !polled_event.polled || !polled_event.pending) return;
    polled_event.pending = false;
    polled_event.run(&api, &polled_event, -1, PA_IO_EVENT_INPUT, polled_event.data);
    fake_wake();
}

static pa_io_event *io_new(pa_mainloop_api *a, int fd, pa_io_event_flags_t flags,
                           pa_io_event_cb_t run, void *data) {
    (void)a, (void)fd;
    polled_event = (pa_io_event){
        .run = run, .data = data, .exists = true, .polled = flags == PA_IO_EVENT_INPUT};
    return &polled_event;
}

static void io_enable(pa_io_event *event, pa_io_event_flags_t flags) {
    event->polled = flags == PA_IO_EVENT_INPUT;
}

static void io_free(pa_io_event *event) { event->exists = false; }

pa_mainloop_api *xn_engine_api(struct xn_engine *engine) {
    (void)engine;
    api.io_new = io_new;
    api.io_enable = io_enable;
    api.io_free = io_free;
    return &api;
}

bool fake_is_polled(void) { return polled_event.exists && polled_event.polled; }

bool fake_arrive(void) {
    polled_event.pending = true;
    deliver();
    return !polled_event.pending;
}

static int notify(void *context) {
    static unsigned notifications;
    struct fake_channel *channel = context;
    channel->notified++;
    channel->last = ++notifications;
    return 0;
}

static int clear(void *context) {
    ((struct fake_channel *)context)->cleared++;
    return 0;
}

struct xn_channel fake_channel_end(struct fake_channel *channel) {
    return (struct xn_channel){.context = channel, .clear = clear, .notify = notify};
}

/* ---- the audio server ----------------------------------------------------------------------- */

int64_t fake_latency_usec;
uint32_t fake_asked_latency_usec, fake_had_when_started;
bool fake_server_failed;
uint32_t fake_server_plays;
uint32_t fake_server_wants_again;
uint32_t fake_server_keeps;
bool fake_server_takes_ahead, fake_is_fed;
uint8_t fake_server_has[FAKE_SERVER_HAS];

struct xn_audio {
    struct xn_audio_owner owner;
    bool exists, running;
    int64_t wanted; /* negative: it was given more */
    uint32_t given;
    uint32_t sought_back;
    uint8_t *memory; /* of the server's, for what is written next: fenced, as the real one is not */
    const void *recorded;
    uint32_t recorded_octets;
};

static struct xn_audio audio;
static uintptr_t first_stack, deepest_stack;

static void note_stack(void) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (!first_stack) first_stack = deepest_stack = here;
    if (here < deepest_stack) deepest_stack = here;
}

uintptr_t fake_deepest_stack(void) { return first_stack - deepest_stack; }

struct xn_audio *xn_audio_new(struct xn_client *client, const struct xn_audio_config *config,
                              const struct xn_audio_owner *owner, const char **error) {
    (void)client, (void)error;
    fake_asked_latency_usec = config->latency_usec;
    audio = (struct xn_audio){.owner = *owner, .exists = true, .wanted = fake_server_wants_again};
    return &audio;
}

void xn_audio_free(struct xn_audio *freed, bool drain) {
    (void)drain;
    CHECK(!freed->memory);
    freed->exists = false;
}

bool xn_audio_is_ready(const struct xn_audio *asked) { return asked->exists && !fake_server_failed; }

bool xn_audio_has_failed(const struct xn_audio *asked) {
    (void)asked;
    return fake_server_failed;
}

const char *xn_audio_error(const struct xn_audio *asked) {
    (void)asked;
    return "it failed";
}

uint32_t xn_audio_writable(const struct xn_audio *asked) {
    note_stack();
    return fake_server_failed || asked->wanted < 0 ? 0 : (uint32_t)asked->wanted;
}

void *xn_audio_begin_write(struct xn_audio *written, uint32_t *octets) {
    CHECK(!written->memory && *octets > 0);
    bool is_asked_for = *octets <= written->wanted + written->sought_back;
    CHECK(is_asked_for || fake_asked_latency_usec > 0);
    note_stack();
    written->memory = malloc(*octets);
    return written->memory;
}

bool xn_audio_commit(struct xn_audio *written, const void *from, uint32_t octets) {
    CHECK(from == written->memory);
    uint32_t place = written->given - written->sought_back;
    for (uint32_t i = 0; i < octets; i++)
        fake_server_has[(place + i) % FAKE_SERVER_HAS] = written->memory[i];
    free(written->memory);
    written->memory = NULL;
    written->given = place + octets;
    written->wanted += written->sought_back;
    written->wanted -= octets;
    written->sought_back = 0;
    if (written->wanted == 0) written->wanted = fake_server_wants_again;
    return true;
}

bool xn_audio_takes_ahead(const struct xn_audio *asked) {
    (void)asked;
    return fake_server_takes_ahead;
}

void xn_audio_set_fed(struct xn_audio *fed, bool is_fed) {
    (void)fed;
    fake_is_fed = is_fed;
}

uint32_t xn_audio_replace_queued(struct xn_audio *replaced) {
    replaced->sought_back = replaced->given - fake_server_plays;
    return replaced->sought_back;
}

uint32_t xn_audio_seek_back(struct xn_audio *sought, uint32_t octets) {
    CHECK(octets > 0 && sought->sought_back + octets <= sought->given);
    sought->sought_back += octets;
    return octets < fake_server_keeps ? octets : fake_server_keeps;
}

bool xn_audio_peek(struct xn_audio *recorder, const void **from, uint32_t *octets) {
    *from = recorder->recorded;
    *octets = recorder->recorded_octets;
    return recorder->recorded_octets > 0;
}

void xn_audio_drop(struct xn_audio *recorder) { recorder->recorded_octets = 0; }

void xn_audio_start(struct xn_audio *started) {
    started->running = true;
    fake_had_when_started = started->given;
}

void xn_audio_stop(struct xn_audio *stopped, bool drain) {
    (void)drain;
    stopped->running = false;
    stopped->wanted = fake_server_wants_again; /* it forgets what it asked for */
}

bool xn_audio_latency_usec(const struct xn_audio *asked, int64_t *latency_usec) {
    (void)asked;
    *latency_usec = fake_latency_usec;
    return fake_latency_usec >= 0;
}

uint32_t xn_audio_gaps(const struct xn_audio *asked) {
    (void)asked;
    return 0;
}

uint32_t xn_audio_index(const struct xn_audio *asked) {
    (void)asked;
    return 0;
}

bool fake_is_attached(void) { return audio.exists; }

bool fake_is_running(void) { return audio.running; }

uint32_t fake_server_asks(uint32_t octets) {
    CHECK(audio.exists && audio.running);
    uint32_t before = audio.given;
    audio.wanted += octets;
    audio.owner.on_event(audio.owner.owner, XN_AUDIO_WANTS);
    fake_wake();
    return audio.given - before;
}

void fake_server_records(const void *from, uint32_t octets) {
    CHECK(audio.exists && audio.running);
    audio.recorded = from;
    audio.recorded_octets = octets;
    audio.owner.on_event(audio.owner.owner, XN_AUDIO_RECORDED);
    fake_wake();
}

/* --------------------------------------------------------------------------------------------- */

struct xn_engine *fake_engine_new(void) {
    static char engine;
    fake_now_usec = 1000000;
    fake_python_wakeups = 0;
    fake_jitter_usec = 0;
    fake_latency_usec = -1;
    fake_server_failed = fake_server_takes_ahead = fake_is_fed = false;
    fake_server_plays = fake_server_wants_again = fake_server_keeps = 0;
    first_stack = 0;
    late = false;
    schedule.tasks = NULL;
    memset(&polled_event, 0, sizeof polled_event);
    memset(&audio, 0, sizeof audio);
    return (struct xn_engine *)(void *)&engine;
}

/* The mixer: there is none. */

const char *xn_audio_source(const struct xn_audio *asked, uint32_t *index) {
    (void)asked, (void)index;
    return NULL;
}

enum xn_admission xn_audio_admit_source(struct xn_audio *admitting, uint32_t index,
                                        const char *name) {
    (void)admitting, (void)index, (void)name;
    return XN_NOT_ITS_SOURCE;
}

enum xn_admission xn_audio_admit_microphone(struct xn_audio *admitting, uint32_t index,
                                            const char *name) {
    return xn_audio_admit_source(admitting, index, name);
}
