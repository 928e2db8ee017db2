#include "sound.h"

#include <stdio.h>

#include "engine.h"

void xn_sound_init(struct xn_sound *sound, struct xn_engine *engine, struct xn_gate *gate) {
    sound->engine = engine;
    sound->gate = gate ? gate : &sound->own_gate;
    xn_gate_close(sound->gate);
}

void xn_sound_open_gate(struct xn_sound *sound, int64_t until_usec) {
    xn_gate_open(sound->gate, until_usec);
}

void xn_sound_close_gate(struct xn_sound *sound) { xn_gate_close(sound->gate); }

bool xn_sound_has_failed(struct xn_sound *sound, const char **error) {
    xn_engine_lock(sound->engine);
    bool failed = sound->audio && xn_audio_has_failed(sound->audio);
    if (failed) *error = xn_audio_error(sound->audio);
    xn_engine_unlock(sound->engine);
    return failed;
}

bool xn_sound_source(struct xn_sound *sound, uint32_t *index, char *name, uint32_t octets) {
    xn_engine_lock(sound->engine);
    const char *known = sound->audio ? xn_audio_source(sound->audio, index) : NULL;
    if (known) snprintf(name, octets, "%s", known);
    xn_engine_unlock(sound->engine);
    return known != NULL;
}

enum xn_admission xn_sound_admit_source(struct xn_sound *sound, uint32_t index, const char *name) {
    enum xn_admission admission = XN_NOT_ITS_SOURCE;
    xn_engine_lock(sound->engine);
    if (sound->audio) admission = xn_audio_admit_source(sound->audio, index, name);
    xn_engine_unlock(sound->engine);
    return admission;
}

enum xn_admission xn_sound_admit_microphone(struct xn_sound *sound, uint32_t index,
                                            const char *name) {
    enum xn_admission admission = XN_NOT_ITS_SOURCE;
    xn_engine_lock(sound->engine);
    if (sound->audio) admission = xn_audio_admit_microphone(sound->audio, index, name);
    xn_engine_unlock(sound->engine);
    return admission;
}

uint32_t xn_sound_index(struct xn_sound *sound) {
    xn_engine_lock(sound->engine);
    uint32_t index = sound->audio ? xn_audio_index(sound->audio) : UINT32_MAX;
    xn_engine_unlock(sound->engine);
    return index;
}
