#include "pulse_context.h"

#include <stdlib.h>

#include "loop.h"

struct pulse_client {
    struct xn_client base;
    struct xn_loop_server server;
    pa_context *context;
    struct pulse_client_listener *listeners;
    bool was_ready;
};

#define ABANDONED_MAX 8

pa_proplist *pulse_proplist(const char *const *properties) {
    pa_proplist *list = pa_proplist_new();
    for (; *properties; properties += 2) pa_proplist_sets(list, properties[0], properties[1]);
    return list;
}

static void tell_listeners(struct pulse_client *client) {
    for (struct pulse_client_listener *l = client->listeners, *next; l; l = next) {
        next = l->next;
        l->changed(l->owner);
    }
}

/* A reply is never read late: libpulse takes the time when it reads a reply for that of the reply. */
static enum xn_loop_need need(void *owner) {
    const struct pulse_client *client = owner;
    bool is_one_fed = false;
    /* Of one that has failed that would be an error, which took the place of its own. */
    if (!PA_CONTEXT_IS_GOOD(pa_context_get_state(client->context))) return XN_LOOP_NEEDS_NOTHING;
    if (pa_context_is_pending(client->context)) return XN_LOOP_WAITS;
    for (const struct pulse_client_listener *l = client->listeners; l; l = l->next) {
        if (l->is_running && !l->is_fed) return XN_LOOP_WAITS;
        is_one_fed = is_one_fed || l->is_running;
    }
    return is_one_fed ? XN_LOOP_IS_FED : XN_LOOP_NEEDS_NOTHING;
}

static void on_state(pa_context *context, void *data) {
    struct pulse_client *client = data;
    switch (pa_context_get_state(context)) {
    case PA_CONTEXT_READY:
        client->was_ready = true;
        /* fall through */
    case PA_CONTEXT_FAILED:
    case PA_CONTEXT_TERMINATED:
        tell_listeners(client);
        xn_engine_wake_python(client->base.engine);
        break;
    default:
        break;
    }
}

struct xn_client *pulse_client_new(struct xn_engine *engine, const char *server,
                                   const char *const *properties) {
    struct pulse_client *client = calloc(1, sizeof *client);
    if (!client) return NULL;
    client->base = (struct xn_client){.server = &xn_pulse_server, .engine = engine};
    pa_proplist *list = pulse_proplist(properties);
    client->context = pa_context_new_with_proplist(xn_engine_server_api(engine), NULL, list);
    pa_proplist_free(list);
    if (!client->context) {
        free(client);
        return NULL;
    }
    client->server = (struct xn_loop_server){.need = need, .owner = client};
    xn_engine_add_server(engine, &client->server);
    pa_context_set_state_callback(client->context, on_state, client);
    /* A failure changes the context's state, which Python reads later. */
    (void)pa_context_connect(client->context, server, PA_CONTEXT_NOAUTOSPAWN, NULL);
    return &client->base;
}

void pulse_client_free(struct xn_client *base) {
    struct pulse_client *client = pulse_client_of(base);
    xn_engine_remove_server(client->base.engine, &client->server);
    pa_context_set_state_callback(client->context, NULL, NULL);
    pa_context_disconnect(client->context);
    pa_context_unref(client->context);
    free(client);
}

enum xn_client_state pulse_client_state(const struct xn_client *base) {
    const struct pulse_client *client = (const struct pulse_client *)base;
    pa_context_state_t state = pa_context_get_state(client->context);
    if (state == PA_CONTEXT_READY) return XN_CLIENT_READY;
    return PA_CONTEXT_IS_GOOD(state) ? XN_CLIENT_CONNECTING : XN_CLIENT_FAILED;
}

/* A server that has all the connections it takes accepts another one, and closes it at once. */
const char *pulse_client_error(const struct xn_client *base) {
    const struct pulse_client *client = (const struct pulse_client *)base;
    int error = pa_context_errno(client->context);
    if (!client->was_ready && error == PA_ERR_CONNECTIONTERMINATED)
        return "closes a new connection at once, as it does when it has 64 of them";
    return pa_strerror(error);
}

struct pulse_client *pulse_client_of(struct xn_client *client) {
    return (struct pulse_client *)client;
}

pa_context *pulse_client_context(const struct pulse_client *client) { return client->context; }

struct xn_engine *pulse_client_engine(const struct pulse_client *client) {
    return client->base.engine;
}

void pulse_client_listen(struct pulse_client *client, struct pulse_client_listener *listener) {
    listener->next = client->listeners;
    client->listeners = listener;
}

void pulse_client_unlisten(struct pulse_client *client, struct pulse_client_listener *listener) {
    for (struct pulse_client_listener **at = &client->listeners; *at; at = &(*at)->next) {
        if (*at != listener) continue;
        *at = listener->next;
        return;
    }
}

void pulse_client_abandoned_ended(struct pulse_client *client) { tell_listeners(client); }

bool pulse_client_is_behind(const struct pulse_client *client, uint32_t guest) {
    unsigned abandoned = 0;
    for (const struct pulse_client_listener *l = client->listeners; l; l = l->next)
        abandoned += l->is_abandoned && l->guest == guest;
    return abandoned >= ABANDONED_MAX;
}
