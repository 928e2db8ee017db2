/* The samples of a stream in PipeWire's words. */
#ifndef XENSND_PIPEWIRE_FORMAT_H
#define XENSND_PIPEWIRE_FORMAT_H

#include "audio_stream.h"

#include <spa/param/audio/raw.h>

struct pipewire_format {
    struct spa_audio_info_raw info;
    uint32_t frame_octets;
    uint8_t silence_octet;
};

/* Returns false if PipeWire has no such format. */
bool pipewire_format_of(const struct xn_audio_config *config, struct pipewire_format *format);

#endif
