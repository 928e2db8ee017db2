#include "pipewire_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pipewire_client {
    struct xn_client base;
    struct pipewire_hub *hub; /* NULL: it has failed */
    struct pipewire_hub_listener woken;
    struct pw_core *core;
    struct pw_registry *registry;
    struct spa_hook core_hook, registry_hook;
    struct pipewire_node *nodes;
    struct pipewire_client_listener *listeners;
    enum xn_client_state state;
    char error[128];
    int ready_seq;
    struct ending *endings;
};

/* A stream that the server has not ended yet. */
struct ending {
    struct ending *next;
    int seq; /* of the server's answer */
    uint32_t guest;
};

#define ENDINGS_MAX 8

static void tell_changed(struct pipewire_client *client) {
    for (struct pipewire_client_listener *l = client->listeners, *next; l; l = next) {
        next = l->next;
        l->changed(l->owner);
    }
}

static void set_state(struct pipewire_client *client, enum xn_client_state state) {
    if (client->state == state) return;
    client->state = state;
    tell_changed(client);
    xn_engine_wake_python(client->base.engine);
}

static void fail(struct pipewire_client *client, const char *why) {
    if (client->state == XN_CLIENT_FAILED) return;
    snprintf(client->error, sizeof client->error, "%s", why);
    set_state(client, XN_CLIENT_FAILED);
    if (client->hub) pipewire_hub_wake(client->hub);
}

/* ---- the server's events -------------------------------------------------------------------- */

static bool take_ending(struct pipewire_client *client, int seq) {
    for (struct ending **at = &client->endings; *at; at = &(*at)->next) {
        struct ending *ending = *at;
        if (ending->seq != seq) continue;
        *at = ending->next;
        free(ending);
        return true;
    }
    return false;
}

static void on_core_done(void *data, uint32_t id, int seq) {
    struct pipewire_client *client = data;
    if (id != PW_ID_CORE || client->state == XN_CLIENT_FAILED) return;
    if (seq == client->ready_seq) set_state(client, XN_CLIENT_READY);
    if (take_ending(client, seq)) tell_changed(client);
}

static void on_core_error(void *data, uint32_t id, int seq, int result, const char *message) {
    (void)seq;
    /* A stream learns of its own errors; of the connection's there is this one. */
    if (id == PW_ID_CORE && result == -EPIPE) fail(data, "the connection was closed");
    (void)message;
}

static const struct pw_core_events core_events = {
    PW_VERSION_CORE_EVENTS,
    .done = on_core_done,
    .error = on_core_error,
};

static const char *value_of(const struct spa_dict *properties, const char *key) {
    const char *value = properties ? spa_dict_lookup(properties, key) : NULL;
    return value ? value : "";
}

static uint32_t number_of(const struct spa_dict *properties, const char *key) {
    const char *value = value_of(properties, key);
    return *value ? (uint32_t)strtoul(value, NULL, 10) : SPA_ID_INVALID;
}

static void add_node(struct pipewire_client *client, uint32_t id,
                     const struct spa_dict *properties) {
    const char *class = value_of(properties, PW_KEY_MEDIA_CLASS);
    const char *name = value_of(properties, PW_KEY_NODE_NAME);
    bool is_source = strncmp(class, "Audio/Source", strlen("Audio/Source")) == 0;
    bool is_sink = strcmp(class, "Audio/Sink") == 0;
    if (!is_source && !is_sink) name = "";
    const char *ending = is_sink ? ".monitor" : "";
    size_t octets = strlen(name) + strlen(ending) + 1;
    struct pipewire_node *node = calloc(1, sizeof *node + octets);
    if (!node) return; /* then it is no known source, and nothing of it is recorded */
    node->id = id;
    node->serial = number_of(properties, PW_KEY_OBJECT_SERIAL);
    snprintf(node->name, octets, "%s%s", name, ending);
    node->next = client->nodes;
    client->nodes = node;
    tell_changed(client);
}

static void on_global(void *data, uint32_t id, uint32_t permissions, const char *type,
                      uint32_t version, const struct spa_dict *properties) {
    (void)permissions, (void)version;
    struct pipewire_client *client = data;
    if (strcmp(type, PW_TYPE_INTERFACE_Node) == 0) add_node(client, id, properties);
    if (strcmp(type, PW_TYPE_INTERFACE_Link) != 0) return;
    uint32_t source = number_of(properties, PW_KEY_LINK_OUTPUT_NODE);
    uint32_t sink = number_of(properties, PW_KEY_LINK_INPUT_NODE);
    for (struct pipewire_client_listener *l = client->listeners, *next; l; l = next) {
        next = l->next;
        l->linked(l->owner, id, source, sink);
    }
}

static void on_global_remove(void *data, uint32_t id) {
    struct pipewire_client *client = data;
    for (struct pipewire_node **at = &client->nodes; *at; at = &(*at)->next) {
        struct pipewire_node *node = *at;
        if (node->id != id) continue;
        *at = node->next;
        free(node);
        break;
    }
    for (struct pipewire_client_listener *l = client->listeners, *next; l; l = next) {
        next = l->next;
        l->removed(l->owner, id);
    }
}

