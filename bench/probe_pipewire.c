/* An application of PipeWire by its own protocol, which plays as `probe play` does: see probe.c.
 *
 *   probe_pipewire SERVER SINK LATENCY_MS LOG
 *
 * It writes in PipeWire's real-time thread, at the beginning of each cycle.
 */
#include "pipewire_stream.h"

#define NUMBERS 65535

static uint64_t written_frames;

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

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    log_file = fopen(argv[4], "wb");
    if (!log_file) return 1;
    pw_init(NULL, NULL);
    struct pw_properties *properties = pw_properties_new(
        PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY, "Playback", PW_KEY_REMOTE_NAME, argv[1],
        "target.object", argv[2], NULL);
    pw_properties_setf(properties, PW_KEY_NODE_LATENCY, "%d/%d", atoi(argv[3]) * RATE_HZ / 1000,
                       RATE_HZ);
    return run_stream("probe", PW_DIRECTION_OUTPUT, properties, on_process);
}
