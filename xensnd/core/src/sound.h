/* What streams of every front have: a stream at the audio server, and a gate; and what Python asks of
 * these two.
 */
#ifndef XENSND_SOUND_H
#define XENSND_SOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "audio_stream.h"
#include "gate.h"

struct xn_engine;

struct xn_sound {
    struct xn_engine *engine;
    struct xn_audio *audio;         /* NULL: not connected; changed under the engine's lock */
    struct xn_gate own_gate, *gate; /* shared with the process that decides */
};

/* `gate` may be NULL: in private memory. Closes it. */
void xn_sound_init(struct xn_sound *sound, struct xn_engine *engine, struct xn_gate *gate);

/* Capture: microphone data is copied into the guest's memory until `until_usec` (monotonic;
 * INT64_MAX: until the gate is closed). At other times the guest gets silence. Neither function waits
 * for the engine. After xn_sound_close_gate() returns, no data passes. */
void xn_sound_open_gate(struct xn_sound *sound, int64_t until_usec);
void xn_sound_close_gate(struct xn_sound *sound);

/* Returns whether the stream at the server has failed; if so, *error is the reason. */
bool xn_sound_has_failed(struct xn_sound *sound, const char **error);

/* Copies the index and the name of the source that is recorded; the name is cut to `octets`.
 * Returns false if it is not known. */
bool xn_sound_source(struct xn_sound *sound, uint32_t *index, char *name, uint32_t octets);

/* See xn_audio_admit_source() and xn_audio_admit_microphone(). */
enum xn_admission xn_sound_admit_source(struct xn_sound *sound, uint32_t index, const char *name);
enum xn_admission xn_sound_admit_microphone(struct xn_sound *sound, uint32_t index,
                                            const char *name);

/* See xn_audio_index(). UINT32_MAX if it is not connected. */
uint32_t xn_sound_index(struct xn_sound *sound);

#endif
