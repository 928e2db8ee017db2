/* libpipewire, loaded when the first client needs it: a machine with PulseAudio need not have it.
 *
 * Most of PipeWire's interface is in its headers. These are the functions that are in the library;
 * the core calls them as xn_pw->stream_new() and so on.
 */
#ifndef XENSND_PIPEWIRE_LIBRARY_H
#define XENSND_PIPEWIRE_LIBRARY_H

#include <pipewire/pipewire.h>

#define XN_PIPEWIRE_FUNCTIONS(FUNCTION) \
    FUNCTION(init) \
    FUNCTION(get_library_version) \
    FUNCTION(loop_new) \
    FUNCTION(loop_destroy) \
    FUNCTION(context_new) \
    FUNCTION(context_destroy) \
    FUNCTION(context_connect) \
    FUNCTION(core_disconnect) \
    FUNCTION(core_get_properties) \
    FUNCTION(proxy_destroy) \
    FUNCTION(properties_new) \
    FUNCTION(properties_free) \
    FUNCTION(properties_set) \
    FUNCTION(properties_setf) \
    FUNCTION(stream_new) \
    FUNCTION(stream_add_listener) \
    FUNCTION(stream_connect) \
    FUNCTION(stream_destroy) \
    FUNCTION(stream_get_node_id) \
    FUNCTION(stream_update_params) \
    FUNCTION(stream_set_active) \
    FUNCTION(stream_set_control) \
    FUNCTION(stream_flush) \
    FUNCTION(stream_get_time_n) \
    FUNCTION(stream_is_driving) \
    FUNCTION(stream_trigger_process) \
    FUNCTION(stream_dequeue_buffer) \
    FUNCTION(stream_queue_buffer)

struct xn_pipewire_library {
#define FUNCTION(name) __typeof__(pw_##name) *name;
    XN_PIPEWIRE_FUNCTIONS(FUNCTION)
#undef FUNCTION
};

extern const struct xn_pipewire_library *xn_pw; /* NULL: not loaded */

/* Loads the library, if it is not. Returns why it cannot; NULL: it is loaded. */
const char *xn_pipewire_load(void);

#endif
