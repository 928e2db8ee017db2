"""Builds xensnd.core._core: the C code of src/ for Python (cffi, API mode, abi3).

The declarations are the part of the headers that Python uses. The compiler checks each of them
against the headers.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

SOURCES = [
    "audio_server.c",
    "backend.c",
    "backend_audio.c",
    "backend_clock.c",
    "backend_requests.c",
    "backend_silence.c",
    "backend_trigger.c",
    "budget.c",
    "channel.c",
    "confine.c",
    "engine.c",
    "event_page.c",
    "frontend.c",
    "frontend_audio.c",
    "gate.c",
    "loop.c",
    "page_directory.c",
    "pcm.c",
    "pipewire_client.c",
    "pipewire_cycle.c",
    "pipewire_device.c",
    "pipewire_driver.c",
    "pipewire_format.c",
    "pipewire_hub.c",
    "pipewire_library.c",
    "pipewire_properties.c",
    "pipewire_stream.c",
    "pulse_context.c",
    "pulse_stream.c",
    "rate_loop.c",
    "recorded_source.c",
    "ring.c",
    "sample_queue.c",
    "schedule.c",
    "sound.c",
    "vchan_audio.c",
    "vchan_ring.c",
    "vchan_stream.c",
    "vchan_waiting.c",
]

# Where both distributions have them. The library is loaded when it is needed.
PIPEWIRE_HEADERS = ["-isystem/usr/include/pipewire-0.3", "-isystem/usr/include/spa-0.2"]

DECLARATIONS = """
struct xn_engine; struct xn_client; struct xn_backend; struct xn_frontend;
struct xn_device; struct xn_vchan_stream;

/* engine.h */
struct xn_engine *xn_engine_new(void);
void xn_engine_free(struct xn_engine *);
int xn_engine_wake_fd(const struct xn_engine *);
uint64_t xn_engine_wakeups(const struct xn_engine *);

/* channel.h */
struct xn_channel {
    int wait_fd; int notify_fd; void *context;
    int (*clear)(void *context); int (*notify)(void *context);
};

/* confine.h */
#define XN_IOCTLS_MAX ...
int xn_confine(const uint32_t *ioctls, size_t count, bool network);

/* audio_client.h */
enum xn_client_state { XN_CLIENT_CONNECTING, XN_CLIENT_READY, XN_CLIENT_FAILED };
struct xn_client *xn_client_new(struct xn_engine *, const char *server, const char *const *);
void xn_client_free(struct xn_client *);
enum xn_client_state xn_client_state(struct xn_client *);
const char *xn_client_error(struct xn_client *);

/* pcm.h */
struct xn_pcm_config {
    uint32_t rate_hz; uint32_t frame_octets; uint32_t buffer_octets; uint32_t period_octets;
    uint8_t silence_octet;
};
struct xn_pcm { ...; };

/* audio_stream.h */
enum xn_mute { XN_MUTE_AS_REMEMBERED, XN_MUTE_OFF, XN_MUTE_ON };
enum xn_admission { XN_ADMITTED, XN_NOT_ITS_SOURCE, XN_MIXED };
struct xn_audio_config {
    bool playback; const char *name; const char *device; const char *format; uint32_t rate_hz;
    uint32_t channels; uint32_t latency_usec; bool is_pinned; bool variable_rate;
    bool any_source; bool is_device; const uint32_t *volume; enum xn_mute mute; uint32_t guest;
    const char *const *properties;
};

/* page_directory.h */
uint32_t xn_directory_read(const void *page, uint32_t wanted, uint32_t *refs, uint32_t *next);
uint32_t xn_directory_write(void *page, const uint32_t *refs, uint32_t count, uint32_t next);

/* budget.h */
#define XN_CONTROL_REQUESTS_A_SECOND ...
#define XN_OPEN_COUNTS_AS ...
struct xn_budget_stats {
    uint64_t requests; uint64_t refused; uint64_t notifications; uint64_t engine_usec;
    uint64_t pauses; uint64_t paused_usec;
};
struct xn_budget { ...; };
struct xn_budget *xn_budget_new(void);
void xn_budget_free(struct xn_budget *);
void xn_budget_set_percent(struct xn_budget *, unsigned percent);
void xn_budget_stats(const struct xn_budget *, struct xn_budget_stats *);

