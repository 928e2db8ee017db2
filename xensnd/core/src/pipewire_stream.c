#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spa/param/audio/format-utils.h>
#include <spa/param/props.h>

#include "pipewire_client.h"
#include "pipewire_cycle.h"
#include "pipewire_properties.h"
#include "pipewire_stream.h"
#include "recorded_source.h"

/* The longest cycle that PipeWire may be set to, of which twice as much fits into a queue. */
#define CYCLE_MAX_USEC 200000

/* How many frames more than usual a converter may take in a cycle. */
#define CONVERTER_FRAMES 64

/* A buffer of PipeWire's: as many frames as its longest cycle has by default. */
#define BUFFER_FRAMES 8192

struct pipewire_audio {
    struct xn_audio base;
    struct pipewire_client *client;
    struct pipewire_client_listener listener;
    struct xn_audio_owner owner;
    struct spa_hook hook;
    bool playback, is_device;
    bool connected; /* making the stream was tried */
    bool ready, failed, streaming, running, draining;
    bool orphan; /* freed by its owner, and playing the rest */
    uint32_t guest;
    uint32_t node_id, serial;
    uint32_t gaps;
    uint64_t started; /* how much the real-time thread had taken when the stream was started */
    uint32_t late_octets; /* of what is written next, so much comes too late: see seek_back() */
    struct xn_source source;
    bool any_source;
    struct pw_properties *properties; /* NULL once the stream has them */
    uint32_t latency_octets;
    float volume[PA_CHANNELS_MAX]; /* linear */
    bool sets_volume;
    enum xn_mute mute;
    char name[64], error[128];
    uint32_t peeked_octets;

    struct pipewire_driver driver; /* a device's */
    struct pipewire_cycle cycle; /* what the real-time thread knows */
};

/* ---- events ---------------------------------------------------------------------------------- */

/* In the real-time thread; all others are the engine's. */
static void on_process(void *data) {
    struct pipewire_audio *audio = data;
    if (audio->playback)
        pipewire_cycle_play(&audio->cycle);
    else
        pipewire_cycle_record(&audio->cycle);
}

static void tell_owner(struct pipewire_audio *audio, enum xn_audio_event event) {
    if (!audio->orphan) audio->owner.on_event(audio->owner.owner, event);
}

static void wake_python(const struct pipewire_audio *audio) {
    xn_engine_wake_python(((struct xn_client *)audio->client)->engine);
}

static void fail(struct pipewire_audio *audio, const char *why) {
    if (audio->failed) return;
    snprintf(audio->error, sizeof audio->error, "%s", why);
    audio->failed = true;
    audio->ready = false;
    if (audio->orphan) pipewire_hub_wake(pipewire_client_hub(audio->client));
    tell_owner(audio, XN_AUDIO_CHANGED);
    wake_python(audio);
}

static void destroy(struct pipewire_audio *audio) {
    pipewire_client_unlisten(audio->client, &audio->listener);
    if (audio->cycle.stream) {
        spa_hook_remove(&audio->hook);
        xn_pw->stream_destroy(audio->cycle.stream);
        pipewire_client_ended_stream(audio->client, audio->guest);
    }
    if (audio->properties) xn_pw->properties_free(audio->properties);
    xn_queue_free(&audio->cycle.queue);
    free(audio);
}

/* A stream is ready when the server has made its node, and has told the serial number. */
static void check_ready(struct pipewire_audio *audio) {
    if (audio->ready || audio->failed || audio->node_id == SPA_ID_INVALID) return;
    const struct pipewire_node *node = pipewire_client_node(audio->client, audio->node_id);
    if (!node) return;
    audio->serial = node->serial;
    audio->ready = true;
    tell_owner(audio, XN_AUDIO_CHANGED);
    if (audio->running) xn_pw->stream_set_active(audio->cycle.stream, true);
    wake_python(audio);
}

static void on_state_changed(void *data, enum pw_stream_state old, enum pw_stream_state state,
                             const char *error) {
    (void)old;
    struct pipewire_audio *audio = data;
    audio->streaming = state == PW_STREAM_STATE_STREAMING;
    switch (state) {
    case PW_STREAM_STATE_ERROR:
        fail(audio, error ? error : "the server refuses the stream");
        break;
    case PW_STREAM_STATE_UNCONNECTED:
        fail(audio, "the server has ended the stream");
        break;
    case PW_STREAM_STATE_PAUSED:
        audio->node_id = xn_pw->stream_get_node_id(audio->cycle.stream);
        check_ready(audio);
        break;
    default:
        break;
    }
    if (audio->orphan) pipewire_hub_wake(pipewire_client_hub(audio->client));
    if (audio->is_device && audio->ready) tell_owner(audio, XN_AUDIO_CHANGED);
}

