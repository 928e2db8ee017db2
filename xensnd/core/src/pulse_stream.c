#include "pulse_context.h"

#include <stdlib.h>
#include <string.h>

struct pulse_audio {
    struct xn_audio base;
    struct pulse_client *client;
    struct pulse_client_listener listener;
    struct xn_audio_owner owner;
    pa_stream *stream; /* NULL until the context is ready */
    pa_operation *drain;
    pa_operation *asking; /* what the source is */
    bool playback;
    bool connected; /* the stream was made, or making it has failed */
    bool orphan; /* freed by its owner, and playing the rest, or abandoned */
    int error; /* why it has failed; the context's is that of the last error of all its streams */
    bool dry; /* the server has played all that it had */
    uint32_t gaps;
    bool any_source;
    uint32_t admitted; /* the source's index; PA_INVALID_INDEX: none */
    uint32_t microphone; /* likewise: the server has described it, and it is no monitor */
    bool mixed; /* the server may have octets of a source that was not admitted */
    pa_cvolume volume; /* channels 0: as the server remembers it */
    pa_seek_mode_t seek_mode; /* where the next write goes: relative to the end of the last, */
    int64_t seek_octets;      /* or to what the server reads next */
    char *name, *device;
    pa_proplist *properties;
    pa_sample_spec spec;
    pa_channel_map map;
    pa_buffer_attr attributes;
    pa_stream_flags_t flags;
};

static void ask_no_more(struct pulse_audio *audio) {
    if (!audio->asking) return;
    pa_operation_cancel(audio->asking);
    pa_operation_unref(audio->asking);
    audio->asking = NULL;
}

static void destroy(struct pulse_audio *audio) {
    struct pulse_client *client = audio->client;
    bool was_abandoned = audio->listener.is_abandoned;
    pulse_client_unlisten(client, &audio->listener);
    ask_no_more(audio);
    if (audio->drain) {
        pa_operation_cancel(audio->drain);
        pa_operation_unref(audio->drain);
    }
    if (audio->stream) {
        pa_stream_set_state_callback(audio->stream, NULL, NULL);
        pa_stream_set_write_callback(audio->stream, NULL, NULL);
        pa_stream_set_read_callback(audio->stream, NULL, NULL);
        pa_stream_set_underflow_callback(audio->stream, NULL, NULL);
        pa_stream_set_moved_callback(audio->stream, NULL, NULL);
        pa_stream_disconnect(audio->stream);
        pa_stream_unref(audio->stream);
    }
    pa_proplist_free(audio->properties);
    free(audio->name);
    free(audio->device);
    free(audio);
    if (was_abandoned) pulse_client_abandoned_ended(client);
}

static void ignore(pa_operation *operation) {
    if (operation) pa_operation_unref(operation);
}

static void set_corked(struct pulse_audio *audio, bool corked) {
    ignore(pa_stream_cork(audio->stream, corked, NULL, NULL));
}

static void tell_owner(struct pulse_audio *audio, enum xn_audio_event event) {
    if (!audio->orphan) audio->owner.on_event(audio->owner.owner, event);
}

static bool is_ready(const struct pulse_audio *audio) {
    return audio->stream && pa_stream_get_state(audio->stream) == PA_STREAM_READY;
}

static uint32_t audio_writable(const struct xn_audio *base) {
    const struct pulse_audio *audio = (const struct pulse_audio *)base;
    if (!audio->playback || !is_ready(audio)) return 0;
    size_t wanted = pa_stream_writable_size(audio->stream);
    if (wanted == (size_t)-1) return 0;
    return wanted < UINT32_MAX ? (uint32_t)wanted : UINT32_MAX;
}

static void *audio_begin_write(struct xn_audio *base, uint32_t *octets) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    void *to;
    size_t room = *octets;
    if (pa_stream_begin_write(audio->stream, &to, &room) < 0 || !to) return NULL;
    if (room < *octets) *octets = (uint32_t)room;
    return to;
}

static void seek_to_end(struct pulse_audio *audio) {
    audio->seek_mode = PA_SEEK_RELATIVE;
    audio->seek_octets = 0;
}