/* gate.h */
struct xn_gate { ...; };
void xn_gate_open(struct xn_gate *, int64_t until_usec);
bool xn_gate_close_within(struct xn_gate *, int64_t usec);

/* sound.h */
void xn_sound_open_gate(struct xn_sound *, int64_t until_usec);
void xn_sound_close_gate(struct xn_sound *);
bool xn_sound_has_failed(struct xn_sound *, const char **error);
bool xn_sound_source(struct xn_sound *, uint32_t *index, char *name, uint32_t octets);
enum xn_admission xn_sound_admit_source(struct xn_sound *, uint32_t index, const char *name);
enum xn_admission xn_sound_admit_microphone(struct xn_sound *, uint32_t index, const char *name);
uint32_t xn_sound_index(struct xn_sound *);

/* backend.h */
#define XN_REFUSED_MAX ...
enum xn_violation {
    XN_NO_VIOLATION, XN_VIOLATION_RING_INDEX, XN_VIOLATION_STORM, XN_VIOLATION_REFUSED
};
struct xn_backend_stats {
    uint64_t requests; uint64_t refused; uint64_t octets; uint64_t discarded_octets;
    uint64_t late_octets; uint64_t position_octets; uint64_t buffered_octets;
    uint32_t gaps; uint32_t stalled; int64_t server_latency_usec;
};
struct xn_backend *xn_backend_new(struct xn_engine *, bool playback, void *ring_page,
    void *event_page, const struct xn_channel *requests, const struct xn_channel *events,
    struct xn_pcm *pcm, struct xn_budget *budget, uint32_t *served, struct xn_gate *gate);
void xn_backend_begin(struct xn_backend *, bool succeeds);
void xn_backend_free(struct xn_backend *);
enum xn_violation xn_backend_violation(struct xn_backend *);
bool xn_backend_next_request(struct xn_backend *, uint8_t *request);
void xn_backend_answer(struct xn_backend *, const uint8_t *response);
void xn_backend_open_pcm(struct xn_backend *, const struct xn_pcm_config *, void *buffer);
bool xn_backend_adopt_pcm(struct xn_backend *, const struct xn_pcm_config *, void *buffer);
void xn_backend_close_pcm(struct xn_backend *);
void xn_backend_start(struct xn_backend *);
void xn_backend_stop(struct xn_backend *);
bool xn_backend_attach_audio(struct xn_backend *, struct xn_client *,
    const struct xn_audio_config *, const char **error);
void xn_backend_detach_audio(struct xn_backend *);
bool xn_backend_peek(struct xn_backend *, uint32_t offset, void *to, uint32_t octets);
bool xn_backend_poke(struct xn_backend *, uint32_t offset, const void *from, uint32_t octets);
struct xn_sound *xn_backend_sound(struct xn_backend *);
void xn_backend_stats(struct xn_backend *, struct xn_backend_stats *);

/* vchan_ring.h */
struct xn_vchan { ...; };
void xn_vchan_attach(struct xn_vchan *, void *page, void *left, uint32_t left_size, void *right,
    uint32_t right_size);

/* vchan_stream.h */
struct xn_vchan_given { ...; };
struct xn_vchan_stream *xn_vchan_stream_new(struct xn_engine *, bool playback,
    const struct xn_vchan *, const struct xn_channel *, struct xn_vchan_given *,
    struct xn_budget *budget, uint32_t *served, struct xn_gate *gate);