/* A device drives the graph, or no longer does. */
static void on_io_changed(void *data, uint32_t id, void *area, uint32_t octets) {
    struct pipewire_audio *audio = data;
    pipewire_driver_set_io(&audio->driver, id, area, octets);
    if (audio->is_device && audio->ready) tell_owner(audio, XN_AUDIO_CHANGED);
}

static void set_controls(struct pipewire_audio *audio) {
    float muted = audio->mute == XN_MUTE_ON ? 1.0f : 0.0f;
    if (audio->sets_volume)
        xn_pw->stream_set_control(audio->cycle.stream, SPA_PROP_channelVolumes,
                                  audio->cycle.format.info.channels, audio->volume, 0);
    if (audio->mute != XN_MUTE_AS_REMEMBERED)
        xn_pw->stream_set_control(audio->cycle.stream, SPA_PROP_mute, 1, &muted, 0);
}

/* The format is set before the first samples pass. */
static void on_param_changed(void *data, uint32_t id, const struct spa_pod *param) {
    struct pipewire_audio *audio = data;
    if (id != SPA_PARAM_Format || !param) return;
    uint8_t memory[512];
    struct spa_pod_builder builder;
    spa_pod_builder_init(&builder, memory, sizeof memory);
    int stride = (int)audio->cycle.format.frame_octets;
    const struct spa_pod *buffers = spa_pod_builder_add_object(
        &builder, SPA_TYPE_OBJECT_ParamBuffers, SPA_PARAM_Buffers, SPA_PARAM_BUFFERS_buffers,
        SPA_POD_CHOICE_RANGE_Int(4, 2, 8), SPA_PARAM_BUFFERS_blocks, SPA_POD_Int(1),
        SPA_PARAM_BUFFERS_size,
        SPA_POD_CHOICE_RANGE_Int(BUFFER_FRAMES * stride, 16 * stride, INT32_MAX),
        SPA_PARAM_BUFFERS_stride, SPA_POD_Int(stride));
    xn_pw->stream_update_params(audio->cycle.stream, &buffers, 1);
    set_controls(audio);
}

static const struct pw_stream_events stream_events = {
    PW_VERSION_STREAM_EVENTS,
    .state_changed = on_state_changed,
    .io_changed = on_io_changed,
    .param_changed = on_param_changed,
    .process = on_process,
};

static void on_woken(void *owner) {
    struct pipewire_audio *audio = owner;
    if (audio->orphan) {
        bool client_failed =
            pipewire_client_state((struct xn_client *)audio->client) == XN_CLIENT_FAILED;
        bool is_over = pipewire_cycle_is_drained(&audio->cycle) || !audio->streaming;
        if (is_over || client_failed) destroy(audio);
        return;
    }
    if (!pipewire_cycle_take_asks(&audio->cycle)) return;
    if (audio->draining && pipewire_cycle_is_drained(&audio->cycle)) {
        audio->draining = false;
        xn_pw->stream_set_active(audio->cycle.stream, false);
    }
    if (!audio->playback)
        tell_owner(audio, XN_AUDIO_RECORDED);
    else if (audio->running)
        tell_owner(audio, XN_AUDIO_WANTS);
}

static void on_linked(void *owner, uint32_t link, uint32_t source_node, uint32_t sink_node) {
    struct pipewire_audio *audio = owner;
    if (audio->playback || sink_node != audio->node_id) return;
    const struct pipewire_node *node = pipewire_client_node(audio->client, source_node);
    uint32_t serial = node && *node->name ? node->serial : XN_UNKNOWN_SOURCE;
    if (xn_source_link(&audio->source, link, serial)) wake_python(audio);
}

static void on_removed(void *owner, uint32_t id) {
    struct pipewire_audio *audio = owner;
    if (!audio->playback && xn_source_unlink(&audio->source, id)) wake_python(audio);
}

/* ---- the verbs ------------------------------------------------------------------------------- */

