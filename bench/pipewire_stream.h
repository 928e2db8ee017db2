/* What the bench's programs have in common that use PipeWire's own protocol: a stream of numbered
 * frames, as 16 bit stereo at 48 kHz, until SIGTERM. Each includes this once. */
#pragma once

#include <pipewire/pipewire.h>
#include <spa/param/audio/format-utils.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RATE_HZ 48000
#define FRAME_OCTETS 4

static struct pw_stream *stream;
static FILE *log_file;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void on_signal(void *loop, int signal_number) {
    (void)signal_number;
    pw_main_loop_quit(loop);
}

/* Connects the stream and calls `process` once a cycle, in PipeWire's real-time thread. Takes the
 * properties. Returns the program's exit status. */
static int run_stream(const char *name, enum pw_direction direction, struct pw_properties *properties,
                      void (*process)(void *)) {
    const struct pw_stream_events events = {PW_VERSION_STREAM_EVENTS, .process = process};
    struct pw_main_loop *loop = pw_main_loop_new(NULL);
    pw_loop_add_signal(pw_main_loop_get_loop(loop), SIGTERM, on_signal, loop);
    stream = pw_stream_new_simple(pw_main_loop_get_loop(loop), name, properties, &events, NULL);
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
    if (pw_stream_connect(stream, direction, PW_ID_ANY,
                          PW_STREAM_FLAG_AUTOCONNECT | PW_STREAM_FLAG_MAP_BUFFERS |
                              PW_STREAM_FLAG_RT_PROCESS,
                          &param, 1) < 0)
        return 1;
    pw_main_loop_run(loop);
    pw_stream_destroy(stream);
    fclose(log_file);
    return 0;
}
