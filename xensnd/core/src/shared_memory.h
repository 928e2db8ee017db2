/* Reads and writes of memory that another domain can change at any moment.
 *
 * Indices are aligned 32-bit words, read once and written once. A packet is copied into private
 * memory before any of its fields is used. The copy is volatile, so that the compiler cannot read a
 * field from the shared page a second time (XSA-155).
 */
#ifndef XENSND_SHARED_MEMORY_H
#define XENSND_SHARED_MEMORY_H

#include <stdint.h>

#define XN_PAGE_OCTETS 4096u
#define XN_PACKET_OCTETS 64u

struct xn_packet {
    _Alignas(8) uint8_t octets[XN_PACKET_OCTETS];
};

/* Acquire: what the peer wrote before it advanced this index is visible after the load. */
static inline uint32_t xn_load_index(const uint32_t *index) {
    return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

/* Release: what we wrote before is visible to a peer that sees the new index. */
static inline void xn_store_index(uint32_t *index, uint32_t value) {
    __atomic_store_n(index, value, __ATOMIC_RELEASE);
}

/* Full fence: orders our store of one index before our load of another. It is for a side that
 * requests a notification and then checks the ring once more: acquire and release do not order a
 * store before a load. */
static inline void xn_full_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

static inline void xn_copy_packet(struct xn_packet *to, const struct xn_packet *from) {
    const volatile uint64_t *source = (const volatile uint64_t *)(const void *)from->octets;
    volatile uint64_t *target = (volatile uint64_t *)(void *)to->octets;
    for (unsigned i = 0; i < XN_PACKET_OCTETS / sizeof *target; i++) target[i] = source[i];
}

#endif
