/* The event page, both ends (sndif.h, "Back to front events delivery"): the backend tells the
 * frontend how far a stream has come. One shared page, 63 slots: not a power of two, so at the
 * wrap of the 32-bit index the slots jump, at both ends alike.
 */
#ifndef XENSND_EVENT_PAGE_H
#define XENSND_EVENT_PAGE_H

#include "shared_memory.h"

#define XN_EVENT_SLOTS 63u

struct xn_event_page {
    uint32_t in_cons; /* frontend: events taken */
    uint32_t in_prod; /* backend: events published */
    uint8_t reserved[56];
    struct xn_packet slots[XN_EVENT_SLOTS];
};

struct xn_event_writer {
    struct xn_event_page *page;
    uint32_t in_prod;
};

void xn_event_writer_attach(struct xn_event_writer *events, void *page);

/* Publishes XENSND_EVT_CUR_POS. 0: done, notify. -EAGAIN: the page is full, or the frontend's
 * index makes no sense, which is the same to us. The id is the event's number since the
 * connection began, without gaps, over every OPEN and CLOSE: Linux drops any other. */
int xn_event_writer_position(struct xn_event_writer *events, uint64_t position_octets);

struct xn_event_reader {
    struct xn_event_page *page;
    uint32_t in_cons;
};

void xn_event_reader_attach(struct xn_event_reader *events, void *page);

/* Takes a copy of the next event. 1: taken. 0: none. -EPROTO: more events than slots. */
int xn_event_reader_take(struct xn_event_reader *events, struct xn_packet *event);

#endif
