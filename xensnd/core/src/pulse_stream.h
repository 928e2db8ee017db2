/* One stream at the audio server (pa_stream), for either agent and either direction.
 *
 * Its owner pulls: it asks how much the server wants and writes straight into the server's memory,
 * or reads straight out of what the server has recorded. libpulse's callbacks only say that it is
 * time to; none of the functions here calls its owner.
 */
#ifndef XENSND_PULSE_STREAM_H
#define XENSND_PULSE_STREAM_H

#include "pulse_context.h"

struct xn_audio;

enum xn_mute { XN_MUTE_AS_REMEMBERED, XN_MUTE_OFF, XN_MUTE_ON };

struct xn_audio_config {
    bool playback;
    const char *name;   /* media.name */
    const char *device; /* NULL: the server's default */
    const char *format; /* as pa_parse_sample_format() knows it */
    uint32_t rate_hz;
    uint32_t channels;
    uint32_t latency_usec;
    bool is_pinned;     /* to its device: nobody moves it to another */
    bool variable_rate; /* xn_audio_set_rate() will be used */
    bool any_source;    /* capture: no source must be admitted first */
    /* Playback: at which volume it begins, PA_VOLUME_NORM for 100 %, a value for each channel.
     * NULL: as the server remembers it. */
    const uint32_t *volume;
    enum xn_mute mute; /* how it begins */
    const char *const *properties; /* key, value, ..., NULL */
};

enum xn_audio_event {
    XN_AUDIO_WANTS,    /* playback: xn_audio_writable() is more than before */
    XN_AUDIO_RECORDED, /* capture: xn_audio_peek() has octets */
    XN_AUDIO_CHANGED,  /* the stream became ready, or failed */
};

/* Who is told, under the engine's lock and never from within a function of this file that it
 * called. Before a playback that runs becomes audible there is an XN_AUDIO_CHANGED, so that the
 * server has something to begin with. */
struct xn_audio_owner {
    void (*on_event)(void *owner, enum xn_audio_event event);
    void *owner;
};

/* Begins as soon as the client is ready; stands still until xn_audio_start(). NULL if the server
 * can have no such stream: *error says why, in libpulse's words. */
struct xn_audio *xn_audio_new(struct xn_client *client, const struct xn_audio_config *config,
                              const struct xn_audio_owner *owner, const char **error);

/* At once; or, if `drain`, when what the server has is played: its owner is told nothing any more. */
void xn_audio_free(struct xn_audio *audio, bool drain);

bool xn_audio_is_ready(const struct xn_audio *audio);
bool xn_audio_has_failed(const struct xn_audio *audio);
const char *xn_audio_error(const struct xn_audio *audio);

/* Playback: octets that the server wants now; 0 while the stream is not ready. */
uint32_t xn_audio_writable(const struct xn_audio *audio);

/* Playback: memory of the server's for up to *octets, which becomes what there is room for; NULL:
 * it can have none. xn_audio_commit() says how many octets were written there, and hands them
 * over; 0: none. False: the server did not take them. */
void *xn_audio_begin_write(struct xn_audio *audio, uint32_t *octets);
bool xn_audio_commit(struct xn_audio *audio, const void *from, uint32_t octets);

/* Playback: what is committed next takes the place of the last so many octets, as far as the server
 * has not played them. */
void xn_audio_seek_back(struct xn_audio *audio, uint32_t octets);

/* Capture: the next octets that the server has recorded; *from NULL is a hole. False: there are
 * none. xn_audio_drop() when they were used. */
bool xn_audio_peek(struct xn_audio *audio, const void **from, uint32_t *octets);
void xn_audio_drop(struct xn_audio *audio);

/* Audible from now on. What the server wants was given before. */
void xn_audio_start(struct xn_audio *audio);

/* `drain`: what the server has is still played; otherwise it is forgotten. */
void xn_audio_stop(struct xn_audio *audio, bool drain);

/* Playback: how long until a sample written now is heard. False: not known yet, or the server has
 * not begun to play. */
bool xn_audio_latency_usec(struct xn_audio *audio, int64_t *latency_usec);

/* Playback: how often the server ran dry and sound came after it: gaps that could be heard. */
uint32_t xn_audio_gaps(const struct xn_audio *audio);

/* Capture: the source that the stream is connected to. NULL: not known yet. The text is libpulse's,
 * until the mainloop runs again. Python is woken when the server has moved the stream. */
const char *xn_audio_source(const struct xn_audio *audio, uint32_t *index);

/* What the stream gives is silence until the source that it is connected to was admitted, and
 * again as soon as the server has moved it to another. The server may still have octets of the
 * source before: one that was not admitted leaves the stream mixed for good. */
enum xn_admission { XN_ADMITTED, XN_NOT_ITS_SOURCE, XN_MIXED };
enum xn_admission xn_audio_admit_source(struct xn_audio *audio, uint32_t index, const char *name);

void xn_audio_set_rate(struct xn_audio *audio, uint32_t rate_hz);

/* The server's own number of the stream (sink input or source output), or UINT32_MAX. */
uint32_t xn_audio_index(struct xn_audio *audio);

#endif
