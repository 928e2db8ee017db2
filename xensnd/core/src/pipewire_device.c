#include "pipewire_device.h"

#include <stdlib.h>

#include "pipewire_client.h"
#include "pipewire_stream.h"

/* How long an application's sound waits for a user. Opening a stream of the card takes less. */
#define HOLD_USEC 1000000

struct device_link {
    struct device_link *next;
    uint32_t id;
};

struct xn_device {
    struct xn_engine *engine;
    struct pipewire_client *client;
    struct pipewire_client_listener listener;
    struct xn_audio *audio;
    bool is_source, is_used;
    uint32_t rate_hz;
    struct device_link *links; /* with applications */
    struct xn_device_user user; /* on_event NULL: none */
    struct xn_task cycle;
    bool awaits_samples; /* a sink: those of the latest cycle have not come yet */
    bool runs_free;
    int64_t held_usec; /* since when, unless it runs free */
};

static struct pipewire_driver *driver_of(const struct xn_device *device) {
    return pipewire_stream_driver(device->audio);
}

static bool drives(const struct xn_device *device) {
    return xn_device_state(device) == XN_DEVICE_DRIVES;
}

/* ---- when a cycle begins --------------------------------------------------------------------- */

static int64_t user_due_usec(const struct xn_device *device) {
    if (!device->user.due_usec) return XN_NEVER;
    double frames = pipewire_driver_cycle_usec(driver_of(device)) * device->rate_hz / 1e6;
    return device->user.due_usec(device->user.owner.owner, (uint32_t)frames);
}

static int64_t due_usec(const struct xn_device *device) {
    const struct pipewire_driver *driver = driver_of(device);
    int64_t cycle_usec = (int64_t)driver->cycle_usec;
    /* If it never gets them, because an application is late, it goes on without. */
    if (device->awaits_samples) return driver->began_usec + 2 * cycle_usec;
    int64_t usec = user_due_usec(device);
    if (usec == XN_NEVER && device->runs_free) return driver->began_usec + cycle_usec;
    if (usec == XN_NEVER) return device->held_usec + HOLD_USEC;
    /* What was late is made up for, but not all at once. */
    int64_t earliest = driver->began_usec + cycle_usec / 2;
    return usec > earliest ? usec : earliest;
}

void xn_device_reconsider(struct xn_device *device) {
    struct xn_window window = xn_never;
    if (drives(device)) window.from_usec = window.until_usec = due_usec(device);
    xn_engine_schedule(device->engine, &device->cycle, window);
}

static void on_due(void *owner, int64_t now_usec) {
    struct xn_device *device = owner;
    struct pipewire_driver *driver = driver_of(device);
    if (!drives(device)) return;
    int64_t due = due_usec(device);
    if (now_usec >= due) {
        device->awaits_samples = false;
        device->runs_free = user_due_usec(device) == XN_NEVER;
        if (device->is_source && device->user.owner.on_event)
            device->user.owner.on_event(device->user.owner.owner, XN_AUDIO_WANTS);
        bool is_late = now_usec > due + (int64_t)driver->cycle_usec;
        pipewire_driver_begin(driver, device->runs_free && !is_late ? due : now_usec);
        device->awaits_samples = !device->is_source;
        device->held_usec = now_usec;
    }
    xn_device_reconsider(device);
}