static bool audio_commit(struct xn_audio *base, const void *from, uint32_t octets) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    if (octets == 0) {
        pa_stream_cancel_write(audio->stream);
        return true;
    }
    if (pa_stream_write(audio->stream, from, octets, NULL, audio->seek_octets, audio->seek_mode) < 0)
        return false;
    seek_to_end(audio);
    audio->gaps += audio->dry;
    audio->dry = false;
    return true;
}

/* Checked before each read: libpulse learns of a move before it gets octets of the new source. */
static bool may_be_read(const struct pulse_audio *audio) {
    if (audio->any_source) return true;
    return !audio->mixed && audio->admitted != PA_INVALID_INDEX &&
           audio->admitted == pa_stream_get_device_index(audio->stream);
}

/* How much of it is too late, the server does not say. */
static uint32_t audio_seek_back(struct xn_audio *base, uint32_t octets) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    if (audio->seek_mode == PA_SEEK_RELATIVE) audio->seek_octets -= octets;
    return 0;
}

/* Only the server knows where that is. Until it has told, the latency is not known. */
static uint32_t audio_replace_queued(struct xn_audio *base) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    const pa_buffer_attr *attributes = pa_stream_get_buffer_attr(audio->stream);
    uint32_t most = attributes ? attributes->tlength : 0, wanted = audio_writable(base);
    audio->seek_mode = PA_SEEK_RELATIVE_ON_READ;
    audio->seek_octets = 0;
    return most > wanted ? most - wanted : 0;
}

static bool audio_peek(struct xn_audio *base, const void **from, uint32_t *octets) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    size_t count;
    if (audio->playback || !is_ready(audio)) return false;
    if (pa_stream_peek(audio->stream, from, &count) < 0 || count == 0) return false;
    *octets = (uint32_t)count;
    if (!may_be_read(audio)) *from = NULL; /* silence of the same length */
    return true;
}

static void audio_drop(struct xn_audio *base) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    pa_stream_drop(audio->stream);
}

static void on_write(pa_stream *stream, size_t octets, void *data) {
    (void)stream, (void)octets;
    struct pulse_audio *audio = data;
    if (audio->listener.is_running) tell_owner(audio, XN_AUDIO_WANTS);
}

static void on_read(pa_stream *stream, size_t octets, void *data) {
    (void)stream, (void)octets;
    struct pulse_audio *audio = data;
    tell_owner(audio, XN_AUDIO_RECORDED);
}

static void on_underflow(pa_stream *stream, void *data) {
    (void)stream;
    struct pulse_audio *audio = data;
    audio->dry = audio->listener.is_running;
}

/* One of three marks says that it is a monitor. */
static bool is_monitor(const pa_source_info *info) {
    const char *ending = strrchr(info->name, '.');
    const char *class = pa_proplist_gets(info->proplist, PA_PROP_DEVICE_CLASS);
    return info->monitor_of_sink != PA_INVALID_INDEX || (ending && !strcmp(ending, ".monitor")) ||
           (class && !strcmp(class, "monitor"));
}

static void on_source(pa_context *context, const pa_source_info *info, int eol, void *data) {
    (void)context;
    struct pulse_audio *audio = data;
    if (eol) {
        pa_operation_unref(audio->asking);
        audio->asking = NULL;
    } else if (!is_monitor(info)) {
        audio->microphone = info->index;
        xn_engine_wake_python(pulse_client_engine(audio->client));
    }
}

static void ask_for_source(struct pulse_audio *audio) {
    ask_no_more(audio);
    audio->microphone = PA_INVALID_INDEX;
    uint32_t index = pa_stream_get_device_index(audio->stream);
    if (audio->any_source || index == PA_INVALID_INDEX) return;
    audio->asking = pa_context_get_source_info_by_index(pulse_client_context(audio->client), index,
                                                        on_source, audio);
}

static void on_moved(pa_stream *stream, void *data) {
    (void)stream;
    struct pulse_audio *audio = data;
    audio->mixed = audio->mixed || audio->admitted == PA_INVALID_INDEX;
    audio->admitted = PA_INVALID_INDEX;
    ask_for_source(audio);
    xn_engine_wake_python(pulse_client_engine(audio->client));
}

