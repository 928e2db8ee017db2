/* PulseAudio, also that of PipeWire: the client is a pa_context. */
#ifndef XENSND_PULSE_CONTEXT_H
#define XENSND_PULSE_CONTEXT_H

#include "audio_server.h"

struct pulse_client;

struct pulse_client *pulse_client_of(struct xn_client *client);
pa_context *pulse_client_context(const struct pulse_client *client);
struct xn_engine *pulse_client_engine(const struct pulse_client *client);

/* One for each stream. `changed` is called, under the engine's lock, when the client becomes ready
 * or fails, or a guest may be behind no more. */
struct pulse_client_listener {
    struct pulse_client_listener *next;
    void (*changed)(void *owner);
    void *owner;
    uint32_t guest;
    bool is_abandoned;
    bool is_running; /* its owner has started it */
    bool is_fed;     /* see xn_audio_set_fed() */
};
void pulse_client_listen(struct pulse_client *client, struct pulse_client_listener *listener);
void pulse_client_unlisten(struct pulse_client *client, struct pulse_client_listener *listener);

/* A stream is abandoned if it was freed before the server had made it; it is ended when the server
 * has. A guest with too many of them is behind: the client asks for no other stream of it until one
 * has ended. So a guest that opens and closes endlessly leaves no more than these at a server that
 * is slow, and the client's other guests do not wait. */
void pulse_client_abandoned_ended(struct pulse_client *client);
bool pulse_client_is_behind(const struct pulse_client *client, uint32_t guest);

pa_proplist *pulse_proplist(const char *const *properties);

/* The verbs of xn_pulse_server. */

struct xn_client *pulse_client_new(struct xn_engine *engine, const char *server,
                                   const char *const *properties);
void pulse_client_free(struct xn_client *client);
enum xn_client_state pulse_client_state(const struct xn_client *client);
const char *pulse_client_error(const struct xn_client *client);

#endif
