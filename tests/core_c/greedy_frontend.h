/* A frontend on a CPU of its own that sends the next request as soon as one is answered. Link with
 * --wrap=xn_backend_ring_answer.
 */
#ifndef GREEDY_FRONTEND_H
#define GREEDY_FRONTEND_H

#include "backend_fixture.h"

enum { AT_ONCE = 256 }; /* requests in one pass */

static unsigned refills; /* how many more requests it sends */
static uint32_t served_at_answer; /* the guest's word when the last request was answered */
void __real_xn_backend_ring_answer(struct xn_backend_ring *, const struct xn_packet *);
void __wrap_xn_backend_ring_answer(struct xn_backend_ring *, const struct xn_packet *);

void __wrap_xn_backend_ring_answer(struct xn_backend_ring *ring, const struct xn_packet *response) {
    __real_xn_backend_ring_answer(ring, response);
    served_at_answer = served_word;
    if (refills == 0) return;
    refills--;
    CHECK_EQUAL(answer(), 0);
    request(XN_OP_WRITE, 0, 4, false);
}

#endif
