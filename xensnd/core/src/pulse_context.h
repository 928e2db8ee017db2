/* A connection to the audio server (pa_context), which mixers show as one application. The backend
 * makes one for each guest, so that each guest has its own name and icon there.
 */
#ifndef XENSND_PULSE_CONTEXT_H
#define XENSND_PULSE_CONTEXT_H

#include "engine.h"

struct xn_client;

enum xn_client_state { XN_CLIENT_CONNECTING, XN_CLIENT_READY, XN_CLIENT_FAILED };

/* Starts connecting; Python is woken when the state changes. `server`: as in PULSE_SERVER; NULL:
 * the default. `properties`: key, value, key, value, ..., NULL. Returns NULL if there is no
 * memory. */
struct xn_client *xn_client_new(struct xn_engine *engine, const char *server,
                                const char *const *properties);

/* Free its streams first. */
void xn_client_free(struct xn_client *client);

enum xn_client_state xn_client_state(struct xn_client *client);

/* Returns why it failed, as libpulse describes it. */
const char *xn_client_error(struct xn_client *client);

pa_context *xn_client_context(struct xn_client *client);
struct xn_engine *xn_client_engine(struct xn_client *client);

/* `changed` is called, under the engine's lock, when the client becomes ready or fails. */
struct xn_client_listener {
    struct xn_client_listener *next;
    void (*changed)(void *owner);
    void *owner;
};
void xn_client_listen(struct xn_client *client, struct xn_client_listener *listener);
void xn_client_unlisten(struct xn_client *client, struct xn_client_listener *listener);

pa_proplist *xn_proplist(const char *const *properties);

#endif