static void on_stream_state(pa_stream *stream, void *data) {
    struct pulse_audio *audio = data;
    pa_stream_state_t state = pa_stream_get_state(stream);
    if (audio->orphan) {
        bool is_made = audio->listener.is_abandoned && state == PA_STREAM_READY;
        if (is_made || !PA_STREAM_IS_GOOD(state)) destroy(audio);
        return;
    }
    if (state != PA_STREAM_READY && PA_STREAM_IS_GOOD(state)) return;
    if (state == PA_STREAM_FAILED) audio->error = pa_context_errno(pa_stream_get_context(stream));
    tell_owner(audio, XN_AUDIO_CHANGED);
    if (state == PA_STREAM_READY) ask_for_source(audio);
    if (state == PA_STREAM_READY && audio->listener.is_running) set_corked(audio, false);
    xn_engine_wake_python(pulse_client_engine(audio->client));
}

static bool make_stream(struct pulse_audio *audio) {
    audio->stream = pa_stream_new_with_proplist(pulse_client_context(audio->client), audio->name,
                                                &audio->spec, &audio->map, audio->properties);
    if (!audio->stream) return false;
    pa_stream_set_state_callback(audio->stream, on_stream_state, audio);
    pa_stream_set_write_callback(audio->stream, on_write, audio);
    pa_stream_set_read_callback(audio->stream, on_read, audio);
    pa_stream_set_underflow_callback(audio->stream, on_underflow, audio);
    pa_stream_set_moved_callback(audio->stream, on_moved, audio);
    const pa_cvolume *volume = audio->volume.channels ? &audio->volume : NULL;
    int error = audio->playback
                    ? pa_stream_connect_playback(audio->stream, audio->device, &audio->attributes,
                                                 audio->flags, volume, NULL)
                    : pa_stream_connect_record(audio->stream, audio->device, &audio->attributes,
                                               audio->flags);
    return error == 0;
}

/* Only a context that is ready knows the server's version, without which libpulse refuses to make
 * a stream of 24 or 32 bits. */
static void connect_stream(struct pulse_audio *audio) {
    pa_context *context = pulse_client_context(audio->client);
    if (audio->connected || pa_context_get_state(context) != PA_CONTEXT_READY) return;
    /* on_client_changed() comes again */
    if (pulse_client_is_behind(audio->client, audio->listener.guest)) return;
    audio->connected = true;
    if (make_stream(audio)) return;
    audio->error = pa_context_errno(context);
    xn_engine_wake_python(pulse_client_engine(audio->client));
}

static void on_client_changed(void *owner) {
    struct pulse_audio *audio = owner;
    connect_stream(audio);
}

static void set_attributes(struct pulse_audio *audio, const struct xn_audio_config *config) {
    uint32_t latency = (uint32_t)pa_usec_to_bytes(config->latency_usec, &audio->spec);
    audio->attributes = (pa_buffer_attr){
        .maxlength = (uint32_t)-1,
        .tlength = latency,
        /* Play from the first frame on, also after an underrun, without waiting for more. */
        .prebuf = (uint32_t)pa_frame_size(&audio->spec),
        .minreq = (uint32_t)-1,
        .fragsize = (uint32_t)pa_usec_to_bytes(config->latency_usec / 2, &audio->spec),
    };
    /* Until the server plays, libpulse's time may run ahead. If it had to be monotonic, it would
     * then stand still until the true time has caught up. */
    audio->flags = PA_STREAM_START_CORKED | PA_STREAM_ADJUST_LATENCY |
                   PA_STREAM_AUTO_TIMING_UPDATE | PA_STREAM_INTERPOLATE_TIMING |
                   PA_STREAM_NOT_MONOTONIC;
    if (config->is_pinned) audio->flags |= PA_STREAM_DONT_MOVE;
    if (config->variable_rate) audio->flags |= PA_STREAM_VARIABLE_RATE;
    if (config->mute == XN_MUTE_ON) audio->flags |= PA_STREAM_START_MUTED;
    if (config->mute == XN_MUTE_OFF) audio->flags |= PA_STREAM_START_UNMUTED;
}

static void set_volume(struct pulse_audio *audio, const struct xn_audio_config *config) {
    if (!config->volume) return;
    audio->volume.channels = (uint8_t)config->channels;
    for (size_t i = 0; i < config->channels; i++) audio->volume.values[i] = config->volume[i];
}

