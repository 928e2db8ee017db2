/* The mark of whom the core serves. It is in memory that outlives this process: if the process ends
 * during a pass, the mark shows whose pass that was.
 */
#ifndef XENSND_SERVED_H
#define XENSND_SERVED_H

#include <stdint.h>

/* The fences keep the compiler from moving the pass out of the two stores around it. */
static inline void xn_mark_served(uint32_t *served, uint32_t value) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(served, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

#endif
