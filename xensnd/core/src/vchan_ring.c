#include "vchan_ring.h"

#include <string.h>

#include "shared_memory.h"

_Static_assert(offsetof(struct xn_vchan_page, left_order) == 16, "libxenvchan.h");
_Static_assert(offsetof(struct xn_vchan_page, cli_live) == 20, "libxenvchan.h");
_Static_assert(sizeof(struct xn_vchan_page) == 24, "libxenvchan.h");

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

void xn_vchan_attach(struct xn_vchan *vchan, void *page, void *left, uint32_t left_size,
                     void *right, uint32_t right_size) {
    vchan->page = page;
    vchan->to_guest =
        (struct xn_vchan_ring){.indices = &vchan->page->left, .octets = left, .size = left_size};
    vchan->from_guest = (struct xn_vchan_ring){
        .indices = &vchan->page->right, .octets = right, .size = right_size};
    vchan->to_guest.position = xn_load_index(&vchan->page->left.prod);
    vchan->from_guest.position = xn_load_index(&vchan->page->right.cons);
}

void xn_vchan_connect(struct xn_vchan *vchan) {
    __atomic_store_n(&vchan->page->srv_notify, XN_VCHAN_WRITTEN, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vchan->page->cli_live, 1, __ATOMIC_SEQ_CST);
}

void xn_vchan_disconnect(struct xn_vchan *vchan) {
    __atomic_store_n(&vchan->page->cli_live, 0, __ATOMIC_SEQ_CST);
}

bool xn_vchan_is_open(const struct xn_vchan *vchan) {
    return __atomic_load_n(&vchan->page->srv_live, __ATOMIC_ACQUIRE) != 0;
}

bool xn_vchan_readable(const struct xn_vchan *vchan, uint32_t *octets) {
    const struct xn_vchan_ring *ring = &vchan->from_guest;
    *octets = xn_load_index(&ring->indices->prod) - ring->position;
    return *octets <= ring->size;
}

void xn_vchan_peek(const struct xn_vchan *vchan, void *to, uint32_t octets) {
    const struct xn_vchan_ring *ring = &vchan->from_guest;
    uint32_t offset = ring->position & (ring->size - 1);
    uint32_t first = smaller(octets, ring->size - offset);
    memcpy(to, ring->octets + offset, first);
    memcpy((uint8_t *)to + first, ring->octets, octets - first);
}

void xn_vchan_consume(struct xn_vchan *vchan, uint32_t octets) {
    vchan->from_guest.position += octets;
    xn_store_index(&vchan->page->right.cons, vchan->from_guest.position);
}

bool xn_vchan_unread(const struct xn_vchan *vchan, uint32_t *octets) {
    const struct xn_vchan_ring *ring = &vchan->to_guest;
    *octets = ring->position - xn_load_index(&ring->indices->cons);
    return *octets <= ring->size;
}

static void put_part(uint8_t *to, const uint8_t *from, uint32_t octets) {
    if (from)
        memcpy(to, from, octets);
    else
        memset(to, 0, octets);
}

void xn_vchan_put(struct xn_vchan *vchan, const void *from, uint32_t octets) {
    struct xn_vchan_ring *ring = &vchan->to_guest;
    uint32_t offset = ring->position & (ring->size - 1);
    uint32_t first = smaller(octets, ring->size - offset);
    put_part(ring->octets + offset, from, first);
    put_part(ring->octets, from ? (const uint8_t *)from + first : NULL, octets - first);
    ring->position += octets;
    xn_store_index(&ring->indices->prod, ring->position);
}

void xn_vchan_ask(struct xn_vchan *vchan, enum xn_vchan_event event) {
    (void)__atomic_fetch_or(&vchan->page->srv_notify, (uint8_t)event, __ATOMIC_SEQ_CST);
    /* The counterpart of the fence in libxenvchan's send_notify(): either the server sees that we
     * ask, or we see what it did before. */
    xn_full_fence();
}

bool xn_vchan_owes(struct xn_vchan *vchan, enum xn_vchan_event event) {
    xn_full_fence(); /* our index is published before the server's wish is read */
    uint8_t wishes = __atomic_load_n(&vchan->page->cli_notify, __ATOMIC_SEQ_CST);
    if (!(wishes & event)) return false;
    uint8_t before =
        __atomic_fetch_and(&vchan->page->cli_notify, (uint8_t)~event, __ATOMIC_SEQ_CST);
    return before & event;
}