static bool make_stream(struct pipewire_audio *audio) {
    uint8_t memory[1024];
    struct spa_pod_builder builder;
    spa_pod_builder_init(&builder, memory, sizeof memory);
    const struct spa_pod *format =
        spa_format_audio_raw_build(&builder, SPA_PARAM_EnumFormat, &audio->cycle.format.info);
    struct pw_properties *properties = audio->properties;
    audio->properties = NULL;
    audio->cycle.stream =
        xn_pw->stream_new(pipewire_client_core(audio->client), audio->name, properties);
    if (!audio->cycle.stream) return false;
    xn_pw->stream_add_listener(audio->cycle.stream, &audio->hook, &stream_events, audio);
    audio->driver.stream = audio->cycle.stream;
    enum pw_stream_flags flags = PW_STREAM_FLAG_MAP_BUFFERS | PW_STREAM_FLAG_RT_PROCESS;
    flags |= audio->is_device ? PW_STREAM_FLAG_DRIVER
                              : PW_STREAM_FLAG_AUTOCONNECT | PW_STREAM_FLAG_INACTIVE;
    return xn_pw->stream_connect(audio->cycle.stream,
                                 audio->playback ? PW_DIRECTION_OUTPUT : PW_DIRECTION_INPUT,
                                 PW_ID_ANY, flags, &format, 1) >= 0;
}

static void connect_stream(struct pipewire_audio *audio) {
    if (audio->connected || pipewire_client_is_behind(audio->client, audio->guest)) return;
    audio->connected = true;
    if (!make_stream(audio)) fail(audio, "no memory or file descriptors are left for a stream");
}

static void on_client_changed(void *owner) {
    struct pipewire_audio *audio = owner;
    const struct xn_client *client = (struct xn_client *)audio->client;
    if (pipewire_client_state(client) == XN_CLIENT_FAILED) {
        fail(audio, pipewire_client_error(client));
    } else {
        connect_stream(audio);
        check_ready(audio);
    }
}

static void set_volume(struct pipewire_audio *audio, const struct xn_audio_config *config) {
    audio->mute = config->mute;
    audio->sets_volume = config->volume != NULL;
    for (uint32_t i = 0; config->volume && i < config->channels; i++)
        audio->volume[i] = powf((float)config->volume[i] / (float)PA_VOLUME_NORM, 3.0f);
}

static uint32_t octets_of(const struct pipewire_audio *audio, uint64_t usec) {
    const struct pipewire_format *format = &audio->cycle.format;
    return (uint32_t)(usec * format->info.rate / 1000000u) * format->frame_octets;
}

static struct xn_audio *audio_new(struct xn_client *client, const struct xn_audio_config *config,
                                  const struct xn_audio_owner *owner, const char **error) {
    struct pipewire_audio *audio = calloc(1, sizeof *audio);
    *error = "out of memory";
    if (!audio) return NULL;
    audio->base.server = &xn_pipewire_server;
    audio->client = pipewire_client_of(client);
    audio->owner = *owner;
    audio->playback = config->playback;
    audio->is_device = config->is_device;
    audio->any_source = config->any_source;
    audio->guest = config->guest;
    audio->node_id = audio->serial = SPA_ID_INVALID;
    audio->cycle.hub = pipewire_client_hub(audio->client);
    audio->cycle.empty_cycles = PIPEWIRE_EMPTY_CYCLES;
    xn_source_init(&audio->source);
    set_volume(audio, config);
    snprintf(audio->name, sizeof audio->name, "%s", config->name);
    if (!pipewire_format_of(config, &audio->cycle.format)) {
        *error = "no such sample format, rate or number of channels at the audio server";
        free(audio);
        return NULL;
    }
    audio->latency_octets = octets_of(audio, config->latency_usec);
    uint32_t most = audio->latency_octets > octets_of(audio, CYCLE_MAX_USEC)
                        ? audio->latency_octets
                        : octets_of(audio, CYCLE_MAX_USEC);
    if (!xn_queue_init(&audio->cycle.queue, 2 * (most / audio->cycle.format.frame_octets) + 2,
                       audio->cycle.format.frame_octets)) {
        free(audio);
        return NULL;
    }
    audio->listener = (struct pipewire_client_listener){.changed = on_client_changed,
                                                        .linked = on_linked,
                                                        .removed = on_removed,
                                                        .woken = on_woken,
                                                        .owner = audio};
    pipewire_client_listen(audio->client, &audio->listener);
    if (pipewire_client_state(client) == XN_CLIENT_FAILED) {
        audio->failed = true;
        snprintf(audio->error, sizeof audio->error, "%s", pipewire_client_error(client));
        return &audio->base;
    }
    audio->properties = pipewire_properties_of(pipewire_client_core(audio->client), config);
    connect_stream(audio);
    return &audio->base;
}

