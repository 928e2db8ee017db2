/* A guest's vCPU that does nothing but send READs or WRITEs of one frame, one after another: the
 * request ring is full whenever its backend looks. What the answers are does not matter to it.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { SLOTS = 32, HEADER_WORDS = 16, PACKET_WORDS = 16, REQ_PROD = 0, RSP_PROD = 2 };

struct filling {
    uint32_t *ring; /* its page */
    int notify_fd;
    bool rings; /* after each lap of it, and while it is full */
    uint8_t operation;
    uint32_t first_offset, end_offset; /* octets; goes around between them */
    uint32_t frame_octets;
    uint32_t ends; /* set by another thread */
};

/* Until it ends. Returns how many requests were sent. */
uint64_t fill(struct filling *filling) {
    uint64_t sent = 0;
    uint32_t req_prod = __atomic_load_n(&filling->ring[REQ_PROD], __ATOMIC_ACQUIRE);
    uint32_t offset = filling->first_offset;
    /* This thread alone: a guest's vCPU stands behind the sound of others. */
    (void)setpriority(PRIO_PROCESS, 0, 10);
    for (uint32_t rsp_prod; !__atomic_load_n(&filling->ends, __ATOMIC_RELAXED);) {
        do {
            rsp_prod = __atomic_load_n(&filling->ring[RSP_PROD], __ATOMIC_ACQUIRE);
            if (req_prod - rsp_prod >= SLOTS) break;
            uint32_t *packet = filling->ring + HEADER_WORDS + req_prod % SLOTS * PACKET_WORDS;
            memset(packet, 0, PACKET_WORDS * sizeof *packet);
            packet[0] = (req_prod & 0xffff) | (uint32_t)filling->operation << 16;
            packet[2] = offset;
            packet[3] = filling->frame_octets;
            offset += filling->frame_octets;
            if (offset >= filling->end_offset) offset = filling->first_offset;
            /* One by one, so that a backend that is quick does not find it empty between. */
            __atomic_store_n(&filling->ring[REQ_PROD], ++req_prod, __ATOMIC_RELEASE);
            sent++;
        } while (req_prod % SLOTS);
        if (filling->rings) (void)eventfd_write(filling->notify_fd, 1);
    }
    return sent;
}
