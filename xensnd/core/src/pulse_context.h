/* A connection to the audio server (pa_context), which mixers show as one application. In the
 * backend it may have the streams of many guests.
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

/* One for each stream. `changed` is called, under the engine's lock, when the client becomes ready
 * or fails, or a guest may be behind no more. */
struct xn_client_listener {
    struct xn_client_listener *next;
    void (*changed)(void *owner);
    void *owner;
    uint32_t guest;
    bool is_abandoned;
};
void xn_client_listen(struct xn_client *client, struct xn_client_listener *listener);
void xn_client_unlisten(struct xn_client *client, struct xn_client_listener *listener);

/* A stream is abandoned if it was freed before the server had made it; it is ended when the server
 * has. A guest with too many of them is behind: the client asks for no other stream of it until one
 * has ended. So a guest that opens and closes endlessly leaves no more than these at a server that
 * is slow, and the client's other guests do not wait. */
void xn_client_abandoned_ended(struct xn_client *client);
bool xn_client_is_behind(const struct xn_client *client, uint32_t guest);

pa_proplist *xn_proplist(const char *const *properties);

#endif
