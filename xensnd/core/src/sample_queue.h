/* Samples on their way between two threads: a ring with one writer and one reader, and no lock. The
 * real-time thread of a library is one of the two, and never waits for the other.
 *
 * Both ends are counts of octets that only grow, except that the writer may take back what it wrote
 * last. If it takes back what the reader is just about to read, the reader is ahead for a moment:
 * the queue then counts as empty, and the writer continues from the reader's place.
 */
#ifndef XENSND_SAMPLE_QUEUE_H
#define XENSND_SAMPLE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct xn_queue {
    uint8_t *data;
    uint32_t size; /* octets: whole frames, so that no frame is cut at the end */
    uint64_t written; /* shared: the writer stores it */
    uint64_t read;    /* shared: the reader stores it */
};

/* Returns false if there is no memory. */
bool xn_queue_init(struct xn_queue *queue, uint32_t frames, uint32_t frame_octets);
void xn_queue_free(struct xn_queue *queue);

/* Either thread: returns the octets that are written and not read. */
uint32_t xn_queue_fill(const struct xn_queue *queue);

/* The writer: returns room for up to *octets, and sets *octets to its size, which may be 0. */
void *xn_queue_room(struct xn_queue *queue, uint32_t *octets);
void xn_queue_commit(struct xn_queue *queue, uint32_t octets);

/* The writer: copies as much as there is room for. Returns the octets. */
uint32_t xn_queue_write(struct xn_queue *queue, const void *from, uint32_t octets);

/* The writer: takes back up to `octets` of what it wrote last, but leaves `keep` octets for the
 * reader. Returns the octets. */
uint32_t xn_queue_take_back(struct xn_queue *queue, uint32_t octets, uint32_t keep);

/* The reader: copies up to `octets`. Returns how many there were. */
uint32_t xn_queue_read(struct xn_queue *queue, void *to, uint32_t octets);

/* The reader: returns what it can read in one piece, and sets *octets to its size, which may be 0.
 * xn_queue_drop() goes on behind it. */
const void *xn_queue_peek(const struct xn_queue *queue, uint32_t *octets);
void xn_queue_drop(struct xn_queue *queue, uint32_t octets);

#endif
