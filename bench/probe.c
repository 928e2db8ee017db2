/* Sound whose every frame carries its own number, and ears that read the numbers back.
 *
 *   probe play SERVER SINK LATENCY_MS LOG    a bare libpulse client: writes when it is asked
 *   probe listen SERVER SOURCE LOG           records, and logs what came when
 *
 * 48 kHz stereo S16; a frame's number is its left sample (low half) and right sample (high half).
 * LOG gets records of two 64-bit words: CLOCK_MONOTONIC in ns, and the number of the last frame
 * that was written, or heard, at that time. For `listen` a second record with the time 0 follows
 * for each gap: the count of frames lost (or, negative, repeated).
 */
#include <pulse/pulseaudio.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pa_mainloop_api *api;
static FILE *log_file;
static uint32_t next_frame = 1;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void keep(int64_t time_ns, int64_t value) {
    int64_t record[2] = {time_ns, value};
    fwrite(record, sizeof record, 1, log_file);
}

static void on_write(pa_stream *stream, size_t octets, void *data) {
    (void)data;
    while (octets) {
        void *to;
        size_t room = octets;
        if (pa_stream_begin_write(stream, &to, &room) < 0) exit(1);
        if (room > octets) room = octets;
        uint32_t *frames = to;
        for (size_t i = 0; i < room / 4; i++) frames[i] = next_frame++;
        keep(now_ns(), next_frame - 1);
        pa_stream_write(stream, to, room, NULL, 0, PA_SEEK_RELATIVE);
        octets -= room;
    }
}

static void hear(const uint32_t *frames, size_t count, int64_t time_ns) {
    static uint32_t expected;
    for (size_t i = 0; i < count; i++) {
        uint32_t number = frames[i];
        if (number == 0) continue; /* silence, before, between and after */
        if (expected && number != expected) keep(0, (int64_t)number - (int64_t)expected);
        expected = number + 1;
    }
    if (expected && frames[count - 1]) keep(time_ns, frames[count - 1]);
}

static void on_read(pa_stream *stream, size_t octets, void *data) {
    (void)octets, (void)data;
    const void *from;
    size_t count;
    while (pa_stream_readable_size(stream) > 0) {
        if (pa_stream_peek(stream, &from, &count) < 0 || !count) return;
        if (from) hear(from, count / 4, now_ns());
        pa_stream_drop(stream);
    }
}

static const char *device;
static uint32_t latency_ms;

static void on_state(pa_context *context, void *data) {
    (void)data;
    pa_context_state_t state = pa_context_get_state(context);
    if (!PA_CONTEXT_IS_GOOD(state)) exit(1);
    if (state != PA_CONTEXT_READY) return;
    const pa_sample_spec spec = {.format = PA_SAMPLE_S16LE, .rate = 48000, .channels = 2};
    pa_stream *stream = pa_stream_new(context, "probe", &spec, NULL);
    pa_buffer_attr attributes;
    memset(&attributes, 0xff, sizeof attributes);
    if (latency_ms) {
        attributes.tlength = latency_ms * 48 * 4;
        pa_stream_set_write_callback(stream, on_write, NULL);
        pa_stream_connect_playback(stream, device, &attributes, PA_STREAM_ADJUST_LATENCY, NULL, NULL);
    } else {
        attributes.fragsize = 2 * 48 * 4;
        pa_stream_set_read_callback(stream, on_read, NULL);
        pa_stream_connect_record(stream, device, &attributes, PA_STREAM_ADJUST_LATENCY);
    }
}

static void on_signal(pa_mainloop_api *a, pa_signal_event *event, int signum, void *data) {
    (void)event, (void)signum, (void)data;
    a->quit(a, 0);
}

int main(int argc, char **argv) {
    int playing = argc == 6 && !strcmp(argv[1], "play");
    if (!playing && !(argc == 5 && !strcmp(argv[1], "listen"))) return 2;
    device = argv[3];
    latency_ms = playing ? (uint32_t)atoi(argv[4]) : 0;
    log_file = fopen(argv[argc - 1], "wb");
    if (!log_file) return 1;
    pa_mainloop *mainloop = pa_mainloop_new();
    api = pa_mainloop_get_api(mainloop);
    pa_signal_init(api);
    pa_signal_new(SIGTERM, on_signal, NULL);
    pa_context *context = pa_context_new(api, "probe");
    pa_context_set_state_callback(context, on_state, NULL);
    if (pa_context_connect(context, argv[2], PA_CONTEXT_NOAUTOSPAWN, NULL) < 0) return 1;
    int status = 0;
    pa_mainloop_run(mainloop, &status);
    fclose(log_file);
    return status;
}
