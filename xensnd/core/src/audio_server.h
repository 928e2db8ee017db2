/* What there must be for each kind of audio server: one function for each verb of audio_client.h
 * and audio_stream.h, with the same meaning. All of them are called under the engine's lock.
 */
#ifndef XENSND_AUDIO_SERVER_H
#define XENSND_AUDIO_SERVER_H

#include "audio_client.h"
#include "audio_stream.h"

struct xn_audio_server {
    struct xn_client *(*client_new)(struct xn_engine *, const char *server,
                                    const char *const *properties);
    void (*client_free)(struct xn_client *);
    enum xn_client_state (*client_state)(const struct xn_client *);
    const char *(*client_error)(const struct xn_client *);

    struct xn_audio *(*new)(struct xn_client *, const struct xn_audio_config *,
                            const struct xn_audio_owner *, const char **error);
    void (*free)(struct xn_audio *, bool drain);
    bool (*is_ready)(const struct xn_audio *);
    bool (*has_failed)(const struct xn_audio *);
    const char *(*error)(const struct xn_audio *);
    bool takes_ahead;
    void (*set_fed)(struct xn_audio *, bool is_fed); /* NULL if it takes nothing ahead */
    uint32_t (*writable)(const struct xn_audio *);
    void *(*begin_write)(struct xn_audio *, uint32_t *octets);
    bool (*commit)(struct xn_audio *, const void *from, uint32_t octets);
    uint32_t (*seek_back)(struct xn_audio *, uint32_t octets);
    uint32_t (*replace_queued)(struct xn_audio *);
    bool (*peek)(struct xn_audio *, const void **from, uint32_t *octets);
    void (*drop)(struct xn_audio *);
    void (*start)(struct xn_audio *);
    void (*stop)(struct xn_audio *, bool drain);
    bool (*latency_usec)(const struct xn_audio *, int64_t *latency_usec);
    uint32_t (*gaps)(const struct xn_audio *);
    const char *(*source)(const struct xn_audio *, uint32_t *index);
    enum xn_admission (*admit_source)(struct xn_audio *, uint32_t index, const char *name);
    enum xn_admission (*admit_microphone)(struct xn_audio *, uint32_t index, const char *name);
    void (*set_rate)(struct xn_audio *, uint32_t rate_hz);
    uint32_t (*index)(const struct xn_audio *);
};

/* The first member of each kind's client and stream. */
struct xn_client {
    const struct xn_audio_server *server;
    struct xn_engine *engine;
};

struct xn_audio {
    const struct xn_audio_server *server;
};

extern const struct xn_audio_server xn_pulse_server, xn_pipewire_server;

#endif
