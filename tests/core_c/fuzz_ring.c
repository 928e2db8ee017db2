/* A peer that writes anything into the shared pages between our calls: both ends of the ring and of
 * the event page give nothing but what their headers say, count as they should, and stay inside
 * the pages.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event_page.h"
#include "fuzz.h"
#include "page_directory.h"
#include "ring.h"

#define PAGES 4
#define WORDS (XN_PAGE_OCTETS / sizeof(uint32_t))

static uint32_t *pages[PAGES]; /* each end has a page, and a peer, of its own */
static struct xn_packet packet;

static void backend_step(struct xn_backend_ring *ring, uint32_t which) {
    uint32_t unanswered = ring->req_cons - ring->rsp_prod;
    int taken;
    switch (which % 3) {
    case 0:
        taken = xn_backend_ring_take(ring, &packet);
        REQUIRE(taken == 1 || taken == 0 || taken == -EPROTO);
        REQUIRE(ring->req_cons - ring->rsp_prod == unanswered + (taken == 1));
        break;
    case 1:
        if (unanswered) xn_backend_ring_answer(ring, &packet);
        break;
    default:
        (void)xn_backend_ring_ask(ring);
    }
    REQUIRE(ring->req_cons - ring->rsp_prod <= XN_RING_SLOTS);
}

static void frontend_step(struct xn_frontend_ring *ring, uint32_t which) {
    uint32_t free_slots = xn_frontend_ring_free_slots(ring);
    if (which % 2) {
        int wants = xn_frontend_ring_request(ring, &packet);
        REQUIRE(free_slots ? wants == 0 || wants == 1 : wants == -EAGAIN);
    } else {
        int taken = xn_frontend_ring_take(ring, &packet, true);
        REQUIRE(taken == 1 || taken == 0 || taken == -EPROTO);
        REQUIRE(xn_frontend_ring_free_slots(ring) == free_slots + (taken == 1));
    }
    REQUIRE(xn_frontend_ring_free_slots(ring) <= XN_RING_SLOTS);
}

static void event_step(struct xn_event_writer *writer, struct xn_event_reader *reader,
                       uint32_t which) {
    if (which % 2) {
        uint32_t before = writer->in_prod;
        int told = xn_event_writer_position(writer, which);
        REQUIRE(told == 0 || told == -EAGAIN);
        REQUIRE(writer->in_prod - before == (told == 0));
    } else {
        uint32_t before = reader->in_cons;
        int taken = xn_event_reader_take(reader, &packet);
        REQUIRE(taken == 1 || taken == 0 || taken == -EPROTO);
        REQUIRE(reader->in_cons - before == (taken == 1));
    }
}

static void directory_step(uint32_t page, uint32_t wanted) {
    uint32_t next, count = wanted < XN_DIRECTORY_REFS ? wanted : XN_DIRECTORY_REFS;
    uint32_t *refs = malloc(count * sizeof *refs);
    REQUIRE(refs || !count);
    REQUIRE(xn_directory_read(pages[page % PAGES], wanted, refs, &next) == count);
    free(refs);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t count) {
    struct fuzz_input input = {octets, count};
    struct xn_backend_ring backend;
    struct xn_frontend_ring frontend;
    struct xn_event_writer writer;
    struct xn_event_reader reader;
    for (unsigned i = 0; i < PAGES; i++) {
        if (!pages[i]) pages[i] = aligned_alloc(XN_PAGE_OCTETS, XN_PAGE_OCTETS);
        REQUIRE(pages[i]);
        memset(pages[i], 0, XN_PAGE_OCTETS);
        pages[i][0] = pages[i][1] = pages[i][2] = fuzz_u32(&input);
    }
    xn_backend_ring_attach(&backend, pages[0]);
    xn_frontend_ring_attach(&frontend, pages[1]);
    xn_event_writer_attach(&writer, pages[2]);
    xn_event_reader_attach(&reader, pages[3]);
    while (input.left) {
        uint32_t step = fuzz_u8(&input), page;
        switch (step % 6) {
        case 0:
            page = step / 6 % PAGES;
            pages[page][fuzz_u8(&input) % 8] = fuzz_u32(&input);
            break;
        case 1: /* a peer that is nearly honest */
            page = step / 6 % PAGES;
            pages[page][fuzz_u8(&input) % 4] += fuzz_u8(&input);
            break;
        case 2:
            backend_step(&backend, step / 6);
            break;
        case 3:
            frontend_step(&frontend, step / 6);
            break;
        case 4:
            event_step(&writer, &reader, step / 6);
            break;
        default:
            directory_step(step / 6, fuzz_u16(&input));
        }
    }
    return 0;
}
