/* Which source a recording is linked to, as PipeWire announces its links, and whether that source
 * was admitted. Only computes.
 *
 * Each link has an id and comes from a source, by its serial number. A recording of stereo has two
 * links from one source. Links from more than one source are no source that can be admitted.
 */
#ifndef XENSND_RECORDED_SOURCE_H
#define XENSND_RECORDED_SOURCE_H

#include "audio_stream.h"

#define XN_SOURCE_LINKS_MAX 64
#define XN_NO_SOURCE UINT32_MAX        /* there is no link */
#define XN_UNKNOWN_SOURCE (UINT32_MAX - 1) /* of something that is no source, or of several */

struct xn_source {
    struct {
        uint32_t id, serial;
    } links[XN_SOURCE_LINKS_MAX];
    uint32_t count;
    uint32_t last;     /* the source of the last links that there were */
    uint32_t admitted; /* XN_NO_SOURCE: none */
    bool mixed;        /* there may be samples of a source that was not admitted */
};

void xn_source_init(struct xn_source *source);

/* Return whether the source is another one now. */
bool xn_source_link(struct xn_source *source, uint32_t link, uint32_t serial);
bool xn_source_unlink(struct xn_source *source, uint32_t link);

/* Returns the serial number of the source, XN_NO_SOURCE or XN_UNKNOWN_SOURCE. */
uint32_t xn_source_serial(const struct xn_source *source);

enum xn_admission xn_source_admit(struct xn_source *source, uint32_t serial);
bool xn_source_is_admitted(const struct xn_source *source);

#endif