static bool audio_is_ready(const struct xn_audio *base) {
    return ((const struct pipewire_audio *)base)->ready;
}

static bool audio_has_failed(const struct xn_audio *base) {
    return ((const struct pipewire_audio *)base)->failed;
}

static const char *audio_error(const struct xn_audio *base) {
    return ((const struct pipewire_audio *)base)->error;
}

/* A driver's cycle begins when its samples are in the queue. With another rate than the graph's it
 * takes a few more of them now and then. */
static uint32_t cycle_of_driver(const struct pipewire_audio *audio) {
    const struct pipewire_format *format = &audio->cycle.format;
    double usec = pipewire_driver_cycle_usec(&audio->driver);
    uint64_t frames = (uint64_t)(usec * format->info.rate / 1e6 + 0.5);
    uint32_t graph_hz = audio->driver.position->clock.rate.denom;
    if (graph_hz != format->info.rate) frames += CONVERTER_FRAMES;
    return (uint32_t)frames * format->frame_octets;
}

/* Returns how much of it is to wait in the queue. What the latency allows beside the cycle that is
 * playing; but more than the next cycle takes, whatever the latency is. */
static uint32_t wanted_fill(const struct pipewire_audio *audio) {
    if (audio->is_device && pipewire_driver_drives(&audio->driver)) return cycle_of_driver(audio);
    uint32_t cycle = pipewire_cycle_octets(&audio->cycle);
    if (cycle == 0) cycle = audio->latency_octets / 2;
    uint32_t least = cycle + cycle / 2;
    uint32_t rest = audio->latency_octets > cycle ? audio->latency_octets - cycle : 0;
    uint32_t wanted = rest > least ? rest : least;
    if (wanted > audio->cycle.queue.size) wanted = audio->cycle.queue.size;
    return wanted - wanted % audio->cycle.format.frame_octets;
}

static uint32_t audio_writable(const struct xn_audio *base) {
    const struct pipewire_audio *audio = (const struct pipewire_audio *)base;
    if (!audio->playback || !audio->ready) return 0;
    uint32_t wanted = wanted_fill(audio), fill = xn_queue_fill(&audio->cycle.queue);
    return wanted > fill ? wanted - fill : 0;
}

static void *audio_begin_write(struct xn_audio *base, uint32_t *octets) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    void *to = xn_queue_room(&audio->cycle.queue, octets);
    return *octets > 0 ? to : NULL;
}

static bool audio_commit(struct xn_audio *base, const void *from, uint32_t octets) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    uint32_t late = octets < audio->late_octets ? octets : audio->late_octets;
    if (octets == 0) return true;
    if (late > 0) {
        uint32_t room = octets;
        void *to = xn_queue_room(&audio->cycle.queue, &room);
        memmove(to, (const uint8_t *)from + late, octets - late);
        audio->late_octets -= late;
    }
    xn_queue_commit(&audio->cycle.queue, octets - late);
    if (pipewire_cycle_take_dry(&audio->cycle) && audio->running) audio->gaps++;
    return true;
}

/* What the next cycle may take is not replaced. It is written again nevertheless, and dropped. */
static uint32_t audio_seek_back(struct xn_audio *base, uint32_t octets) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    uint32_t cycle = pipewire_cycle_octets(&audio->cycle);
    uint32_t late = octets - xn_queue_take_back(&audio->cycle.queue, octets, cycle);
    audio->late_octets += late;
    return late;
}

static uint32_t audio_replace_queued(struct xn_audio *base) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    uint32_t cycle = pipewire_cycle_octets(&audio->cycle);
    audio->late_octets = 0;
    return xn_queue_take_back(&audio->cycle.queue, UINT32_MAX, cycle);
}

static bool audio_peek(struct xn_audio *base, const void **from, uint32_t *octets) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    if (audio->playback || !audio->ready) return false;
    *from = xn_queue_peek(&audio->cycle.queue, octets);
    audio->peeked_octets = *octets;
    /* Silence of the same length. A link is known before its samples come. */
    if (!audio->any_source && !xn_source_is_admitted(&audio->source)) *from = NULL;
    return *octets > 0;
}

