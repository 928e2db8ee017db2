/* Both ends of the request ring (xen/io/ring.h): one shared page of 32 slots, which hold requests
 * and later responses.
 *
 * Each end keeps private copies of its own indices. It publishes them in the page, and does not
 * read them back while the ring is in use.
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

/* Starts from the indices in the page: 0 on a new connection, any value on a take-over. */
void xn_backend_ring_attach(struct xn_backend_ring *ring, void *page);

/* Copies the next request. Returns 1 if there was one, 0 if not, and -EPROTO if the frontend claims
 * more requests than the ring has slots. */
int xn_backend_ring_take(struct xn_backend_ring *ring, struct xn_packet *request);

/* Gives back the request that was taken last, so that the next one taken is that slot again. */
void xn_backend_ring_give_back(struct xn_backend_ring *ring);

/* Requests a notification of the next request. Returns true if one is there already: no
 * notification comes for that one. A backend that does not request notifications has to poll the
 * ring. */
bool xn_backend_ring_ask(struct xn_backend_ring *ring);

/* Publishes the response to a request taken before. After the last of several, the frontend must be
 * notified if xn_backend_ring_must_notify(). */
void xn_backend_ring_answer(struct xn_backend_ring *ring, const struct xn_packet *response);

/* Returns false only if the frontend waits for a response that is still to come. Linux leaves a
 * stale rsp_event behind when it misses a response, so one that was passed before means nothing. */
bool xn_backend_ring_must_notify(const struct xn_backend_ring *ring);

struct xn_frontend_ring {
    struct xn_ring_page *page;
    uint32_t req_prod; /* requests published */
    uint32_t rsp_cons; /* responses taken */
};

/* Initialises the ring in a page of our own that no backend has mapped yet (SHARED_RING_INIT). */
void xn_frontend_ring_attach(struct xn_frontend_ring *ring, void *page);

unsigned xn_frontend_ring_free_slots(const struct xn_frontend_ring *ring);

/* Publishes a request. Returns 1 if the backend must be notified, 0 if not, and -EAGAIN if no slot
 * is free. */
int xn_frontend_ring_request(struct xn_frontend_ring *ring, const struct xn_packet *request);

/* Copies the next response. Returns 1 if there was one; 0 if not, and the backend will notify us of
 * the next if it is `awaited`, or else of that to the last request for which the ring has room; and
 * -EPROTO if there are more responses than requests. */
int xn_frontend_ring_take(struct xn_frontend_ring *ring, struct xn_packet *response, bool awaited);

#endif
