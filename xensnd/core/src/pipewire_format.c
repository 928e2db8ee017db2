#include "pipewire_format.h"

#include <spa/param/audio/format-utils.h>
#include <string.h>

static const struct {
    const char *name; /* as pa_parse_sample_format() knows it */
    enum spa_audio_format format;
    uint8_t sample_octets, silence_octet;
} formats[] = {
    {"u8", SPA_AUDIO_FORMAT_U8, 1, 0x80},
    {"s16le", SPA_AUDIO_FORMAT_S16_LE, 2, 0},
    {"s16be", SPA_AUDIO_FORMAT_S16_BE, 2, 0},
    {"s24-32le", SPA_AUDIO_FORMAT_S24_32_LE, 4, 0},
    {"s24-32be", SPA_AUDIO_FORMAT_S24_32_BE, 4, 0},
    {"s32le", SPA_AUDIO_FORMAT_S32_LE, 4, 0},
    {"s32be", SPA_AUDIO_FORMAT_S32_BE, 4, 0},
    {"float32le", SPA_AUDIO_FORMAT_F32_LE, 4, 0},
    {"float32be", SPA_AUDIO_FORMAT_F32_BE, 4, 0},
    {"ulaw", SPA_AUDIO_FORMAT_ULAW, 1, 0xff},
    {"alaw", SPA_AUDIO_FORMAT_ALAW, 1, 0xd5},
};

static const uint32_t positions[PA_CHANNEL_POSITION_MAX] = {
    [PA_CHANNEL_POSITION_MONO] = SPA_AUDIO_CHANNEL_MONO,
    [PA_CHANNEL_POSITION_FRONT_LEFT] = SPA_AUDIO_CHANNEL_FL,
    [PA_CHANNEL_POSITION_FRONT_RIGHT] = SPA_AUDIO_CHANNEL_FR,
    [PA_CHANNEL_POSITION_FRONT_CENTER] = SPA_AUDIO_CHANNEL_FC,
    [PA_CHANNEL_POSITION_REAR_LEFT] = SPA_AUDIO_CHANNEL_RL,
    [PA_CHANNEL_POSITION_REAR_RIGHT] = SPA_AUDIO_CHANNEL_RR,
    [PA_CHANNEL_POSITION_REAR_CENTER] = SPA_AUDIO_CHANNEL_RC,
    [PA_CHANNEL_POSITION_LFE] = SPA_AUDIO_CHANNEL_LFE,
    [PA_CHANNEL_POSITION_SIDE_LEFT] = SPA_AUDIO_CHANNEL_SL,
    [PA_CHANNEL_POSITION_SIDE_RIGHT] = SPA_AUDIO_CHANNEL_SR,
};

/* The order of ALSA, as pulse_stream.c has it. */
static void set_positions(struct spa_audio_info_raw *info) {
    pa_channel_map map;
    pa_channel_map_init_extend(&map, info->channels, PA_CHANNEL_MAP_ALSA);
    for (uint32_t i = 0; i < info->channels; i++) {
        info->position[i] = positions[map.map[i]];
        if (!info->position[i]) info->position[i] = SPA_AUDIO_CHANNEL_AUX0 + i;
    }
}

bool pipewire_format_of(const struct xn_audio_config *config, struct pipewire_format *format) {
    *format = (struct pipewire_format){0};
    if (config->channels == 0 || config->channels > PA_CHANNELS_MAX || config->rate_hz == 0)
        return false;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, config->format) != 0) continue;
        format->info.format = formats[i].format;
        format->frame_octets = config->channels * formats[i].sample_octets;
        format->silence_octet = formats[i].silence_octet;
    }
    format->info.rate = config->rate_hz;
    format->info.channels = config->channels;
    set_positions(&format->info);
    return format->frame_octets > 0;
}