static bool set_spec(struct pulse_audio *audio, const struct xn_audio_config *config) {
    if (config->channels == 0 || config->channels > PA_CHANNELS_MAX) return false;
    audio->spec = (pa_sample_spec){.format = pa_parse_sample_format(config->format),
                                   .rate = config->rate_hz,
                                   .channels = (uint8_t)config->channels};
    pa_channel_map_init_extend(&audio->map, (unsigned)config->channels, PA_CHANNEL_MAP_ALSA);
    return pa_sample_spec_valid(&audio->spec);
}

static struct xn_audio *audio_new(struct xn_client *client, const struct xn_audio_config *config,
                                  const struct xn_audio_owner *owner, const char **error) {
    struct pulse_audio *audio = calloc(1, sizeof *audio);
    *error = "out of memory";
    if (!audio) return NULL;
    *error = "no such sample format, rate or number of channels at the audio server";
    if (!set_spec(audio, config)) {
        free(audio);
        return NULL;
    }
    audio->base.server = &xn_pulse_server;
    audio->client = pulse_client_of(client);
    audio->owner = *owner;
    audio->playback = config->playback;
    audio->name = strdup(config->name);
    audio->device = config->device ? strdup(config->device) : NULL;
    audio->properties = pulse_proplist(config->properties);
    set_attributes(audio, config);
    set_volume(audio, config);
    audio->any_source = config->playback || config->any_source;
    audio->admitted = audio->microphone = PA_INVALID_INDEX;
    audio->listener = (struct pulse_client_listener){
        .changed = on_client_changed, .owner = audio, .guest = config->guest};
    pulse_client_listen(audio->client, &audio->listener);
    connect_stream(audio);
    return &audio->base;
}

static void on_orphan_drained(pa_stream *stream, int success, void *data) {
    (void)stream, (void)success;
    struct pulse_audio *audio = data;
    pa_operation_unref(audio->drain);
    audio->drain = NULL;
    destroy(audio);
}

static bool is_being_made(const struct pulse_audio *audio) {
    return audio->stream && pa_stream_get_state(audio->stream) == PA_STREAM_CREATING;
}

static void audio_free(struct xn_audio *base, bool drain) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    if (audio->drain) {
        pa_operation_cancel(audio->drain);
        pa_operation_unref(audio->drain);
        audio->drain = NULL;
    }
    if (drain && audio->playback && is_ready(audio) && pa_stream_is_corked(audio->stream) == 0) {
        audio->drain = pa_stream_drain(audio->stream, on_orphan_drained, audio);
        audio->orphan = audio->drain != NULL;
    }
    /* libpulse cannot disconnect a stream that the server has not made yet: it would stay there. */
    if (is_being_made(audio)) {
        audio->orphan = audio->listener.is_abandoned = true;
    }
    if (!audio->orphan) destroy(audio);
}

static bool audio_is_ready(const struct xn_audio *base) {
    return is_ready((const struct pulse_audio *)base);
}

static bool audio_has_failed(const struct xn_audio *base) {
    const struct pulse_audio *audio = (const struct pulse_audio *)base;
    return !PA_CONTEXT_IS_GOOD(pa_context_get_state(pulse_client_context(audio->client))) ||
           (audio->connected &&
            !(audio->stream && PA_STREAM_IS_GOOD(pa_stream_get_state(audio->stream))));
}

static const char *audio_error(const struct xn_audio *base) {
    const struct pulse_audio *audio = (const struct pulse_audio *)base;
    if (audio->error == PA_ERR_TOOLARGE) return "its device has all the streams that it takes";
    if (audio->error) return pa_strerror(audio->error);
    return pa_strerror(pa_context_errno(pulse_client_context(audio->client)));
}

static void on_drained(pa_stream *stream, int success, void *data) {
    (void)stream, (void)success;
    struct pulse_audio *audio = data;
    pa_operation_unref(audio->drain);
    audio->drain = NULL;
    if (!audio->listener.is_running) set_corked(audio, true);
}

static void audio_start(struct xn_audio *base) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    audio->listener.is_running = true;
    if (is_ready(audio)) set_corked(audio, false); /* else on_stream_state() will */
}

