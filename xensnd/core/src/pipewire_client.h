/* PipeWire, by its own protocol: the client is a pw_core, and what it knows of the server's nodes
 * and links.
 *
 * The links come by the same connection as the commands to the streams, and before them: the server
 * announces a link before it tells the stream to exchange samples through it.
 */
#ifndef XENSND_PIPEWIRE_CLIENT_H
#define XENSND_PIPEWIRE_CLIENT_H

#include "audio_server.h"
#include "pipewire_hub.h"

struct pipewire_client;

/* A node of the server. */
struct pipewire_node {
    struct pipewire_node *next;
    uint32_t id;
    uint32_t serial; /* pipewire-pulse's index for it */
    char name[];     /* of the source, or of the sink's monitor; empty: it is neither */
};

/* A stream at the client. Its functions are called under the engine's lock, never from within a
 * function that the stream has called. */
struct pipewire_client_listener {
    struct pipewire_client_listener *next;
    void (*changed)(void *owner); /* the client's state, its nodes, or which guests are behind */
    void (*linked)(void *owner, uint32_t link, uint32_t source_node, uint32_t sink_node);
    void (*removed)(void *owner, uint32_t id); /* a link, or something else */
    void (*woken)(void *owner); /* by pipewire_hub_wake() */
    void *owner;
};

struct pipewire_client *pipewire_client_of(struct xn_client *client);
void pipewire_client_listen(struct pipewire_client *, struct pipewire_client_listener *);
void pipewire_client_unlisten(struct pipewire_client *, struct pipewire_client_listener *);

struct pipewire_hub *pipewire_client_hub(const struct pipewire_client *client);
struct pw_core *pipewire_client_core(const struct pipewire_client *client);
const struct pipewire_node *pipewire_client_node(const struct pipewire_client *, uint32_t id);

/* Returns the name of the source with this serial number, or NULL. */
const char *pipewire_client_source_name(const struct pipewire_client *, uint32_t serial);

/* The server has to end one more stream of this guest. A guest that waits for too many of those is
 * behind: the client makes no other stream of it until one has ended. So a guest that opens and
 * closes endlessly does not fill the connection to a server that is slow, and the client's other
 * guests do not wait. */
void pipewire_client_ended_stream(struct pipewire_client *client, uint32_t guest);
bool pipewire_client_is_behind(const struct pipewire_client *client, uint32_t guest);

/* The verbs of xn_pipewire_server. `server`: the name or the path of PipeWire's socket; empty: the
 * default. */

struct xn_client *pipewire_client_new(struct xn_engine *engine, const char *server,
                                      const char *const *properties);
void pipewire_client_free(struct xn_client *client);
enum xn_client_state pipewire_client_state(const struct xn_client *client);
const char *pipewire_client_error(const struct xn_client *client);

#endif
