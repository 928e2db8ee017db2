#include "gate.h"

#include <sched.h>
#include <time.h>

/* All accesses are sequentially consistent. The thread that enters sets is_crossed before it reads
 * until_usec; the thread that closes sets until_usec before it reads is_crossed. So at least one of
 * the two sees the other. */

void xn_gate_open(struct xn_gate *gate, int64_t until_usec) {
    __atomic_store_n(&gate->until_usec, until_usec, __ATOMIC_SEQ_CST);
}

void xn_gate_close(struct xn_gate *gate) {
    __atomic_store_n(&gate->until_usec, 0, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&gate->is_crossed, __ATOMIC_SEQ_CST)) sched_yield();
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000) + time.tv_nsec / 1000;
}

bool xn_gate_close_within(struct xn_gate *gate, int64_t usec) {
    __atomic_store_n(&gate->until_usec, 0, __ATOMIC_SEQ_CST);
    const int64_t until_usec = now() + usec;
    while (__atomic_load_n(&gate->is_crossed, __ATOMIC_SEQ_CST)) {
        if (now() > until_usec) return false;
        sched_yield();
    }
    return true;
}

bool xn_gate_is_open(const struct xn_gate *gate, int64_t now_usec) {
    return now_usec < __atomic_load_n(&gate->until_usec, __ATOMIC_SEQ_CST);
}

bool xn_gate_enter(struct xn_gate *gate, int64_t now_usec) {
    __atomic_store_n(&gate->is_crossed, true, __ATOMIC_SEQ_CST);
    if (now_usec < __atomic_load_n(&gate->until_usec, __ATOMIC_SEQ_CST)) return true;
    xn_gate_leave(gate);
    return false;
}

void xn_gate_leave(struct xn_gate *gate) {
    __atomic_store_n(&gate->is_crossed, false, __ATOMIC_SEQ_CST);
}
