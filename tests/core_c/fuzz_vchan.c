/* A guest that writes anything into the shared page between our calls: what can be read or is
 * unread is at most a ring, our indices count as they should, and nothing outside the rings is
 * touched.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "shared_memory.h"
#include "vchan_ring.h"

#define LEFT_OCTETS 1024u
#define RIGHT_OCTETS 2048u

static uint32_t *page;
static uint8_t *left, *right;

static void *allocated(size_t octets) {
    void *memory = aligned_alloc(XN_PAGE_OCTETS, octets);
    REQUIRE(memory);
    return memory;
}

static void consume(struct xn_vchan *vchan, uint32_t wanted) {
    uint32_t octets, before = vchan->from_guest.position;
    if (!xn_vchan_readable(vchan, &octets)) return;
    REQUIRE(octets <= RIGHT_OCTETS);
    if (wanted < octets) octets = wanted;
    uint8_t *copy = malloc(octets ? octets : 1);
    REQUIRE(copy);
    xn_vchan_peek(vchan, copy, octets);
    xn_vchan_consume(vchan, octets);
    free(copy);
    REQUIRE(vchan->from_guest.position - before == octets);
}

static void put(struct xn_vchan *vchan, uint32_t wanted, bool silence) {
    uint32_t unread, before = vchan->to_guest.position;
    if (!xn_vchan_unread(vchan, &unread)) return;
    REQUIRE(unread <= LEFT_OCTETS);
    uint32_t octets = wanted < LEFT_OCTETS - unread ? wanted : LEFT_OCTETS - unread;
    uint8_t *from = calloc(1, octets ? octets : 1);
    REQUIRE(from);
    xn_vchan_put(vchan, silence ? NULL : from, octets);
    free(from);
    REQUIRE(vchan->to_guest.position - before == octets);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t count) {
    struct fuzz_input input = {octets, count};
    struct xn_vchan vchan;
    if (!page) page = allocated(XN_PAGE_OCTETS);
    if (!left) left = malloc(LEFT_OCTETS);
    if (!right) right = malloc(RIGHT_OCTETS);
    REQUIRE(left && right);
    memset(page, 0, XN_PAGE_OCTETS);
    memset(left, 0, LEFT_OCTETS);
    memset(right, 0, RIGHT_OCTETS);
    for (unsigned i = 0; i < 4; i++) page[i] = fuzz_u32(&input);
    xn_vchan_attach(&vchan, page, left, LEFT_OCTETS, right, RIGHT_OCTETS);
    while (input.left) {
        uint32_t step = fuzz_u8(&input);
        switch (step % 6) {
        case 0:
            page[fuzz_u8(&input) % 6] = fuzz_u32(&input);
            break;
        case 1: /* a guest that is nearly honest */
            page[step / 6 % 4] += fuzz_u16(&input) % (2 * RIGHT_OCTETS);
            break;
        case 2:
            consume(&vchan, fuzz_u16(&input));
            break;
        case 3:
            put(&vchan, fuzz_u16(&input), step / 6 % 2);
            break;
        case 4:
            xn_vchan_ask(&vchan, step / 6 % 2 ? XN_VCHAN_READ : XN_VCHAN_WRITTEN);
            break;
        default:
            (void)xn_vchan_owes(&vchan, step / 6 % 2 ? XN_VCHAN_READ : XN_VCHAN_WRITTEN);
        }
    }
    return 0;
}
