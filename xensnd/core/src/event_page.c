#include "event_page.h"

#include <errno.h>
#include <string.h>

#include "wire.h"

void xn_event_writer_attach(struct xn_event_writer *events, void *page) {
    events->page = page;
    events->in_prod = xn_load_index(&events->page->in_prod);
}

int xn_event_writer_position(struct xn_event_writer *events, uint64_t position_octets) {
    if (events->in_prod - xn_load_index(&events->page->in_cons) >= XN_EVENT_SLOTS) return -EAGAIN;
    struct xn_packet event;
    xn_wire_position_event(&event, (uint16_t)events->in_prod, position_octets);
    xn_copy_packet(&events->page->slots[events->in_prod % XN_EVENT_SLOTS], &event);
    events->in_prod++;
    xn_store_index(&events->page->in_prod, events->in_prod);
    return 0;
}

void xn_event_reader_attach(struct xn_event_reader *events, void *page) {
    events->page = page;
    events->in_cons = xn_load_index(&events->page->in_cons);
}

int xn_event_reader_take(struct xn_event_reader *events, struct xn_packet *event) {
    uint32_t pending = xn_load_index(&events->page->in_prod) - events->in_cons;
    if (pending == 0) return 0;
    if (pending > XN_EVENT_SLOTS) return -EPROTO;
    xn_copy_packet(event, &events->page->slots[events->in_cons % XN_EVENT_SLOTS]);
    events->in_cons++;
    xn_store_index(&events->page->in_cons, events->in_cons);
    return 1;
}
