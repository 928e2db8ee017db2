#include "pipewire_properties.h"

#include <string.h>

#include "pipewire_library.h"

/* PipeWire's keys of icons have a hyphen, where PulseAudio's have an underscore. */
static void set(struct pw_properties *list, const char *key, const char *value) {
    if (strcmp(key, PA_PROP_APPLICATION_ICON_NAME) == 0) key = PW_KEY_APP_ICON_NAME;
    if (strcmp(key, PA_PROP_MEDIA_ICON_NAME) == 0) key = PW_KEY_MEDIA_ICON_NAME;
    xn_pw->properties_set(list, key, value);
}

/* The server remembers the volume of a stream under its application's id. */
static void copy_application(struct pw_properties *to, struct pw_core *core) {
    const struct spa_dict_item *item;
    const struct pw_properties *from = xn_pw->core_get_properties(core);
    spa_dict_for_each(item, &from->dict) {
        if (strncmp(item->key, "application.", 12) == 0 || strncmp(item->key, "xensnd.", 7) == 0)
            set(to, item->key, item->value);
    }
}

static void set_device(struct pw_properties *list, const struct xn_audio_config *config) {
    static const char monitor[] = ".monitor";
    const char *name = config->device;
    if (!name) return;
    size_t octets = strlen(name), ending = sizeof monitor - 1;
    bool is_monitor = !config->playback && octets > ending &&
                      strcmp(name + octets - ending, monitor) == 0;
    if (is_monitor) xn_pw->properties_set(list, PW_KEY_STREAM_CAPTURE_SINK, "true");
    xn_pw->properties_setf(list, "target.object", "%.*s",
                           (int)(is_monitor ? octets - ending : octets), name);
}

struct pw_properties *pipewire_properties_of(struct pw_core *core,
                                             const struct xn_audio_config *config) {
    struct pw_properties *list = xn_pw->properties_new(
        PW_KEY_MEDIA_TYPE, "Audio", PW_KEY_MEDIA_CATEGORY,
        config->playback ? "Playback" : "Capture", PW_KEY_MEDIA_NAME, config->name,
        PW_KEY_NODE_DESCRIPTION, config->name, NULL);
    if (!list) return NULL;
    copy_application(list, core);
    for (const char *const *each = config->properties; *each; each += 2)
        set(list, each[0], each[1]);
    /* Half of the latency for a cycle, half for what waits for the next one. */
    xn_pw->properties_setf(list, PW_KEY_NODE_LATENCY, "%u/%u",
                           (unsigned)((uint64_t)config->latency_usec * config->rate_hz / 2000000),
                           config->rate_hz);
    if (config->is_device)
        xn_pw->properties_set(list, PW_KEY_MEDIA_CLASS,
                              config->playback ? "Audio/Source" : "Audio/Sink");
    set_device(list, config);
    if (config->is_pinned) {
        xn_pw->properties_set(list, PW_KEY_NODE_DONT_RECONNECT, "true");
        xn_pw->properties_set(list, "node.dont-fallback", "true");
        xn_pw->properties_set(list, "node.dont-move", "true");
    }
    return list;
}
