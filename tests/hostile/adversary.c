/* What a guest's vCPU does that wants to keep its backend busy. Each function goes on until it is
 * told to end, and returns how often it did what it does.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

enum { SLOTS = 32, HEADER_WORDS = 16, PACKET_WORDS = 16, REQ_PROD = 0, RSP_PROD = 2 };
enum { IN_CONS = 0, IN_PROD = 1 }; /* of the event page */

struct channel { /* as in xensnd/core/src/channel.h */
    int notify_fd;
    void *context; /* NULL: an eventfd */
    int (*notify)(void *context);
};

struct adversary {
    uint32_t *ring; /* its page */
    struct channel channel;
    const uint32_t *packets; /* sent one after another, and again */
    uint32_t packet_count;
    bool notifies;
    uint32_t ends; /* set by another thread */
};

static bool goes_on(const uint32_t *ends) { return !__atomic_load_n(ends, __ATOMIC_RELAXED); }

static void notify(const struct channel *channel) {
    if (channel->context) {
        (void)channel->notify(channel->context);
    } else {
        (void)eventfd_write(channel->notify_fd, 1);
    }
}

/* Keeps the request ring full, whatever the answers are. */
uint64_t flood_ring(struct adversary *adversary) {
    uint32_t *ring = adversary->ring;
    uint32_t req_prod = __atomic_load_n(&ring[REQ_PROD], __ATOMIC_ACQUIRE);
    uint64_t sent = 0;
    while (goes_on(&adversary->ends)) {
        do {
            uint32_t rsp_prod = __atomic_load_n(&ring[RSP_PROD], __ATOMIC_ACQUIRE);
            if (req_prod - rsp_prod >= SLOTS) break;
            uint32_t *slot = ring + HEADER_WORDS + req_prod % SLOTS * PACKET_WORDS;
            memcpy(slot, adversary->packets + sent % adversary->packet_count * PACKET_WORDS,
                   PACKET_WORDS * sizeof *slot);
            /* One by one, so that a backend that is quick does not find it empty between. */
            __atomic_store_n(&ring[REQ_PROD], ++req_prod, __ATOMIC_RELEASE);
            sent++;
        } while (req_prod % SLOTS);
        if (adversary->notifies) notify(&adversary->channel);
    }
    return sent;
}

/* Tells the backend of requests that are not there. */
uint64_t notify_without_end(struct adversary *adversary) {
    uint64_t sent = 0;
    for (; goes_on(&adversary->ends); sent++) notify(&adversary->channel);
    return sent;
}

/* Writes anything into the ring's indices: near to where they are, and far off. */
uint64_t scribble_indices(struct adversary *adversary) {
    uint32_t random = 1;
    uint64_t sent = 0;
    for (; goes_on(&adversary->ends); sent++) {
        random = random * 1664525 + 1013904223; /* Numerical Recipes */
        uint32_t is = __atomic_load_n(&adversary->ring[RSP_PROD], __ATOMIC_RELAXED);
        uint32_t becomes = random & 1u << 31 ? is + (random >> 16) % (SLOTS + 1) : random;
        __atomic_store_n(&adversary->ring[REQ_PROD], becomes, __ATOMIC_RELEASE);
        notify(&adversary->channel);
    }
    return sent;
}

/* The shared page of a vchan, as its server has it. The guest writes the first and the last of the
 * four indices; its control words are in a ring of 2,048 octets in the page itself. */
enum { LEFT_CONS = 0, RIGHT_CONS = 2, RIGHT_PROD = 3 };
enum { WORDS_OCTETS = 2048, WORDS_AT = 2048 / sizeof(uint32_t) };

/* Writes anything into the two indices that are the guest's: near to where they are, and far off. */
uint64_t scribble_vchan(struct adversary *adversary) {
    static const uint32_t OWN[] = {LEFT_CONS, RIGHT_PROD};
    uint32_t random = 1;
    uint64_t sent = 0;
    for (; goes_on(&adversary->ends); sent++) {
        random = random * 1664525 + 1013904223; /* Numerical Recipes */
        uint32_t *index = &adversary->ring[OWN[random >> 30 & 1]];
        uint32_t is = __atomic_load_n(index, __ATOMIC_RELAXED);
        uint32_t becomes = random & 1u << 31 ? is + (random >> 16) % WORDS_OCTETS : random;
        __atomic_store_n(index, becomes, __ATOMIC_RELEASE);
        notify(&adversary->channel);
    }
    return sent;
}

/* Keeps the ring full of control words, one after another, and again. */
uint64_t say_words(struct adversary *adversary) {
    uint32_t *page = adversary->ring;
    uint32_t prod = __atomic_load_n(&page[RIGHT_PROD], __ATOMIC_RELAXED);
    uint64_t sent = 0;
    while (goes_on(&adversary->ends)) {
        while (prod - __atomic_load_n(&page[RIGHT_CONS], __ATOMIC_ACQUIRE) < WORDS_OCTETS) {
            uint32_t word = adversary->packets[sent++ % adversary->packet_count];
            page[WORDS_AT + prod % WORDS_OCTETS / sizeof word] = word;
            __atomic_store_n(&page[RIGHT_PROD], prod += sizeof word, __ATOMIC_RELEASE);
        }
        notify(&adversary->channel);
    }
    return sent;
}

struct watch {
    uint32_t *event_page;
    uint64_t *buffer;
    uint32_t words;
    uint32_t ends;
    uint64_t live; /* octets that were found, and when the last of them */
    int64_t last_live_nsec;
};

/* Takes what was recorded out of the buffer, silence is zero; and all events, since a backend that
 * cannot tell of more records no more. */
void look(struct watch *watch) {
    uint32_t in_prod = __atomic_load_n(&watch->event_page[IN_PROD], __ATOMIC_ACQUIRE);
    __atomic_store_n(&watch->event_page[IN_CONS], in_prod, __ATOMIC_RELEASE);
    uint64_t live = 0;
    for (uint32_t i = 0; i < watch->words; i++)
        if (__atomic_exchange_n(&watch->buffer[i], 0, __ATOMIC_RELAXED)) live += sizeof *watch->buffer;
    if (!live) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    __atomic_store_n(&watch->last_live_nsec, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec,
                     __ATOMIC_RELAXED);
    __atomic_fetch_add(&watch->live, live, __ATOMIC_RELAXED);
}

/* Each millisecond. */
void look_without_end(struct watch *watch) {
    for (struct timespec pause = {.tv_nsec = 1000000}; goes_on(&watch->ends);) {
        look(watch);
        (void)nanosleep(&pause, NULL);
    }
}