static void audio_stop(struct xn_audio *base, bool drain) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    audio->listener.is_running = audio->listener.is_fed = audio->dry = false;
    seek_to_end(audio);
    if (!is_ready(audio)) return;
    if (drain && audio->playback) {
        if (!audio->drain) audio->drain = pa_stream_drain(audio->stream, on_drained, audio);
        if (audio->drain) return;
    }
    set_corked(audio, true);
    ignore(pa_stream_flush(audio->stream, NULL, NULL));
}

/* A stream that has run dry began before, and its timing information stays valid. */
static bool has_begun(const struct pulse_audio *audio) {
    const pa_timing_info *timing = pa_stream_get_timing_info(audio->stream);
    return timing && (timing->playing || audio->dry);
}

static bool audio_latency_usec(const struct xn_audio *base, int64_t *latency_usec) {
    const struct pulse_audio *audio = (const struct pulse_audio *)base;
    pa_usec_t usec;
    int negative;
    if (!is_ready(audio)) return false;
    if (audio->playback && !has_begun(audio)) return false;
    if (pa_stream_get_latency(audio->stream, &usec, &negative) < 0) return false;
    *latency_usec = negative ? -(int64_t)usec : (int64_t)usec;
    return true;
}

static void audio_set_fed(struct xn_audio *base, bool is_fed) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    if (audio->listener.is_fed && !is_fed) xn_engine_end_rest(pulse_client_engine(audio->client));
    audio->listener.is_fed = is_fed;
}

static uint32_t audio_gaps(const struct xn_audio *base) {
    const struct pulse_audio *audio = (const struct pulse_audio *)base;
    return audio->gaps;
}

static const char *audio_source(const struct xn_audio *base, uint32_t *index) {
    const struct pulse_audio *audio = (const struct pulse_audio *)base;
    if (audio->playback || !is_ready(audio)) return NULL;
    *index = pa_stream_get_device_index(audio->stream);
    return *index == PA_INVALID_INDEX ? NULL : pa_stream_get_device_name(audio->stream);
}

static enum xn_admission audio_admit_source(struct xn_audio *base, uint32_t index,
                                            const char *name) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    uint32_t now;
    const char *name_now = audio_source(base, &now);
    if (!name_now || now != index || strcmp(name, name_now) != 0) return XN_NOT_ITS_SOURCE;
    if (audio->mixed) return XN_MIXED;
    audio->admitted = index;
    return XN_ADMITTED;
}

static enum xn_admission audio_admit_microphone(struct xn_audio *base, uint32_t index,
                                                const char *name) {
    bool is_known = ((struct pulse_audio *)base)->microphone == index;
    return is_known ? audio_admit_source(base, index, name) : XN_NOT_ITS_SOURCE;
}

static void audio_set_rate(struct xn_audio *base, uint32_t rate_hz) {
    struct pulse_audio *audio = (struct pulse_audio *)base;
    if (is_ready(audio))
        ignore(pa_stream_update_sample_rate(audio->stream, rate_hz, NULL, NULL));
}

static uint32_t audio_index(const struct xn_audio *base) {
    const struct pulse_audio *audio = (const struct pulse_audio *)base;
    return is_ready(audio) ? pa_stream_get_index(audio->stream) : UINT32_MAX;
}

const struct xn_audio_server xn_pulse_server = {
    .takes_ahead = true,
    .set_fed = audio_set_fed,
    .client_new = pulse_client_new,
    .client_free = pulse_client_free,
    .client_state = pulse_client_state,
    .client_error = pulse_client_error,
    .new = audio_new,
    .free = audio_free,
    .is_ready = audio_is_ready,
    .has_failed = audio_has_failed,
    .error = audio_error,
    .writable = audio_writable,
    .begin_write = audio_begin_write,
    .commit = audio_commit,
    .seek_back = audio_seek_back,
    .replace_queued = audio_replace_queued,
    .peek = audio_peek,
    .drop = audio_drop,
    .start = audio_start,
    .stop = audio_stop,
    .latency_usec = audio_latency_usec,
    .gaps = audio_gaps,
    .source = audio_source,
    .admit_source = audio_admit_source,
    .admit_microphone = audio_admit_microphone,
    .set_rate = audio_set_rate,
    .index = audio_index,
};
