#include "pipewire_hub.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* struct spa_loop_control_methods, version 1, which the headers of 0.3.65 do not have yet. */
struct control_methods {
    uint32_t version;
    int (*get_fd)(void *);
    void (*add_hook)(void *, struct spa_hook *, const struct spa_loop_control_hooks *, void *);
    void (*enter)(void *);
    void (*leave)(void *);
    int (*iterate)(void *, int timeout);
    int (*check)(void *);
};

struct pipewire_hub {
    struct xn_engine *engine;
    unsigned users;
    struct pw_loop *loop;
    struct spa_loop_control control;
    struct control_methods methods; /* of `control` */
    struct pw_context *context;
    bool entered;
    int wake_fd;
    pa_io_event *loop_io, *wake_io;
    struct pipewire_hub_listener *listeners;
};

static void on_loop(pa_mainloop_api *api, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                    void *data) {
    (void)api, (void)event, (void)fd, (void)flags;
    struct pipewire_hub *hub = data;
    /* Entered once, for ever: what another thread asks a loop to do that nobody has entered, it
     * does itself. */
    if (!hub->entered) pw_loop_enter(hub->loop);
    hub->entered = true;
    pw_loop_iterate(hub->loop, 0);
}

static void on_wake(pa_mainloop_api *api, pa_io_event *event, int fd, pa_io_event_flags_t flags,
                    void *data) {
    (void)api, (void)event, (void)flags;
    struct pipewire_hub *hub = data;
    eventfd_t count;
    (void)eventfd_read(fd, &count);
    for (struct pipewire_hub_listener *l = hub->listeners, *next; l; l = next) {
        next = l->next;
        l->woken(l->owner);
    }
}

static void destroy(struct pipewire_hub *hub) {
    pa_mainloop_api *api = xn_engine_api(hub->engine);
    if (hub->loop_io) api->io_free(hub->loop_io);
    if (hub->wake_io) api->io_free(hub->wake_io);
    if (hub->context) xn_pw->context_destroy(hub->context);
    if (hub->loop) xn_pw->loop_destroy(hub->loop);
    if (hub->wake_fd >= 0) close(hub->wake_fd);
    free(hub);
}

static int check_nothing(void *loop) {
    (void)loop;
    return 1;
}

/* From 1.2 on libpipewire complains if it is called in another thread than the loop's. It accepts
 * the lock of its own thread's loop instead, but cannot be told of the engine's, which is held at
 * each call. */
static void accept_calls_under_the_lock(struct pipewire_hub *hub) {
    const struct control_methods *methods = hub->loop->control->iface.cb.funcs;
    if (methods->version < 1) return;
    hub->methods = *methods;
    hub->methods.version = 1;
    hub->methods.check = check_nothing;
    hub->control = *hub->loop->control;
    hub->control.iface.cb.funcs = &hub->methods;
    hub->loop->control = &hub->control;
}

/* Until 1.0, only this configuration made the streams' thread a real-time one. */
static struct pw_properties *context_properties(void) {
    bool old = strncmp(xn_pw->get_library_version(), "0.", 2) == 0;
    return xn_pw->properties_new(PW_KEY_CONFIG_NAME, old ? "client-rt.conf" : "client.conf", NULL);
}

static struct pipewire_hub *make(struct xn_engine *engine) {
    struct pipewire_hub *hub = calloc(1, sizeof *hub);
    if (!hub) return NULL;
    pa_mainloop_api *api = xn_engine_api(engine);
    hub->engine = engine;
    hub->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    hub->loop = xn_pw->loop_new(NULL);
    if (hub->loop) {
        accept_calls_under_the_lock(hub);
        hub->context = xn_pw->context_new(hub->loop, context_properties(), 0);
    }
    if (hub->context && hub->wake_fd >= 0) {
        hub->loop_io = api->io_new(api, pw_loop_get_fd(hub->loop), PA_IO_EVENT_INPUT, on_loop, hub);
        hub->wake_io = api->io_new(api, hub->wake_fd, PA_IO_EVENT_INPUT, on_wake, hub);
    }
    if (hub->loop_io && hub->wake_io) return hub;
    destroy(hub);
    return NULL;
}

struct pipewire_hub *pipewire_hub_use(struct xn_engine *engine, const char **error) {
    struct pipewire_hub *hub = *xn_engine_shared(engine);
    *error = xn_pipewire_load();
    if (*error) return NULL;
    *error = "libpipewire cannot begin: no memory or file descriptors, or it is not all installed";
    if (!hub) hub = make(engine);
    if (hub) hub->users++;
    *xn_engine_shared(engine) = hub;
    return hub;
}

void pipewire_hub_release(struct pipewire_hub *hub) {
    if (--hub->users > 0) return;
    *xn_engine_shared(hub->engine) = NULL;
    destroy(hub);
}

void pipewire_hub_listen(struct pipewire_hub *hub, struct pipewire_hub_listener *listener) {
    listener->next = hub->listeners;
    hub->listeners = listener;
}

void pipewire_hub_unlisten(struct pipewire_hub *hub, struct pipewire_hub_listener *listener) {
    for (struct pipewire_hub_listener **at = &hub->listeners; *at; at = &(*at)->next) {
        if (*at != listener) continue;
        *at = listener->next;
        return;
    }
}

void pipewire_hub_wake(struct pipewire_hub *hub) { (void)eventfd_write(hub->wake_fd, 1); }

struct pw_context *pipewire_hub_context(struct pipewire_hub *hub) { return hub->context; }
