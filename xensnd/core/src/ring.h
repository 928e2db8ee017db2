/* The request ring, both ends (xen/io/ring.h): one shared page, 32 slots used for requests and,
 * again, for their responses.
 *
 * Each end keeps its own copy of the indices it owns; the shared ones are only published.
 */
#ifndef XENSND_RING_H
#define XENSND_RING_H

#include <stdbool.h>

#include "shared_memory.h"

#define XN_RING_SLOTS 32u

struct xn_ring_page {
    uint32_t req_prod;  /* frontend: end of the requests */
    uint32_t req_event; /* backend: notify me when req_prod passes this */
    uint32_t rsp_prod;  /* backend: end of the responses */
    uint32_t rsp_event; /* frontend: notify me when rsp_prod passes this */
    uint8_t reserved[48];
    struct xn_packet slots[XN_RING_SLOTS];
};

struct xn_backend_ring {
    struct xn_ring_page *page;
    uint32_t req_cons; /* requests taken */
    uint32_t rsp_prod; /* responses published */
    bool pipelined;    /* the frontend has had two requests under way at once */
};

/* Goes on where the page stands: a new connection starts at 0, a take-over in the middle. */
void xn_backend_ring_attach(struct xn_backend_ring *ring, void *page);

/* Takes a copy of the next request. 1: taken. 0: none. -EPROTO: the frontend claims more requests
 * than the ring has slots. */
int xn_backend_ring_take(struct xn_backend_ring *ring, struct xn_packet *request);

/* Asks to be notified of the next request. True: one is there already, and none will be notified.
 * A backend that does not ask looks by itself. */
bool xn_backend_ring_ask(struct xn_backend_ring *ring);

/* Publishes the response to a request taken before. The caller notifies, always: Linux leaves a
 * stale rsp_event behind when it misses a response, and would never be told again. */
void xn_backend_ring_answer(struct xn_backend_ring *ring, const struct xn_packet *response);

struct xn_frontend_ring {
    struct xn_ring_page *page;
    uint32_t req_prod; /* requests published */
    uint32_t rsp_cons; /* responses taken */
};

/* Begins a ring in a page of ours that no backend has seen yet (SHARED_RING_INIT). */
void xn_frontend_ring_attach(struct xn_frontend_ring *ring, void *page);

unsigned xn_frontend_ring_free_slots(const struct xn_frontend_ring *ring);

/* Publishes a request. 1: the backend wants to be notified. 0: it need not be.
 * -EAGAIN: no slot is free. */
int xn_frontend_ring_request(struct xn_frontend_ring *ring, const struct xn_packet *request);

/* Takes a copy of the next response. 1: taken. 0: none, and the backend will notify.
 * -EPROTO: the backend answered what was never asked. */
int xn_frontend_ring_take(struct xn_frontend_ring *ring, struct xn_packet *response);

#endif
