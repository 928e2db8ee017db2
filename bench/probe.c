/* Bare clients of an audio server: what the agent is compared with, and what hears both.
 *
 *   probe play SERVER SINK LATENCY_MS left|right|silent LOG [RATE_HZ]   writes when it is asked
 *   probe relay SERVER SINK LATENCY_MS left|right|silent LOG            plays what a child writes
 *   probe pace SERVER SINK LATENCY_MS left|right|silent LOG             tells a child what is heard
 *   probe listen SERVER SOURCE LOG [FRAGMENT_MS [RATE_HZ]]              records
 *   probe idle SERVER                             is connected, and has no stream
 *   probe feed left|right|silent LOG              writes to standard output
 *
 * 48 kHz, or that rate, stereo S16. Of the sound on the left, or on the right, each sample is the number of its
 * frame: 1 to 65535, and again from 1. 0 is silence. LOG is "-" if nothing is to be logged. `play`,
 * `relay`, `pace` and `feed` log records of two 64-bit words: CLOCK_MONOTONIC in ns, and the count of frames
 * written up to then. `listen` logs what came, each time: CLOCK_MONOTONIC in ns, the count of octets
 * (64-bit words as well), and these octets.
 */
#define _GNU_SOURCE
#include <pulse/pulseaudio.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NUMBERS 65535
#define FRAME_OCTETS 4
#define FEED_FRAMES 120
#define BEAT_FRAMES 480
#define LOOK_USEC 2500
#define RELAY_FRAMES (10 * BEAT_FRAMES)

static pa_mainloop_api *api;
static FILE *log_file;
static uint64_t written_frames;

static const char *device, *side;
static uint32_t latency_ms, fragment_ms = 2, rate_hz = 48000;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void keep(int64_t time_ns, int64_t value) {
    int64_t record[2] = {time_ns, value};
    if (log_file) fwrite(record, sizeof record, 1, log_file);
}

static void make_sound(uint32_t *frames, size_t count) {
    unsigned shift = strcmp(side, "right") == 0 ? 16 : 0;
    if (strcmp(side, "silent") == 0) {
        memset(frames, 0, count * FRAME_OCTETS);
        return;
    }
    for (size_t i = 0; i < count; i++)
        frames[i] = (uint32_t)(1 + (written_frames + i) % NUMBERS) << shift;
}

/* What a child writes, as a guest does into its ring: at its own time, as late as it may, 10 ms at a
 * time. Each write rings the doorbell. `begin_ns` is when its first frame was heard, as far as is
 * known; 0: it was not. */
static struct {
    _Atomic uint64_t written;
    _Atomic int64_t begin_ns;
    uint32_t frames[RELAY_FRAMES];
} *relay;
static int doorbell;
static bool is_paced;
static uint64_t relayed_frames;

static void write_beat(void) {
    make_sound(relay->frames + written_frames % RELAY_FRAMES, BEAT_FRAMES);
    written_frames += BEAT_FRAMES;
    keep(now_ns(), (int64_t)written_frames);
    atomic_store_explicit(&relay->written, written_frames, memory_order_release);
}

