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

/* `changed` is called, under the engine's lock, when the client becomes ready or fails, or is
 * behind no more. */
struct xn_client_listener {
    struct xn_client_listener *next;
    void (*changed)(void *owner);
    void *owner;
};
void xn_client_listen(struct xn_client *client, struct xn_client_listener *listener);
void xn_client_unlisten(struct xn_client *client, struct xn_client_listener *listener);

/* Streams that were freed before the server had made them, and that are ended when it has. A client
 * that waits for too many of them is behind: it asks for no other stream until one has ended, so a
 * guest that opens and closes endlessly leaves no more than these at a server that is slow. */
void xn_client_abandoned(struct xn_client *client);
void xn_client_abandoned_ended(struct xn_client *client);
bool xn_client_is_behind(const struct xn_client *client);

pa_proplist *xn_proplist(const char *const *properties);

#endif
