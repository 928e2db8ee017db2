/* One stream at the audio server, for either agent and either direction.
 *
 * Its owner pulls: it asks how much the server wants and writes directly into the server's memory,
 * or reads directly what the server has recorded. An event tells the owner when to do so.
 */
#ifndef XENSND_AUDIO_STREAM_H
#define XENSND_AUDIO_STREAM_H

#include "audio_client.h"

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
    bool is_pinned;     /* to its device: it cannot be moved to another */
    bool variable_rate; /* xn_audio_set_rate() will be used */
    bool any_source;    /* capture: every source is admitted */
    bool is_device;     /* a sink or a source itself: see pipewire_device.h */
    /* Playback: the initial volume of each channel; PA_VOLUME_NORM is 100 %. NULL: as the server
     * remembers it. */
    const uint32_t *volume;
    enum xn_mute mute; /* the initial state */
    uint32_t guest; /* the guest's number; see pulse_client_is_behind(), and PipeWire's */
    const char *const *properties; /* key, value, ..., NULL */
};

enum xn_audio_event {
    XN_AUDIO_WANTS,    /* playback: xn_audio_writable() is more than before */
    XN_AUDIO_RECORDED, /* capture: xn_audio_peek() has octets */
    XN_AUDIO_CHANGED,  /* the stream became ready, or failed */
};

/* on_event() is called under the engine's lock, and never from within a function below that the
 * owner has called, except xn_audio_new(). A playback that runs gets XN_AUDIO_CHANGED before it
 * becomes audible, so that its owner can give the server data to begin with. */
struct xn_audio_owner {
    void (*on_event)(void *owner, enum xn_audio_event event);
    void *owner;
};

/* Connects as soon as the client is ready, and is corked until xn_audio_start(). Returns NULL if
 * the server cannot have such a stream; *error is the reason. */
struct xn_audio *xn_audio_new(struct xn_client *client, const struct xn_audio_config *config,
                              const struct xn_audio_owner *owner, const char **error);

/* Frees the stream at once; or, if `drain`, after the server has played what it has. The owner gets
 * no more events. */
void xn_audio_free(struct xn_audio *audio, bool drain);

bool xn_audio_is_ready(const struct xn_audio *audio);
bool xn_audio_has_failed(const struct xn_audio *audio);
const char *xn_audio_error(const struct xn_audio *audio);

/* Playback: returns the octets that the server wants now; 0 while the stream is not ready. */
uint32_t xn_audio_writable(const struct xn_audio *audio);

/* Playback: returns whether the server takes more than it wants and than its latency. */
bool xn_audio_takes_ahead(const struct xn_audio *audio);

/* Playback: says whether the server has enough until its owner's next pass, which is scheduled. If
 * all streams that run are fed, what the server wants does not wake the engine before. */
void xn_audio_set_fed(struct xn_audio *audio, bool is_fed);

/* Playback: xn_audio_begin_write() returns memory of the server for up to *octets, and sets *octets
 * to its size; NULL: there is none. xn_audio_commit() hands over the octets that were written
 * there; with 0 octets it gives the memory back. It returns false if the server did not take
 * them. */
void *xn_audio_begin_write(struct xn_audio *audio, uint32_t *octets);
bool xn_audio_commit(struct xn_audio *audio, const void *from, uint32_t octets);

/* Playback: the octets that are committed next replace the last `octets`, as far as the server has
 * not played those. Returns how many of them it is known to play unchanged. */
uint32_t xn_audio_seek_back(struct xn_audio *audio, uint32_t octets);

/* Playback: the octets that are committed next are what the server plays next, in place of all that
 * it has and does not play yet. None of them is late. Returns about how much is replaced. */
uint32_t xn_audio_replace_queued(struct xn_audio *audio);

/* Capture: gets the next octets that the server has recorded; *from NULL: a hole. Returns false if
 * there are none. Call xn_audio_drop() after they were used. */
bool xn_audio_peek(struct xn_audio *audio, const void **from, uint32_t *octets);
void xn_audio_drop(struct xn_audio *audio);

/* Uncorks the stream. Give the server what it wants first. */
void xn_audio_start(struct xn_audio *audio);

/* Corks the stream. `drain`: the server plays what it has first; otherwise it drops that. */
void xn_audio_stop(struct xn_audio *audio, bool drain);

/* Playback: gets the time until a sample written now is heard. Returns false if it is not known,
 * or if the server has not begun to play. */
bool xn_audio_latency_usec(const struct xn_audio *audio, int64_t *latency_usec);

/* Playback: returns how often the server ran out of data and then got more: the audible gaps. */
uint32_t xn_audio_gaps(const struct xn_audio *audio);

/* Capture: returns the name of the source that the stream is connected to, or NULL if it is not
 * known yet. The stream owns the name, which is valid until the mainloop runs again. Python is
 * woken when the server has moved the stream. */
const char *xn_audio_source(const struct xn_audio *audio, uint32_t *index);

/* Capture: admits the source that the stream is connected to. Until then the stream gives silence,
 * and again as soon as the server has moved it to another source. After a move the server may still
 * have octets of the source before. If that one was not admitted, the stream is mixed, and gives
 * silence until it is freed. */
enum xn_admission { XN_ADMITTED, XN_NOT_ITS_SOURCE, XN_MIXED };
enum xn_admission xn_audio_admit_source(struct xn_audio *audio, uint32_t index, const char *name);

/* Capture: admits it only if the server has described it by now, and it is not the monitor of a sink.
 * Python is woken when it has. Of PipeWire's own protocol that is not known. */
enum xn_admission xn_audio_admit_microphone(struct xn_audio *audio, uint32_t index,
                                            const char *name);

void xn_audio_set_rate(struct xn_audio *audio, uint32_t rate_hz);

/* Returns the server's index of the sink input or source output, or UINT32_MAX. */
uint32_t xn_audio_index(const struct xn_audio *audio);

#endif
