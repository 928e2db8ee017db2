#include "pulse_context.h"

#include <stdlib.h>

struct xn_client {
    struct xn_engine *engine;
    pa_context *context;
    struct xn_client_listener *listeners;
    unsigned abandoned;
};

#define ABANDONED_MAX 8

pa_proplist *xn_proplist(const char *const *properties) {
    pa_proplist *list = pa_proplist_new();
    for (; *properties; properties += 2) pa_proplist_sets(list, properties[0], properties[1]);
    return list;
}

static void tell_listeners(struct xn_client *client) {
    for (struct xn_client_listener *l = client->listeners, *next; l; l = next) {
        next = l->next;
        l->changed(l->owner);
    }
}

static void on_state(pa_context *context, void *data) {
    struct xn_client *client = data;
    switch (pa_context_get_state(context)) {
    case PA_CONTEXT_READY:
    case PA_CONTEXT_FAILED:
    case PA_CONTEXT_TERMINATED:
        tell_listeners(client);
        xn_engine_wake_python(client->engine);
        break;
    default:
        break;
    }
}

struct xn_client *xn_client_new(struct xn_engine *engine, const char *server,
                                const char *const *properties) {
    struct xn_client *client = calloc(1, sizeof *client);
    if (!client) return NULL;
    client->engine = engine;
    xn_engine_lock(engine);
    pa_proplist *list = xn_proplist(properties);
    client->context = pa_context_new_with_proplist(xn_engine_api(engine), NULL, list);
    pa_proplist_free(list);
    if (client->context) {
        pa_context_set_state_callback(client->context, on_state, client);
        /* A failure changes the context's state, which Python reads later. */
        (void)pa_context_connect(client->context, server, PA_CONTEXT_NOAUTOSPAWN, NULL);
    }
    xn_engine_unlock(engine);
    if (client->context) return client;
    free(client);
    return NULL;
}

void xn_client_free(struct xn_client *client) {
    xn_engine_lock(client->engine);
    pa_context_set_state_callback(client->context, NULL, NULL);
    pa_context_disconnect(client->context);
    pa_context_unref(client->context);
    xn_engine_unlock(client->engine);
    free(client);
}

enum xn_client_state xn_client_state(struct xn_client *client) {
    xn_engine_lock(client->engine);
    pa_context_state_t state = pa_context_get_state(client->context);
    xn_engine_unlock(client->engine);
    if (state == PA_CONTEXT_READY) return XN_CLIENT_READY;
    return PA_CONTEXT_IS_GOOD(state) ? XN_CLIENT_CONNECTING : XN_CLIENT_FAILED;
}

const char *xn_client_error(struct xn_client *client) {
    xn_engine_lock(client->engine);
    const char *text = pa_strerror(pa_context_errno(client->context));
    xn_engine_unlock(client->engine);
    return text;
}

pa_context *xn_client_context(struct xn_client *client) { return client->context; }
struct xn_engine *xn_client_engine(struct xn_client *client) { return client->engine; }

void xn_client_listen(struct xn_client *client, struct xn_client_listener *listener) {
    listener->next = client->listeners;
    client->listeners = listener;
}

void xn_client_unlisten(struct xn_client *client, struct xn_client_listener *listener) {
    for (struct xn_client_listener **at = &client->listeners; *at; at = &(*at)->next) {
        if (*at != listener) continue;
        *at = listener->next;
        return;
    }
}

void xn_client_abandoned(struct xn_client *client) { client->abandoned++; }

void xn_client_abandoned_ended(struct xn_client *client) {
    client->abandoned--;
    tell_listeners(client);
}

bool xn_client_is_behind(const struct xn_client *client) {
    return client->abandoned >= ABANDONED_MAX;
}
