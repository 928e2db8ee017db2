/* A vchan with its server, a guest, in the test's hands. */
#ifndef VCHAN_FIXTURE_H
#define VCHAN_FIXTURE_H

#include <string.h>

#include "check.h"
#include "vchan_ring.h"

static struct xn_vchan_page *page;
static uint8_t *left, *right;
static uint32_t left_size, right_size;
static struct xn_vchan vchan;

/* As a server makes it, in pages of its own; both indices of each ring at `index`. */
static inline void offer_at(uint32_t left_octets, uint32_t right_octets, uint32_t index) {
    page = fenced_page();
    left = fenced_octets(left_octets);
    right = fenced_octets(right_octets);
    left_size = left_octets;
    right_size = right_octets;
    page->left.cons = page->left.prod = page->right.cons = page->right.prod = index;
    page->cli_live = 2;
    page->srv_live = 1;
    page->cli_notify = XN_VCHAN_WRITTEN;
    xn_vchan_attach(&vchan, page, left, left_octets, right, right_octets);
}

/* The octet that is the one of this count in a ring: no two neighbours are equal. */
static inline uint8_t counted(uint32_t count) { return (uint8_t)(count * 7 + count / 251); }

/* The server writes so many octets, each counted from the ring's start. */
static inline void server_writes(uint32_t octets) {
    for (uint32_t i = 0; i < octets; i++) {
        uint32_t count = page->right.prod + i;
        right[count % right_size] = counted(count);
    }
    page->right.prod += octets;
}

static inline uint32_t server_can_read(void) { return page->left.prod - page->left.cons; }

static inline uint8_t server_reads(void) { return left[page->left.cons++ % left_size]; }

#endif
