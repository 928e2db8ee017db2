/* Both ends of the event page (sndif.h, "Back to front events delivery"), in which the backend
 * reports a stream's position to the frontend. One shared page of 63 slots. Since 63 is not a power
 * of two, the slot jumps where the 32-bit index wraps, at both ends alike.
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

/* Publishes XENSND_EVT_CUR_POS. Returns 0, and the caller notifies the frontend; or -EAGAIN if the
 * page is full or the frontend's index is invalid, which are treated alike. The id counts the
 * events since the connection began, without gaps and across OPEN and CLOSE: Linux drops an event
 * with any other id. */
int xn_event_writer_position(struct xn_event_writer *events, uint64_t position_octets);

struct xn_event_reader {
    struct xn_event_page *page;
    uint32_t in_cons;
};

void xn_event_reader_attach(struct xn_event_reader *events, void *page);

/* Copies the next event. Returns 1 if there was one, 0 if not, and -EPROTO if there are more events
 * than slots. */
int xn_event_reader_take(struct xn_event_reader *events, struct xn_packet *event);

#endif
