/* heard_pipewire SERVER SINK LOG: heard.c by PipeWire's own protocol. Records what the sink plays, and
 * logs when each numbered frame is audible.
 *
 * A sink that drives the graph has played the frames of a cycle when the next one begins, and only then
 * its monitor has them. So the last frame of a piece is taken for audible when the cycle begins in which
 * the piece comes. That is so for a sink without a delay of its own.
 */
#include "pipewire_stream.h"

/* Longer than what plays asks for, so that it is not this one that sets the cycle. */
#define LATENCY "2048/48000"

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

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    log_file = fopen(argv[3], "wb");
    if (!log_file) return 1;
    pw_init(NULL, NULL);
    struct pw_properties *properties = pw_properties_new(
        PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY, "Capture", PW_KEY_REMOTE_NAME, argv[1],
        "target.object", argv[2], PW_KEY_STREAM_CAPTURE_SINK, "true", PW_KEY_NODE_LATENCY, LATENCY,
        NULL);
    return run_stream("heard", PW_DIRECTION_INPUT, properties, on_process);
}