static void write_beats(void) {
    uint64_t most = (latency_ms * 1000 - LOOK_USEC) * rate_hz / 1000000;
    for (int64_t next_ns = now_ns();; next_ns += LOOK_USEC * 1000) {
        struct timespec next = {next_ns / 1000000000, next_ns % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        int64_t begin_ns = atomic_load_explicit(&relay->begin_ns, memory_order_relaxed);
        int64_t heard_ns = begin_ns ? now_ns() - begin_ns : 0;
        uint64_t heard = heard_ns > 0 ? (uint64_t)heard_ns * rate_hz / 1000000000 : 0;
        if (written_frames + BEAT_FRAMES > heard + most) continue;
        write_beat();
        eventfd_write(doorbell, 1);
        if (log_file) fflush(log_file);
    }
}

/* Before the server plays, libpulse's time is not that of the stream. */
static void note_heard(pa_stream *stream) {
    static bool has_begun;
    pa_usec_t usec;
    int negative;
    const pa_timing_info *timing = pa_stream_get_timing_info(stream);
    has_begun = has_begun || (timing && timing->playing);
    if (!has_begun || pa_stream_get_latency(stream, &usec, &negative) < 0) return;
    int64_t relayed_usec = (int64_t)(relayed_frames * 1000000 / rate_hz);
    int64_t heard_usec = relayed_usec - (negative ? -(int64_t)usec : (int64_t)usec);
    atomic_store_explicit(&relay->begin_ns, now_ns() - heard_usec * 1000, memory_order_relaxed);
}

static void relay_what_is_there(pa_stream *stream) {
    size_t wanted = pa_stream_writable_size(stream) / FRAME_OCTETS;
    while (wanted) {
        uint64_t written = atomic_load_explicit(&relay->written, memory_order_acquire);
        uint64_t at = relayed_frames % RELAY_FRAMES, count = written - relayed_frames;
        void *to;
        size_t room = wanted * FRAME_OCTETS;
        if (!count || pa_stream_begin_write(stream, &to, &room) < 0) return;
        if (count > wanted) count = wanted;
        if (count > room / FRAME_OCTETS) count = room / FRAME_OCTETS;
        if (count > RELAY_FRAMES - at) count = RELAY_FRAMES - at;
        memcpy(to, relay->frames + at, count * FRAME_OCTETS);
        pa_stream_write(stream, to, count * FRAME_OCTETS, NULL, 0, PA_SEEK_RELATIVE);
        relayed_frames += count;
        wanted -= count;
    }
}

static void on_doorbell(pa_mainloop_api *a, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                        void *stream) {
    (void)a, (void)event, (void)flags;
    eventfd_t rung;
    eventfd_read(fd, &rung);
    relay_what_is_there(stream);
    note_heard(stream);
}

static void on_relay_write(pa_stream *stream, size_t octets, void *data) {
    (void)octets, (void)data;
    relay_what_is_there(stream);
    note_heard(stream);
}

static void fill(pa_stream *stream, size_t octets) {
    while (octets) {
        void *to;
        size_t room = octets;
        if (pa_stream_begin_write(stream, &to, &room) < 0) exit(1);
        if (room > octets) room = octets;
        make_sound(to, room / FRAME_OCTETS);
        written_frames += room / FRAME_OCTETS;
        keep(now_ns(), (int64_t)written_frames);
        pa_stream_write(stream, to, room, NULL, 0, PA_SEEK_RELATIVE);
        octets -= room;
    }
}

static void on_write(pa_stream *stream, size_t octets, void *data) {
    (void)data;
    fill(stream, octets);
}

/* A child is told when each 10 ms have been heard, as a guest is told the end of each of its periods:
 * when the server asks, if that is in time for it, and by a timer otherwise. */
#define PACE_USEC 10000
#define PACE_EARLY_USEC 1250
#define PACE_LATE_USEC 1750
static pa_time_event *pace_timer;
static int64_t next_end_usec = PACE_USEC;

static void pace(pa_stream *stream) {
    pa_usec_t usec;
    int negative;
    const pa_timing_info *timing = pa_stream_get_timing_info(stream);
    if (!timing || !timing->playing || pa_stream_get_latency(stream, &usec, &negative) < 0) return;
    int64_t written_usec = (int64_t)(written_frames * 1000000 / rate_hz);
    int64_t heard_usec = written_usec - (negative ? -(int64_t)usec : (int64_t)usec);
    if (heard_usec + PACE_EARLY_USEC >= next_end_usec) {
        eventfd_write(doorbell, 1);
        while (heard_usec + PACE_EARLY_USEC >= next_end_usec) next_end_usec += PACE_USEC;
    }
    int64_t left_usec = next_end_usec - heard_usec + PACE_LATE_USEC;
    pa_context_rttime_restart(pa_stream_get_context(stream), pace_timer,
                              pa_rtclock_now() + (pa_usec_t)left_usec);
}

static void on_pace_time(pa_mainloop_api *a, pa_time_event *event, const struct timeval *time,
                         void *stream) {
    (void)a, (void)event, (void)time;
    pace(stream);
}

static void on_pace_write(pa_stream *stream, size_t octets, void *data) {
    (void)data;
    fill(stream, octets);
    pace(stream);
}

/* A recorder has the samples in its own memory in the end. */
static void take(const void *from, size_t count) {
    static uint8_t taken[1 << 16];
    memcpy(taken, from, count < sizeof taken ? count : sizeof taken);
    keep(now_ns(), (int64_t)count);
    if (log_file) fwrite(from, count, 1, log_file);
}

static void on_read(pa_stream *stream, size_t octets, void *data) {
    (void)octets, (void)data;
    const void *from;
    size_t count;
    while (pa_stream_readable_size(stream) > 0) {
        if (pa_stream_peek(stream, &from, &count) < 0 || !count) return;
        if (from) take(from, count);
        pa_stream_drop(stream);
    }
}

/* The attributes are those that xensnd/core/src/pulse_stream.c asks for. */
static void make_stream(pa_context *context) {
    const pa_sample_spec spec = {.format = PA_SAMPLE_S16LE, .rate = rate_hz, .channels = 2};
    pa_stream *stream = pa_stream_new(context, "probe", &spec, NULL);
    pa_buffer_attr attributes = {
        .maxlength = (uint32_t)-1,
        .tlength = latency_ms * rate_hz / 1000 * FRAME_OCTETS,
        .prebuf = FRAME_OCTETS,
        .minreq = (uint32_t)-1,
        .fragsize = fragment_ms * rate_hz / 1000 * FRAME_OCTETS,
    };
    if (relay) {
        api->io_new(api, doorbell, PA_IO_EVENT_INPUT, on_doorbell, stream);
        pa_stream_set_write_callback(stream, on_relay_write, NULL);
    } else if (is_paced) {
        pace_timer = pa_context_rttime_new(context, PA_USEC_INVALID, on_pace_time, stream);
        pa_stream_set_write_callback(stream, on_pace_write, NULL);
    } else if (side) {
        pa_stream_set_write_callback(stream, on_write, NULL);
    } else {
        pa_stream_set_read_callback(stream, on_read, NULL);
    }
    if (side) {
        pa_stream_flags_t flags = PA_STREAM_ADJUST_LATENCY;
        if (relay || is_paced) flags |= PA_STREAM_AUTO_TIMING_UPDATE | PA_STREAM_INTERPOLATE_TIMING;
        pa_stream_connect_playback(stream, device, &attributes, flags, NULL, NULL);
    } else {
        pa_stream_connect_record(stream, device, &attributes, PA_STREAM_ADJUST_LATENCY);
    }
}

static void on_state(pa_context *context, void *data) {
    (void)data;
    pa_context_state_t state = pa_context_get_state(context);
    if (!PA_CONTEXT_IS_GOOD(state)) {
        fprintf(stderr, "probe: %s\n", pa_strerror(pa_context_errno(context)));
        exit(1);
    }
    if (state == PA_CONTEXT_READY && device) make_stream(context);
}

static void on_signal(pa_mainloop_api *a, pa_signal_event *event, int signum, void *data) {
    (void)event, (void)signum, (void)data;
    a->quit(a, 0);
}

static int be_client(const char *server) {
    pa_mainloop *mainloop = pa_mainloop_new();
    api = pa_mainloop_get_api(mainloop);
    pa_signal_init(api);
    pa_signal_new(SIGTERM, on_signal, NULL);
    pa_context *context = pa_context_new(api, "probe");
    pa_context_set_state_callback(context, on_state, NULL);
    if (pa_context_connect(context, server, PA_CONTEXT_NOAUTOSPAWN, NULL) < 0) return 1;
    int status = 0;
    pa_mainloop_run(mainloop, &status);
    return status;
}

static int be_relay(const char *server) {
    relay = mmap(NULL, sizeof *relay, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    doorbell = eventfd(0, EFD_NONBLOCK);
    if (relay == MAP_FAILED || doorbell < 0) return 1;
    pid_t child = fork();
    if (child < 0) return 1;
    if (child) return be_client(server);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    write_beats();
    return 1;
}

static int be_paced(const char *server) {
    eventfd_t rung;
    is_paced = true;
    doorbell = eventfd(0, 0);
    pid_t child = doorbell < 0 ? -1 : fork();
    if (child < 0) return 1;
    if (child) return be_client(server);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (eventfd_read(doorbell, &rung) == 0) continue;
    return 1;
}

static int feed(void) {
    uint32_t frames[FEED_FRAMES];
    for (;;) {
        make_sound(frames, FEED_FRAMES);
        for (size_t done = 0; done < sizeof frames;) {
            ssize_t count = write(STDOUT_FILENO, (char *)frames + done, sizeof frames - done);
            if (count <= 0) return 0;
            done += (size_t)count;
        }
        written_frames += FEED_FRAMES;
        keep(now_ns(), (int64_t)written_frames);
        if (log_file) fflush(log_file);
    }
}

static void open_log(const char *name) {
    if (strcmp(name, "-") == 0) return;
    log_file = fopen(name, "wb");
    if (log_file) return;
    perror(name);
    exit(1);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    int status = 2;
    bool relays = !strcmp(what, "relay") && argc == 7;
    bool paces = !strcmp(what, "pace") && argc == 7;
    if (relays || paces || (!strcmp(what, "play") && (argc == 7 || argc == 8))) {
        device = argv[3];
        latency_ms = (uint32_t)atoi(argv[4]);
        side = argv[5];
        open_log(argv[6]);
        if (argc == 8) rate_hz = (uint32_t)atoi(argv[7]);
        status = relays ? be_relay(argv[2]) : paces ? be_paced(argv[2]) : be_client(argv[2]);
    } else if (!strcmp(what, "listen") && argc >= 5 && argc <= 7) {
        device = argv[3];
        open_log(argv[4]);
        if (argc >= 6) fragment_ms = (uint32_t)atoi(argv[5]);
        if (argc == 7) rate_hz = (uint32_t)atoi(argv[6]);
        status = be_client(argv[2]);
    } else if (!strcmp(what, "idle") && argc == 3) {
        status = be_client(argv[2]);
    } else if (!strcmp(what, "feed") && argc == 4) {
        side = argv[2];
        open_log(argv[3]);
        status = feed();
    }
    if (log_file) fclose(log_file);
    return status;
}
