/* An application of PipeWire by its own protocol, which plays as `probe play` does: see probe.c.
 *
 *   probe_pipewire SERVER SINK LATENCY_MS LOG
 *
 * It writes in PipeWire's real-time thread, at the beginning of each cycle.
 */
#include <pipewire/pipewire.h>
#include <spa/param/audio/format-utils.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RATE_HZ 48000
#define FRAME_OCTETS 4
#define NUMBERS 65535

static struct pw_stream *stream;
static FILE *log_file;
static uint64_t written_frames;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void on_process(void *data) {
    (void)data;
    struct pw_buffer *buffer = pw_stream_dequeue_buffer(stream);
    if (!buffer) return;
    struct spa_data *to = &buffer->buffer->datas[0];
    uint64_t room = to->maxsize / FRAME_OCTETS;
    uint64_t count = buffer->requested && buffer->requested < room ? buffer->requested : room;
    uint32_t *frames = to->data;
    for (uint64_t i = 0; i < count; i++)
        frames[i] = (uint32_t)(1 + (written_frames + i) % NUMBERS);
    written_frames += count;
    int64_t record[2] = {now_ns(), (int64_t)written_frames};
    fwrite(record, sizeof record, 1, log_file);
    *to->chunk = (struct spa_chunk){.size = (uint32_t)count * FRAME_OCTETS,
                                    .stride = FRAME_OCTETS};
    pw_stream_queue_buffer(stream, buffer);
}

static const struct pw_stream_events events = {PW_VERSION_STREAM_EVENTS, .process = on_process};

static void on_signal(void *loop, int signal_number) {
    (void)signal_number;
    pw_main_loop_quit(loop);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    log_file = fopen(argv[4], "wb");
    if (!log_file) return 1;
    pw_init(NULL, NULL);
    struct pw_main_loop *loop = pw_main_loop_new(NULL);
    pw_loop_add_signal(pw_main_loop_get_loop(loop), SIGTERM, on_signal, loop);
    struct pw_properties *properties = pw_properties_new(
        PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY, "Playback", PW_KEY_REMOTE_NAME, argv[1],
        "target.object", argv[2], NULL);
    pw_properties_setf(properties, PW_KEY_NODE_LATENCY, "%d/%d", atoi(argv[3]) * RATE_HZ / 1000,
                       RATE_HZ);
    stream = pw_stream_new_simple(pw_main_loop_get_loop(loop), "probe", properties, &events, NULL);
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
    if (pw_stream_connect(stream, PW_DIRECTION_OUTPUT, PW_ID_ANY,
                          PW_STREAM_FLAG_AUTOCONNECT | PW_STREAM_FLAG_MAP_BUFFERS |
                              PW_STREAM_FLAG_RT_PROCESS,
                          &param, 1) < 0)
        return 1;
    pw_main_loop_run(loop);
    pw_stream_destroy(stream);
    fclose(log_file);
    return 0;
}
