#include "recorded_source.h"

void xn_source_init(struct xn_source *source) {
    *source = (struct xn_source){.last = XN_NO_SOURCE, .admitted = XN_NO_SOURCE};
}

uint32_t xn_source_serial(const struct xn_source *source) {
    if (source->count == 0) return XN_NO_SOURCE;
    for (uint32_t i = 1; i < source->count; i++)
        if (source->links[i].serial != source->links[0].serial) return XN_UNKNOWN_SOURCE;
    return source->links[0].serial;
}

/* After the links have changed. Without a link nothing is recorded, so what counts is the source
 * of the links before that. */
static bool note_change(struct xn_source *source, uint32_t before) {
    uint32_t now = xn_source_serial(source);
    if (now == before) return false;
    if (now == XN_NO_SOURCE || now == source->last) return true;
    if (source->last != XN_NO_SOURCE && source->last != source->admitted) source->mixed = true;
    source->last = now;
    source->admitted = XN_NO_SOURCE;
    return true;
}

bool xn_source_link(struct xn_source *source, uint32_t link, uint32_t serial) {
    uint32_t before = xn_source_serial(source);
    if (source->count == XN_SOURCE_LINKS_MAX) {
        source->mixed = true; /* what comes through this link cannot be told apart */
        return false;
    }
    source->links[source->count].id = link;
    source->links[source->count++].serial = serial;
    return note_change(source, before);
}

bool xn_source_unlink(struct xn_source *source, uint32_t link) {
    uint32_t before = xn_source_serial(source);
    for (uint32_t i = 0; i < source->count; i++) {
        if (source->links[i].id != link) continue;
        source->links[i] = source->links[--source->count];
        break;
    }
    return note_change(source, before);
}

enum xn_admission xn_source_admit(struct xn_source *source, uint32_t serial) {
    if (serial >= XN_UNKNOWN_SOURCE || serial != xn_source_serial(source)) return XN_NOT_ITS_SOURCE;
    if (source->mixed) return XN_MIXED;
    source->admitted = serial;
    return XN_ADMITTED;
}

bool xn_source_is_admitted(const struct xn_source *source) {
    return !source->mixed && source->admitted != XN_NO_SOURCE &&
           source->admitted == xn_source_serial(source);
}
