/* What a stream asks of PipeWire in its properties: who it is, its latency, and its device.
 */
#ifndef XENSND_PIPEWIRE_PROPERTIES_H
#define XENSND_PIPEWIRE_PROPERTIES_H

#include <pipewire/pipewire.h>

#include "audio_stream.h"

/* Returns them for a stream on this connection, whose application it is; NULL: there is no memory.
 * The stream owns them once it is made. */
struct pw_properties *pipewire_properties_of(struct pw_core *core,
                                             const struct xn_audio_config *config);

#endif
