/* The volume of one stream at the audio server, as the mixer has it: set by the guest through
 * SET_VOLUME and MUTE, or by a person. Whoever was last is right, up to the cap.
 */
#ifndef XENSND_VOLUME_H
#define XENSND_VOLUME_H

#include "pulse_context.h"

struct xn_volume {
    struct xn_client *client;
    bool playback;
    uint32_t index; /* of the sink input or source output; UINT32_MAX: not there yet */
    uint8_t channels;
    pa_cvolume wanted; /* channels 0: the guest has set none */
    bool wanted_mute, mute_is_wanted;
    pa_cvolume actual; /* channels 0: not known */
    bool actual_mute;
    pa_volume_t cap; /* PA_VOLUME_INVALID: there is none */
    pa_operation *query;
};

void xn_volume_init(struct xn_volume *volume, struct xn_client *client, bool playback,
                    uint8_t channels);
void xn_volume_done(struct xn_volume *volume);

/* The stream has its index: what was wanted before is set now. */
void xn_volume_ready(struct xn_volume *volume, uint32_t index);

/* The mixer's values may have changed; Python is woken if they have. */
void xn_volume_changed(struct xn_volume *volume, uint32_t index);

/* For each channel 0.001 dB, at most 0 dB, and whether it is muted. The stream's own mute is set
 * when all its channels are. */
void xn_volume_set(struct xn_volume *volume, const int32_t *milli_db, const uint8_t *muted);

/* All channels at once; the volume stays. */
void xn_volume_set_mute(struct xn_volume *volume, bool muted);

/* No channel is louder than this, whoever turns it up. In percent as mixers show it; 0: no cap. */
void xn_volume_set_cap(struct xn_volume *volume, uint32_t percent);

/* For each channel 0.001 dB. False: not known. */
bool xn_volume_get(const struct xn_volume *volume, int32_t *milli_db);

/* All channels, by the stream's own mute. */
bool xn_volume_is_muted(const struct xn_volume *volume);

#endif
