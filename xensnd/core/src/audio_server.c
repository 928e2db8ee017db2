#include "audio_server.h"

#include <string.h>

#define PIPEWIRE "pipewire:"

static struct xn_client *new_client(struct xn_engine *engine, const char *server,
                                    const char *const *properties) {
    if (server && strncmp(server, PIPEWIRE, strlen(PIPEWIRE)) == 0)
        return xn_pipewire_server.client_new(engine, server + strlen(PIPEWIRE), properties);
    return xn_pulse_server.client_new(engine, server, properties);
}

struct xn_client *xn_client_new(struct xn_engine *engine, const char *server,
                                const char *const *properties) {
    xn_engine_lock(engine);
    struct xn_client *client = new_client(engine, server, properties);
    xn_engine_unlock(engine);
    return client;
}

void xn_client_free(struct xn_client *client) {
    struct xn_engine *engine = client->engine;
    xn_engine_lock(engine);
    client->server->client_free(client);
    xn_engine_unlock(engine);
}

enum xn_client_state xn_client_state(struct xn_client *client) {
    xn_engine_lock(client->engine);
    enum xn_client_state state = client->server->client_state(client);
    xn_engine_unlock(client->engine);
    return state;
}

const char *xn_client_error(struct xn_client *client) {
    xn_engine_lock(client->engine);
    const char *text = client->server->client_error(client);
    xn_engine_unlock(client->engine);
    return text;
}

struct xn_audio *xn_audio_new(struct xn_client *client, const struct xn_audio_config *config,
                              const struct xn_audio_owner *owner, const char **error) {
    return client->server->new(client, config, owner, error);
}

void xn_audio_free(struct xn_audio *audio, bool drain) { audio->server->free(audio, drain); }

bool xn_audio_is_ready(const struct xn_audio *audio) { return audio->server->is_ready(audio); }

bool xn_audio_has_failed(const struct xn_audio *audio) { return audio->server->has_failed(audio); }

const char *xn_audio_error(const struct xn_audio *audio) { return audio->server->error(audio); }

uint32_t xn_audio_writable(const struct xn_audio *audio) { return audio->server->writable(audio); }

bool xn_audio_takes_ahead(const struct xn_audio *audio) { return audio->server->takes_ahead; }

void xn_audio_set_fed(struct xn_audio *audio, bool is_fed) {
    if (audio->server->set_fed) audio->server->set_fed(audio, is_fed);
}

void *xn_audio_begin_write(struct xn_audio *audio, uint32_t *octets) {
    return audio->server->begin_write(audio, octets);
}

bool xn_audio_commit(struct xn_audio *audio, const void *from, uint32_t octets) {
    return audio->server->commit(audio, from, octets);
}

uint32_t xn_audio_seek_back(struct xn_audio *audio, uint32_t octets) {
    return audio->server->seek_back(audio, octets);
}

uint32_t xn_audio_replace_queued(struct xn_audio *audio) {
    return audio->server->replace_queued(audio);
}

bool xn_audio_peek(struct xn_audio *audio, const void **from, uint32_t *octets) {
    return audio->server->peek(audio, from, octets);
}

void xn_audio_drop(struct xn_audio *audio) { audio->server->drop(audio); }

void xn_audio_start(struct xn_audio *audio) { audio->server->start(audio); }

void xn_audio_stop(struct xn_audio *audio, bool drain) { audio->server->stop(audio, drain); }

bool xn_audio_latency_usec(const struct xn_audio *audio, int64_t *latency_usec) {
    return audio->server->latency_usec(audio, latency_usec);
}

uint32_t xn_audio_gaps(const struct xn_audio *audio) { return audio->server->gaps(audio); }

const char *xn_audio_source(const struct xn_audio *audio, uint32_t *index) {
    return audio->server->source(audio, index);
}

enum xn_admission xn_audio_admit_source(struct xn_audio *audio, uint32_t index, const char *name) {
    return audio->server->admit_source(audio, index, name);
}

enum xn_admission xn_audio_admit_microphone(struct xn_audio *audio, uint32_t index,
                                            const char *name) {
    return audio->server->admit_microphone(audio, index, name);
}

void xn_audio_set_rate(struct xn_audio *audio, uint32_t rate_hz) {
    audio->server->set_rate(audio, rate_hz);
}

uint32_t xn_audio_index(const struct xn_audio *audio) { return audio->server->index(audio); }