static const struct pw_registry_events registry_events = {
    PW_VERSION_REGISTRY_EVENTS,
    .global = on_global,
    .global_remove = on_global_remove,
};

static void on_woken(void *owner) {
    struct pipewire_client *client = owner;
    for (struct pipewire_client_listener *l = client->listeners, *next; l; l = next) {
        next = l->next;
        l->woken(l->owner);
    }
}

/* ---- the client's life ---------------------------------------------------------------------- */

static struct pw_properties *core_properties(const char *server, const char *const *properties) {
    struct pw_properties *list = xn_pw->properties_new(NULL, NULL);
    for (; list && *properties; properties += 2)
        xn_pw->properties_set(list, properties[0], properties[1]);
    if (list && *server) xn_pw->properties_set(list, PW_KEY_REMOTE_NAME, server);
    return list;
}

static void connect(struct pipewire_client *client, const char *server,
                    const char *const *properties) {
    struct pw_context *context = pipewire_hub_context(client->hub);
    client->core = xn_pw->context_connect(context, core_properties(server, properties), 0);
    if (!client->core) {
        fail(client, strerror(errno));
        return;
    }
    pw_core_add_listener(client->core, &client->core_hook, &core_events, client);
    client->registry = pw_core_get_registry(client->core, PW_VERSION_REGISTRY, 0);
    if (!client->registry) {
        fail(client, strerror(errno));
        return;
    }
    pw_registry_add_listener(client->registry, &client->registry_hook, &registry_events, client);
    client->ready_seq = pw_core_sync(client->core, PW_ID_CORE, 0);
}

struct xn_client *pipewire_client_new(struct xn_engine *engine, const char *server,
                                      const char *const *properties) {
    const char *error;
    struct pipewire_client *client = calloc(1, sizeof *client);
    if (!client) return NULL;
    client->base = (struct xn_client){.server = &xn_pipewire_server, .engine = engine};
    client->state = XN_CLIENT_CONNECTING;
    client->hub = pipewire_hub_use(engine, &error);
    if (!client->hub) {
        fail(client, error);
        return &client->base;
    }
    client->woken = (struct pipewire_hub_listener){.woken = on_woken, .owner = client};
    pipewire_hub_listen(client->hub, &client->woken);
    connect(client, server, properties);
    return &client->base;
}

void pipewire_client_free(struct xn_client *base) {
    struct pipewire_client *client = pipewire_client_of(base);
    client->state = XN_CLIENT_FAILED;
    on_woken(client); /* streams that play their rest end now */
    if (client->registry) xn_pw->proxy_destroy((struct pw_proxy *)client->registry);
    if (client->core) xn_pw->core_disconnect(client->core);
    for (struct pipewire_node *node = client->nodes, *next; node; node = next) {
        next = node->next;
        free(node);
    }
    while (client->endings) take_ending(client, client->endings->seq);
    if (client->hub) {
        pipewire_hub_unlisten(client->hub, &client->woken);
        pipewire_hub_release(client->hub);
    }
    free(client);
}

enum xn_client_state pipewire_client_state(const struct xn_client *base) {
    return ((const struct pipewire_client *)base)->state;
}

const char *pipewire_client_error(const struct xn_client *base) {
    return ((const struct pipewire_client *)base)->error;
}

/* ---- for its streams ------------------------------------------------------------------------ */

struct pipewire_client *pipewire_client_of(struct xn_client *client) {
    return (struct pipewire_client *)client;
}

void pipewire_client_listen(struct pipewire_client *client,
                            struct pipewire_client_listener *listener) {
    listener->next = client->listeners;
    client->listeners = listener;
}

void pipewire_client_unlisten(struct pipewire_client *client,
                              struct pipewire_client_listener *listener) {
    for (struct pipewire_client_listener **at = &client->listeners; *at; at = &(*at)->next) {
        if (*at != listener) continue;
        *at = listener->next;
        return;
    }
}

struct pipewire_hub *pipewire_client_hub(const struct pipewire_client *client) {
    return client->hub;
}

struct pw_core *pipewire_client_core(const struct pipewire_client *client) { return client->core; }

const struct pipewire_node *pipewire_client_node(const struct pipewire_client *client,
                                                 uint32_t id) {
    for (const struct pipewire_node *node = client->nodes; node; node = node->next)
        if (node->id == id) return node;
    return NULL;
}

const char *pipewire_client_source_name(const struct pipewire_client *client, uint32_t serial) {
    for (const struct pipewire_node *node = client->nodes; node; node = node->next)
        if (node->serial == serial && *node->name) return node->name;
    return NULL;
}

void pipewire_client_ended_stream(struct pipewire_client *client, uint32_t guest) {
    if (client->state == XN_CLIENT_FAILED) return;
    struct ending *ending = calloc(1, sizeof *ending);
    if (!ending) return;
    *ending = (struct ending){.next = client->endings, .guest = guest};
    ending->seq = pw_core_sync(client->core, PW_ID_CORE, 0);
    client->endings = ending;
}

bool pipewire_client_is_behind(const struct pipewire_client *client, uint32_t guest) {
    unsigned count = 0;
    for (const struct ending *ending = client->endings; ending; ending = ending->next)
        count += ending->guest == guest;
    return count >= ENDINGS_MAX;
}
