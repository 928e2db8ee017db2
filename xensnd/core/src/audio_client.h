/* A connection to the audio server, which mixers show as one application. In the backend it may have
 * the streams of many guests.
 */
#ifndef XENSND_AUDIO_CLIENT_H
#define XENSND_AUDIO_CLIENT_H

#include "engine.h"

struct xn_client;

enum xn_client_state { XN_CLIENT_CONNECTING, XN_CLIENT_READY, XN_CLIENT_FAILED };

/* Starts connecting; Python is woken when the state changes. `server`: as in PULSE_SERVER; or
 * "pipewire:" for PipeWire's own protocol, with the name or the path of its socket behind it or
 * not; NULL: PulseAudio's default. `properties`: key, value, key, value, ..., NULL. Returns NULL if
 * there is no memory. */
struct xn_client *xn_client_new(struct xn_engine *engine, const char *server,
                                const char *const *properties);

/* Free its streams first. */
void xn_client_free(struct xn_client *client);

enum xn_client_state xn_client_state(struct xn_client *client);

/* Returns why it failed, as the server's library describes it. */
const char *xn_client_error(struct xn_client *client);

#endif