static void hold(struct xn_device *device) {
    device->runs_free = device->awaits_samples = false;
    device->held_usec = xn_now_usec();
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Somebody who only listens to what a sink plays does not count. */
static void check_used(struct xn_device *device) {
    bool is_used = device->links && pipewire_stream_is_streaming(device->audio);
    if (is_used == device->is_used) return;
    device->is_used = is_used;
    xn_engine_wake_python(device->engine);
}

static void drop_recorded(struct xn_device *device) {
    const void *from;
    uint32_t octets;
    while (xn_audio_peek(device->audio, &from, &octets)) xn_audio_drop(device->audio);
}

static void on_audio_event(void *owner, enum xn_audio_event event) {
    struct xn_device *device = owner;
    if (!device->audio) return; /* xn_audio_new() has not returned yet */
    if (event == XN_AUDIO_RECORDED) device->awaits_samples = false;
    if (event == XN_AUDIO_CHANGED) {
        hold(device);
        check_used(device);
    }
    bool asks_in_vain = event == XN_AUDIO_WANTS && drives(device);
    if (device->user.owner.on_event && !asks_in_vain)
        device->user.owner.on_event(device->user.owner.owner, event);
    else if (event == XN_AUDIO_RECORDED)
        drop_recorded(device);
    xn_device_reconsider(device);
}

static void on_linked(void *owner, uint32_t link, uint32_t source_node, uint32_t sink_node) {
    struct xn_device *device = owner;
    uint32_t node = pipewire_stream_node_id(device->audio);
    if (node == SPA_ID_INVALID || node != (device->is_source ? source_node : sink_node)) return;
    struct device_link *added = calloc(1, sizeof *added);
    if (!added) return;
    *added = (struct device_link){.next = device->links, .id = link};
    device->links = added;
    check_used(device);
}

static void on_removed(void *owner, uint32_t id) {
    struct xn_device *device = owner;
    for (struct device_link **at = &device->links; *at; at = &(*at)->next) {
        struct device_link *link = *at;
        if (link->id != id) continue;
        *at = link->next;
        free(link);
        check_used(device);
        return;
    }
}

static void ignore(void *owner) { (void)owner; }

/* ---- what Python decides --------------------------------------------------------------------- */

static struct xn_audio *make_stream(struct xn_device *device, struct xn_client *client,
                                    const struct xn_audio_config *config, const char **error) {
    const struct xn_audio_owner owner = {.on_event = on_audio_event, .owner = device};
    struct xn_audio_config of_a_device = *config;
    of_a_device.is_device = true;
    *error = "only PipeWire has nodes of a client";
    if (client->server != &xn_pipewire_server) return NULL;
    return xn_audio_new(client, &of_a_device, &owner, error);
}

struct xn_device *xn_device_new(struct xn_client *client, const struct xn_audio_config *config,
                                const char **error) {
    struct xn_device *device = calloc(1, sizeof *device);
    *error = "out of memory";
    if (!device) return NULL;
    device->engine = client->engine;
    device->is_source = config->playback;
    device->rate_hz = config->rate_hz;
    device->cycle = (struct xn_task){.window = xn_never, .run = on_due, .owner = device};
    xn_engine_lock(device->engine);
    device->audio = make_stream(device, client, config, error);
    if (device->audio) {
        device->client = pipewire_client_of(client);
        device->listener = (struct pipewire_client_listener){.changed = ignore,
                                                             .linked = on_linked,
                                                             .removed = on_removed,
                                                             .woken = ignore,
                                                             .owner = device};
        pipewire_client_listen(device->client, &device->listener);
        xn_engine_add_task(device->engine, &device->cycle);
        hold(device);
        xn_audio_start(device->audio);
    }
    xn_engine_unlock(device->engine);
    if (device->audio) return device;
    free(device);
    return NULL;
}

void xn_device_free(struct xn_device *device) {
    xn_engine_lock(device->engine);
    xn_engine_remove_task(device->engine, &device->cycle);
    pipewire_client_unlisten(device->client, &device->listener);
    while (device->links) on_removed(device, device->links->id);
    xn_audio_free(device->audio, false);
    xn_engine_unlock(device->engine);
    free(device);
}

bool xn_device_is_used(struct xn_device *device) {
    xn_engine_lock(device->engine);
    bool is_used = device->is_used;
    xn_engine_unlock(device->engine);
    return is_used;
}

bool xn_device_failed(struct xn_device *device, const char **error) {
    xn_engine_lock(device->engine);
    bool failed = xn_audio_has_failed(device->audio);
    if (failed) *error = xn_audio_error(device->audio);
    xn_engine_unlock(device->engine);
    return failed;
}

/* ---- its user -------------------------------------------------------------------------------- */

struct xn_audio *xn_device_connect(struct xn_device *device, const struct xn_device_user *user) {
    device->user = *user;
    hold(device);
    xn_device_reconsider(device);
    return device->audio;
}

void xn_device_disconnect(struct xn_device *device) {
    device->user = (struct xn_device_user){0};
    hold(device);
    xn_device_reconsider(device);
}

enum xn_device_state xn_device_state(const struct xn_device *device) {
    if (!pipewire_stream_is_streaming(device->audio)) return XN_DEVICE_PAUSED;
    return pipewire_driver_drives(driver_of(device)) ? XN_DEVICE_DRIVES : XN_DEVICE_FOLLOWS;
}
