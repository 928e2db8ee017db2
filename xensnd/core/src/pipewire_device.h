/* A sink or a source of the guest's PipeWire: a node of its own in the graph, and its driver. There
 * it stays while the card behind it comes and goes.
 *
 * With a user, which is a stream of the card, a cycle begins when the card's ring has room for its
 * samples, or has them. So the graph runs by the backend's clock, and nothing is resampled. Without
 * one the graph stands still for a moment, since a user may come, and then runs on the system's
 * clock: applications play to nobody and record silence.
 *
 * If an application connects the node with one that drives, such as a sound card of the guest's
 * own, the node follows that one; then the user has to resample.
 */
#ifndef XENSND_PIPEWIRE_DEVICE_H
#define XENSND_PIPEWIRE_DEVICE_H

#include "audio_stream.h"

struct xn_device;

struct xn_device_user {
    struct xn_audio_owner owner; /* on_event(): as that of a stream */
    /* Returns when a cycle that moves so many frames is to begin; 0: now; XN_NEVER: it is not known
     * yet, and xn_device_reconsider() will be called. */
    int64_t (*due_usec)(void *owner, uint32_t frames);
};

/* `config->playback`: a source, which applications record from; otherwise a sink. Returns NULL if
 * the server is not PipeWire or cannot have such a node; *error is the reason. */
struct xn_device *xn_device_new(struct xn_client *client, const struct xn_audio_config *config,
                                const char **error);

/* Take its user away first. */
void xn_device_free(struct xn_device *device);

/* Returns whether an application uses it; Python is woken when that changes. */
bool xn_device_is_used(struct xn_device *device);
bool xn_device_failed(struct xn_device *device, const char **error);

/* For its user, under the engine's lock. */

/* Returns the stream, whose samples the user takes or gives. */
struct xn_audio *xn_device_connect(struct xn_device *device, const struct xn_device_user *user);
void xn_device_disconnect(struct xn_device *device);

enum xn_device_state {
    XN_DEVICE_PAUSED,
    XN_DEVICE_DRIVES,  /* cycles begin when due_usec() says */
    XN_DEVICE_FOLLOWS, /* another node begins them, so the user has to resample */
};
enum xn_device_state xn_device_state(const struct xn_device *device);

/* due_usec() may say something else from now on. */
void xn_device_reconsider(struct xn_device *device);

#endif
