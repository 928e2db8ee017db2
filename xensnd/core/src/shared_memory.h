/* How memory that another domain can write at any moment is read and written.
 *
 * Indices are aligned 32-bit words, read once and written once. Packets are copied into private
 * memory before anyone looks at them; the copy is volatile, so that the compiler cannot fetch a
 * field a second time from the shared page (XSA-155).
 */
#ifndef XENSND_SHARED_MEMORY_H
#define XENSND_SHARED_MEMORY_H

#include <stdint.h>

#define XN_PAGE_OCTETS 4096u
#define XN_PACKET_OCTETS 64u

struct xn_packet {
    _Alignas(8) uint8_t octets[XN_PACKET_OCTETS];
};

/* Acquire: what the peer wrote before it moved this index is visible after the load. */
static inline uint32_t xn_load_index(const uint32_t *index) {
    return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

/* Release: what we wrote before is visible to a peer that sees the new index. */
static inline void xn_store_index(uint32_t *index, uint32_t value) {
    __atomic_store_n(index, value, __ATOMIC_RELEASE);
}

/* Full fence: orders our store of one index before our load of another, in the "ask to be told,
 * then look once more" handshakes. Acquire and release do not order a store before a load. */
static inline void xn_full_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

static inline void xn_copy_packet(struct xn_packet *to, const struct xn_packet *from) {
    const volatile uint64_t *source = (const volatile uint64_t *)(const void *)from->octets;
    volatile uint64_t *target = (volatile uint64_t *)(void *)to->octets;
    for (unsigned i = 0; i < XN_PACKET_OCTETS / sizeof *target; i++) target[i] = source[i];
}

#endif
