#include "ring.h"

#include <errno.h>

static struct xn_packet *slot(struct xn_ring_page *page, uint32_t index) {
    return &page->slots[index % XN_RING_SLOTS];
}

void xn_backend_ring_attach(struct xn_backend_ring *ring, void *page) {
    ring->page = page;
    ring->rsp_prod = xn_load_index(&ring->page->rsp_prod);
    ring->req_cons = ring->rsp_prod;
    ring->pipelined = false;
}

int xn_backend_ring_take(struct xn_backend_ring *ring, struct xn_packet *request) {
    uint32_t req_prod = xn_load_index(&ring->page->req_prod);
    if (req_prod == ring->req_cons) return 0;
    /* A slot is free again once its response has been published. */
    uint32_t unanswered = ring->req_cons - ring->rsp_prod;
    if (req_prod - ring->req_cons > XN_RING_SLOTS - unanswered) return -EPROTO;
    if (req_prod - ring->req_cons > 1) ring->pipelined = true;
    xn_copy_packet(request, slot(ring->page, ring->req_cons));
    ring->req_cons++;
    return 1;
}

void xn_backend_ring_give_back(struct xn_backend_ring *ring) { ring->req_cons--; }

bool xn_backend_ring_ask(struct xn_backend_ring *ring) {
    xn_store_index(&ring->page->req_event, ring->req_cons + 1);
    /* Either the frontend sees our req_event and notifies, or we see the request that it published
     * before. Without the fence, both could read too early. */
    xn_full_fence();
    return xn_load_index(&ring->page->req_prod) != ring->req_cons;
}

void xn_backend_ring_answer(struct xn_backend_ring *ring, const struct xn_packet *response) {
    xn_copy_packet(slot(ring->page, ring->rsp_prod), response);
    ring->rsp_prod++;
    xn_store_index(&ring->page->rsp_prod, ring->rsp_prod);
}

bool xn_backend_ring_must_notify(const struct xn_backend_ring *ring) {
    /* The responses are published before rsp_event is read: see xn_frontend_ring_take(). */
    xn_full_fence();
    uint32_t rsp_event = xn_load_index(&ring->page->rsp_event);
    uint32_t ahead = rsp_event - ring->rsp_prod;
    return ahead == 0 || ahead > XN_RING_SLOTS;
}

void xn_frontend_ring_attach(struct xn_frontend_ring *ring, void *page) {
    ring->page = page;
    ring->req_prod = ring->rsp_cons = 0;
    xn_store_index(&ring->page->req_prod, 0);
    xn_store_index(&ring->page->rsp_prod, 0);
    xn_store_index(&ring->page->req_event, 1);
    xn_store_index(&ring->page->rsp_event, 1);
}

unsigned xn_frontend_ring_free_slots(const struct xn_frontend_ring *ring) {
    return XN_RING_SLOTS - (ring->req_prod - ring->rsp_cons);
}

int xn_frontend_ring_request(struct xn_frontend_ring *ring, const struct xn_packet *request) {
    if (xn_frontend_ring_free_slots(ring) == 0) return -EAGAIN;
    xn_copy_packet(slot(ring->page, ring->req_prod), request);
    uint32_t before = ring->req_prod++;
    xn_store_index(&ring->page->req_prod, ring->req_prod);
    /* The counterpart of the fence in xn_backend_ring_ask(): the request is published before
     * req_event is read. */
    xn_full_fence();
    uint32_t req_event = xn_load_index(&ring->page->req_event);
    return ring->req_prod - req_event < ring->req_prod - before;
}

int xn_frontend_ring_take(struct xn_frontend_ring *ring, struct xn_packet *response,
                          bool awaited) {
    uint32_t rsp_prod = xn_load_index(&ring->page->rsp_prod);
    if (rsp_prod == ring->rsp_cons) {
        xn_store_index(&ring->page->rsp_event, ring->rsp_cons + (awaited ? 1 : XN_RING_SLOTS));
        xn_full_fence();
        rsp_prod = xn_load_index(&ring->page->rsp_prod);
        if (rsp_prod == ring->rsp_cons) return 0;
    }
    if (rsp_prod - ring->rsp_cons > ring->req_prod - ring->rsp_cons) return -EPROTO;
    xn_copy_packet(response, slot(ring->page, ring->rsp_cons));
    ring->rsp_cons++;
    return 1;
}