static void audio_drop(struct xn_audio *base) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    xn_queue_drop(&audio->cycle.queue, audio->peeked_octets);
}

static void audio_start(struct xn_audio *base) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    audio->running = true;
    audio->draining = false;
    audio->started = pipewire_cycle_heard(&audio->cycle).read;
    (void)pipewire_cycle_take_dry(&audio->cycle);
    /* If it is not ready yet, check_ready() will. */
    if (audio->ready) xn_pw->stream_set_active(audio->cycle.stream, true);
}

static void audio_stop(struct xn_audio *base, bool drain) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    audio->running = false;
    audio->late_octets = 0;
    if (!audio->ready) return;
    audio->draining = drain && audio->playback && audio->streaming;
    if (audio->draining) return;
    if (audio->playback) xn_queue_take_back(&audio->cycle.queue, UINT32_MAX, 0);
    xn_pw->stream_set_active(audio->cycle.stream, false);
    xn_pw->stream_flush(audio->cycle.stream, false);
}

/* Orphans end when they have played, or with their client. */
static void audio_free(struct xn_audio *base, bool drain) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    audio->orphan = drain && audio->playback && audio->streaming;
    if (pipewire_cycle_is_drained(&audio->cycle)) audio->orphan = false;
    if (!audio->orphan) destroy(audio);
}

static bool audio_latency_usec(const struct xn_audio *base, int64_t *latency_usec) {
    const struct pipewire_audio *audio = (const struct pipewire_audio *)base;
    if (!audio->ready || !audio->playback) return false;
    struct pipewire_heard heard = pipewire_cycle_heard(&audio->cycle);
    if (heard.read <= audio->started) return false;
    uint64_t written = audio->cycle.queue.written;
    uint64_t queued = written > heard.read ? written - heard.read : 0;
    int64_t at_nsec = heard.at_nsec + pipewire_nsec_of(&audio->cycle.format, queued);
    int64_t until_usec = at_nsec / 1000 - xn_now_usec();
    *latency_usec = until_usec > 0 ? until_usec : 0;
    return true;
}

static uint32_t audio_gaps(const struct xn_audio *base) {
    return ((const struct pipewire_audio *)base)->gaps;
}

static const char *audio_source(const struct xn_audio *base, uint32_t *index) {
    const struct pipewire_audio *audio = (const struct pipewire_audio *)base;
    if (audio->playback || !audio->ready) return NULL;
    *index = xn_source_serial(&audio->source);
    return pipewire_client_source_name(audio->client, *index);
}

static enum xn_admission audio_admit_source(struct xn_audio *base, uint32_t index,
                                            const char *name) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    uint32_t now;
    const char *name_now = audio_source(base, &now);
    if (!name_now || strcmp(name, name_now) != 0) return XN_NOT_ITS_SOURCE;
    return xn_source_admit(&audio->source, index);
}

/* The registry does not tell all properties of a node. */
static enum xn_admission audio_admit_microphone(struct xn_audio *base, uint32_t index,
                                                const char *name) {
    (void)base, (void)index, (void)name;
    return XN_NOT_ITS_SOURCE;
}

static void audio_set_rate(struct xn_audio *base, uint32_t rate_hz) {
    struct pipewire_audio *audio = (struct pipewire_audio *)base;
    float rate = (float)rate_hz / (float)audio->cycle.format.info.rate;
    if (audio->ready) xn_pw->stream_set_control(audio->cycle.stream, SPA_PROP_rate, 1, &rate, 0);
}

static uint32_t audio_index(const struct xn_audio *base) {
    const struct pipewire_audio *audio = (const struct pipewire_audio *)base;
    return audio->ready ? audio->serial : UINT32_MAX;
}

struct pipewire_driver *pipewire_stream_driver(struct xn_audio *base) {
    return &((struct pipewire_audio *)base)->driver;
}

bool pipewire_stream_is_streaming(const struct xn_audio *base) {
    return ((const struct pipewire_audio *)base)->streaming;
}

uint32_t pipewire_stream_node_id(const struct xn_audio *base) {
    return ((const struct pipewire_audio *)base)->node_id;
}

const struct xn_audio_server xn_pipewire_server = {
    .client_new = pipewire_client_new,
    .client_free = pipewire_client_free,
    .client_state = pipewire_client_state,
    .client_error = pipewire_client_error,
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
