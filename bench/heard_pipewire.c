/* heard_pipewire SERVER SINK LOG: heard.c by PipeWire's own protocol. Records what the sink plays, and
 * logs when each numbered frame is audible.
 *
 * A sink that drives the graph has played the frames of a cycle when the next one begins, and only then
 * its monitor has them. So the last frame of a piece is taken for audible when the cycle begins in which
 * the piece comes. That is so for a sink without a delay of its own.
 */
#include <pipewire/pipewire.h>
#include <spa/param/audio/format-utils.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RATE_HZ 48000
#define FRAME_OCTETS 4
/* Longer than what plays asks for, so that it is not this one that sets the cycle. */
#define LATENCY "2048/48000"

static struct pw_stream *stream;
static FILE *log_file;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void keep(uint32_t number) {
    struct pw_time time;
    if (pw_stream_get_time_n(stream, &time, sizeof time) < 0) return;
    int64_t record[3] = {now_ns(), time.now, number};
    fwrite(record, sizeof record, 1, log_file);
}

static void on_process(void *data) {
    (void)data;
    struct pw_buffer *buffer = pw_stream_dequeue_buffer(stream);
    if (!buffer) return;
    const struct spa_data *from = &buffer->buffer->datas[0];
    uint32_t count = from->chunk->size / FRAME_OCTETS, first = from->chunk->offset / FRAME_OCTETS;
    const uint32_t *frames = from->data;
    if (frames && count && frames[first + count - 1]) keep(frames[first + count - 1]);
    pw_stream_queue_buffer(stream, buffer);
}

static const struct pw_stream_events events = {PW_VERSION_STREAM_EVENTS, .process = on_process};

static void on_signal(void *loop, int signal_number) {
    (void)signal_number;
    pw_main_loop_quit(loop);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    log_file = fopen(argv[3], "wb");
    if (!log_file) return 1;
    pw_init(NULL, NULL);
    struct pw_main_loop *loop = pw_main_loop_new(NULL);
    pw_loop_add_signal(pw_main_loop_get_loop(loop), SIGTERM, on_signal, loop);
    struct pw_properties *properties = pw_properties_new(
        PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY, "Capture", PW_KEY_REMOTE_NAME, argv[1],
        "target.object", argv[2], PW_KEY_STREAM_CAPTURE_SINK, "true", PW_KEY_NODE_LATENCY, LATENCY,
        NULL);
    stream = pw_stream_new_simple(pw_main_loop_get_loop(loop), "heard", properties, &events, NULL);
    uint8_t memory[1024];
    struct spa_pod_builder builder = SPA_POD_BUILDER_INIT(memory, sizeof memory);
    struct spa_audio_info_raw format = {
        .format = SPA_AUDIO_FORMAT_S16_LE,
        .rate = RATE_HZ,
        .channels = 2,
        .position = {SPA_AUDIO_CHANNEL_FL, SPA_AUDIO_CHANNEL_FR},
    };
    const struct spa_pod *param =
        spa_format_audio_raw_build(&builder, SPA_PARAM_EnumFormat, &format);
    if (pw_stream_connect(stream, PW_DIRECTION_INPUT, PW_ID_ANY,
                          PW_STREAM_FLAG_AUTOCONNECT | PW_STREAM_FLAG_MAP_BUFFERS |
                              PW_STREAM_FLAG_RT_PROCESS,
                          &param, 1) < 0)
        return 1;
    pw_main_loop_run(loop);
    fclose(log_file);
    return 0;
}
