/* heard SERVER SOURCE LOG: records a monitor, and logs when each numbered frame is audible.
 *
 * 48 kHz stereo S16; a frame's number is its left sample (low half) and right sample (high half),
 * and 0 is silence. LOG gets records of three 64-bit words: CLOCK_MONOTONIC in ns when a piece
 * arrived; the same when its last frame is audible, as the server says; and that frame's number.
 */
#include <pulse/pulseaudio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAGMENT_OCTETS (2 * 48 * 4)

static const char *source;
static FILE *log_file;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void keep(pa_stream *stream, uint32_t number) {
    pa_usec_t usec;
    int negative;
    int64_t arrived_ns = now_ns();
    /* The age of the frame that comes next. Of a monitor it is negative: the sink renders ahead. */
    if (pa_stream_get_latency(stream, &usec, &negative) < 0) return;
    int64_t age_ns = (int64_t)usec * (negative ? -1000 : 1000);
    int64_t record[3] = {arrived_ns, arrived_ns - age_ns, number};
    fwrite(record, sizeof record, 1, log_file);
}

static void on_read(pa_stream *stream, size_t octets, void *data) {
    (void)octets, (void)data;
    while (pa_stream_readable_size(stream) > 0) {
        const void *from;
        size_t count;
        uint32_t number = 0;
        if (pa_stream_peek(stream, &from, &count) < 0 || !count) return;
        if (from) number = ((const uint32_t *)from)[count / 4 - 1];
        pa_stream_drop(stream);
        if (number) keep(stream, number);
    }
}

static void on_state(pa_context *context, void *data) {
    (void)data;
    pa_context_state_t state = pa_context_get_state(context);
    if (!PA_CONTEXT_IS_GOOD(state)) exit(1);
    if (state != PA_CONTEXT_READY) return;
    const pa_sample_spec spec = {.format = PA_SAMPLE_S16LE, .rate = 48000, .channels = 2};
    pa_stream *stream = pa_stream_new(context, "heard", &spec, NULL);
    pa_buffer_attr attributes;
    memset(&attributes, 0xff, sizeof attributes);
    attributes.fragsize = FRAGMENT_OCTETS;
    pa_stream_set_read_callback(stream, on_read, NULL);
    pa_stream_connect_record(stream, source, &attributes,
                             PA_STREAM_ADJUST_LATENCY | PA_STREAM_AUTO_TIMING_UPDATE |
                                 PA_STREAM_INTERPOLATE_TIMING | PA_STREAM_NOT_MONOTONIC);
}

static void on_signal(pa_mainloop_api *api, pa_signal_event *event, int signum, void *data) {
    (void)event, (void)signum, (void)data;
    api->quit(api, 0);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    source = argv[2];
    log_file = fopen(argv[3], "wb");
    if (!log_file) return 1;
    pa_mainloop *mainloop = pa_mainloop_new();
    pa_mainloop_api *api = pa_mainloop_get_api(mainloop);
    pa_signal_init(api);
    pa_signal_new(SIGTERM, on_signal, NULL);
    pa_context *context = pa_context_new(api, "heard");
    pa_context_set_state_callback(context, on_state, NULL);
    if (pa_context_connect(context, argv[1], PA_CONTEXT_NOAUTOSPAWN, NULL) < 0) return 1;
    int status = 0;
    pa_mainloop_run(mainloop, &status);
    fclose(log_file);
    return status;
}
