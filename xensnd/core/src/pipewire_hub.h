/* What all PipeWire clients of an engine share: the loop of libpipewire, which the engine's thread
 * runs, and PipeWire's own real-time thread, which runs the streams.
 *
 * The real-time thread takes from a stream's queue or adds to it, and wakes the engine's thread. It
 * waits for nothing, so no guest can delay the sound of others.
 */
#ifndef XENSND_PIPEWIRE_HUB_H
#define XENSND_PIPEWIRE_HUB_H

#include "engine.h"
#include "pipewire_library.h"

struct pipewire_hub;

/* Whoever is called when a stream has woken the hub. */
struct pipewire_hub_listener {
    struct pipewire_hub_listener *next;
    void (*woken)(void *owner);
    void *owner;
};

/* Returns the engine's hub, and counts one more user; NULL: *error is the reason. */
struct pipewire_hub *pipewire_hub_use(struct xn_engine *engine, const char **error);
void pipewire_hub_release(struct pipewire_hub *hub);

void pipewire_hub_listen(struct pipewire_hub *hub, struct pipewire_hub_listener *listener);
void pipewire_hub_unlisten(struct pipewire_hub *hub, struct pipewire_hub_listener *listener);

/* In any thread: has the listeners called soon in the engine's. */
void pipewire_hub_wake(struct pipewire_hub *hub);

struct pw_context *pipewire_hub_context(struct pipewire_hub *hub);

#endif