void xn_vchan_stream_begin(struct xn_vchan_stream *, bool succeeds);
void xn_vchan_stream_free(struct xn_vchan_stream *);
void xn_vchan_stream_hand_over(struct xn_vchan_stream *);
bool xn_vchan_stream_is_open(struct xn_vchan_stream *);
enum xn_violation xn_vchan_stream_violation(struct xn_vchan_stream *);
bool xn_vchan_stream_next_word(struct xn_vchan_stream *, uint32_t *word);
void xn_vchan_stream_drop_word(struct xn_vchan_stream *);
void xn_vchan_stream_reset(struct xn_vchan_stream *);
void xn_vchan_stream_start(struct xn_vchan_stream *);
void xn_vchan_stream_stop(struct xn_vchan_stream *);
bool xn_vchan_stream_attach_audio(struct xn_vchan_stream *, struct xn_client *,
    const struct xn_audio_config *, const char **error);
void xn_vchan_stream_detach_audio(struct xn_vchan_stream *);
struct xn_sound *xn_vchan_stream_sound(struct xn_vchan_stream *);
void xn_vchan_stream_stats(struct xn_vchan_stream *, struct xn_backend_stats *);
uint32_t xn_vchan_stream_recent(struct xn_vchan_stream *, void *to, uint32_t octets);

/* pipewire_library.h */
const char *xn_pipewire_load(void);

/* pipewire_device.h */
struct xn_device *xn_device_new(struct xn_client *, const struct xn_audio_config *,
    const char **error);
void xn_device_free(struct xn_device *);
bool xn_device_is_used(struct xn_device *);
bool xn_device_failed(struct xn_device *, const char **error);

/* frontend.h */
struct xn_frontend_stats {
    uint64_t position_octets; uint64_t moved_octets; uint64_t lost_octets; uint32_t refused;
    uint32_t fill_octets; uint32_t rate_hz;
};
struct xn_frontend *xn_frontend_new(struct xn_engine *, bool playback, bool in_place,
    void *ring_page, void *event_page, const struct xn_channel *requests,
    const struct xn_channel *events);
void xn_frontend_free(struct xn_frontend *);
bool xn_frontend_is_broken(struct xn_frontend *);
int xn_frontend_request(struct xn_frontend *, const uint8_t *request);
bool xn_frontend_response(struct xn_frontend *, uint8_t *response);
void xn_frontend_open_pcm(struct xn_frontend *, const struct xn_pcm_config *, void *buffer);
void xn_frontend_close_pcm(struct xn_frontend *);
void xn_frontend_set_running(struct xn_frontend *, bool running);
uint32_t xn_frontend_write(struct xn_frontend *, const void *from, uint32_t octets);
uint32_t xn_frontend_read(struct xn_frontend *, void *to, uint32_t octets);
int64_t xn_frontend_scratch(struct xn_frontend *, uint32_t octets);
void xn_frontend_await_room(struct xn_frontend *, uint32_t octets);
void xn_frontend_await_fill(struct xn_frontend *, uint32_t octets);
void xn_frontend_await_position(struct xn_frontend *, uint64_t position);
bool xn_frontend_attach_audio(struct xn_frontend *, struct xn_client *,
    const struct xn_audio_config *, uint32_t target_fill_octets, const char **error);
void xn_frontend_attach_device(struct xn_frontend *, struct xn_device *,
    uint32_t target_fill_octets);
void xn_frontend_detach_audio(struct xn_frontend *);
bool xn_frontend_audio_failed(struct xn_frontend *, const char **error);
void xn_frontend_stats(struct xn_frontend *, struct xn_frontend_stats *);
"""

SOURCE = Path(__file__).parent / "src"

ffi = FFI()
ffi.cdef(DECLARATIONS)
ffi.set_source(
    "xensnd.core._core",
    "".join(
        f'#include "{header}.h"\n'
        for header in (
            "backend",
            "confine",
            "frontend",
            "page_directory",
            "pipewire_device",
            "pipewire_library",
            "vchan_stream",
        )
    ),
    # setuptools wants paths relative to the project's root, from where it runs.
    sources=[f"xensnd/core/src/{source}" for source in SOURCES],
    depends=[f"xensnd/core/src/{header.name}" for header in sorted(SOURCE.glob("*.h"))],
    include_dirs=["xensnd/core/src"],
    define_macros=[("_GNU_SOURCE", None)],
    libraries=["pulse", "m"],
    extra_compile_args=["-std=c11", "-Wall", *PIPEWIRE_HEADERS],
)
