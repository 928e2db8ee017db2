#include "volume.h"

#include <math.h>
#include <string.h>

/* What the wire says for silence, -200 dB: PulseAudio's own is minus infinity. */
#define SILENCE_MILLI_DB (-200000)

void xn_volume_init(struct xn_volume *volume, struct xn_client *client, bool playback,
                    uint8_t channels) {
    memset(volume, 0, sizeof *volume);
    volume->client = client;
    volume->playback = playback;
    volume->index = UINT32_MAX;
    volume->channels = channels;
    volume->cap = PA_VOLUME_INVALID;
}

static void forget_query(struct xn_volume *volume) {
    if (!volume->query) return;
    pa_operation_cancel(volume->query);
    pa_operation_unref(volume->query);
    volume->query = NULL;
}

void xn_volume_done(struct xn_volume *volume) { forget_query(volume); }

static void ignore(pa_operation *operation) {
    if (operation) pa_operation_unref(operation);
}

static void apply_volume(struct xn_volume *volume) {
    pa_context *context = xn_client_context(volume->client);
    if (volume->index == UINT32_MAX || volume->wanted.channels == 0) return;
    if (volume->playback)
        ignore(pa_context_set_sink_input_volume(context, volume->index, &volume->wanted, NULL,
                                                NULL));
    else
        ignore(pa_context_set_source_output_volume(context, volume->index, &volume->wanted, NULL,
                                                   NULL));
}

/* A mute of the desktop's stays as long as nobody says anything of it here. */
static void apply_mute(struct xn_volume *volume) {
    pa_context *context = xn_client_context(volume->client);
    if (volume->index == UINT32_MAX || !volume->mute_is_wanted) return;
    if (volume->playback)
        ignore(pa_context_set_sink_input_mute(context, volume->index, volume->wanted_mute, NULL,
                                              NULL));
    else
        ignore(pa_context_set_source_output_mute(context, volume->index, volume->wanted_mute, NULL,
                                                 NULL));
}

static bool is_capped(const struct xn_volume *volume) { return volume->cap != PA_VOLUME_INVALID; }

/* Nothing above the cap, whoever wanted it: the mixer tells, and it is brought back. */
static void learn(struct xn_volume *volume, const pa_cvolume *mixers, bool muted) {
    if (muted != volume->actual_mute || !pa_cvolume_equal(&volume->actual, mixers))
        xn_engine_wake_python(xn_client_engine(volume->client));
    volume->actual = *mixers;
    volume->actual_mute = muted;
    if (!is_capped(volume) || pa_cvolume_max(&volume->actual) <= volume->cap) return;
    for (uint8_t i = 0; i < volume->actual.channels; i++)
        if (volume->actual.values[i] > volume->cap) volume->actual.values[i] = volume->cap;
    volume->wanted = volume->actual;
    apply_volume(volume);
}

static void on_sink_input(pa_context *context, const pa_sink_input_info *info, int end,
                          void *data) {
    (void)context;
    struct xn_volume *volume = data;
    if (end == 0 && info->has_volume) learn(volume, &info->volume, info->mute);
}

static void on_source_output(pa_context *context, const pa_source_output_info *info, int end,
                             void *data) {
    (void)context;
    struct xn_volume *volume = data;
    if (end == 0 && info->has_volume) learn(volume, &info->volume, info->mute);
}

static void ask(struct xn_volume *volume) {
    pa_context *context = xn_client_context(volume->client);
    forget_query(volume);
    if (volume->playback)
        volume->query =
            pa_context_get_sink_input_info(context, volume->index, on_sink_input, volume);
    else
        volume->query =
            pa_context_get_source_output_info(context, volume->index, on_source_output, volume);
}

void xn_volume_ready(struct xn_volume *volume, uint32_t index) {
    volume->index = index;
    apply_volume(volume);
    apply_mute(volume);
    ask(volume);
}

void xn_volume_changed(struct xn_volume *volume, uint32_t index) {
    if (volume->index == index) ask(volume);
}

void xn_volume_set(struct xn_volume *volume, const int32_t *milli_db, const uint8_t *muted) {
    bool all_muted = true, any_muted = false;
    pa_cvolume_init(&volume->wanted);
    volume->wanted.channels = volume->channels;
    for (uint8_t i = 0; i < volume->channels; i++) {
        pa_volume_t loud = pa_sw_volume_from_dB(milli_db[i] / 1000.0);
        if (loud > PA_VOLUME_NORM) loud = PA_VOLUME_NORM;
        if (is_capped(volume) && loud > volume->cap) loud = volume->cap;
        volume->wanted.values[i] = loud;
        all_muted = all_muted && muted[i];
        any_muted = any_muted || muted[i];
    }
    if (any_muted && !all_muted)
        for (uint8_t i = 0; i < volume->channels; i++)
            if (muted[i]) volume->wanted.values[i] = PA_VOLUME_MUTED;
    volume->mute_is_wanted = volume->mute_is_wanted || any_muted;
    volume->wanted_mute = all_muted;
    volume->actual = volume->wanted;
    apply_volume(volume);
    apply_mute(volume);
}

void xn_volume_set_mute(struct xn_volume *volume, bool muted) {
    volume->mute_is_wanted = true;
    volume->wanted_mute = muted;
    apply_mute(volume);
}

void xn_volume_set_cap(struct xn_volume *volume, uint32_t percent) {
    volume->cap = percent ? PA_VOLUME_NORM * percent / 100 : PA_VOLUME_INVALID;
    if (volume->wanted.channels) {
        pa_cvolume wanted = volume->wanted;
        learn(volume, &wanted, volume->actual_mute);
    }
    if (volume->index != UINT32_MAX) ask(volume);
}

bool xn_volume_is_muted(const struct xn_volume *volume) { return volume->actual_mute; }

bool xn_volume_get(const struct xn_volume *volume, int32_t *milli_db) {
    if (volume->actual.channels != volume->channels) return false;
    for (uint8_t i = 0; i < volume->channels; i++) {
        double decibels = pa_sw_volume_to_dB(volume->actual.values[i]);
        milli_db[i] = isinf(decibels) || decibels < SILENCE_MILLI_DB / 1000.0
                          ? SILENCE_MILLI_DB
                          : (int32_t)lround(decibels * 1000.0);
    }
    return true;
}
