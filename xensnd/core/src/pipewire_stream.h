/* What pipewire_device.c needs of a stream beside the verbs of audio_stream.h. */
#ifndef XENSND_PIPEWIRE_STREAM_H
#define XENSND_PIPEWIRE_STREAM_H

#include "audio_stream.h"
#include "pipewire_driver.h"

struct pipewire_driver *pipewire_stream_driver(struct xn_audio *audio);

/* Returns whether samples pass: the node is part of a graph that runs. */
bool pipewire_stream_is_streaming(const struct xn_audio *audio);

/* Returns the id of its node, or SPA_ID_INVALID. */
uint32_t pipewire_stream_node_id(const struct xn_audio *audio);

#endif
