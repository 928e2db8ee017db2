/* The client's end of a vchan (io/libxenvchan.h): two rings of octets, one each way, with indices in
 * a shared page. The server is a guest.
 *
 * An index counts octets, and wraps; modulo the ring's size, which is a power of two, it is a place
 * in the ring. Our own indices are private, and only published in the page. The server's are read
 * once for each call. The sizes come from whoever has checked the page, and are not read again.
 */
#ifndef XENSND_VCHAN_RING_H
#define XENSND_VCHAN_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xn_vchan_page {
    struct xn_vchan_indices {
        uint32_t cons, prod;
    } left, right;
    uint16_t left_order, right_order;
    uint8_t cli_live; /* the client: 2 at first, 1 when it has come, 0 when it has gone */
    uint8_t srv_live; /* the server: 1, or 0 when it has gone */
    uint8_t cli_notify; /* of what the client notifies the server */
    uint8_t srv_notify; /* of what the server notifies the client */
};

enum xn_vchan_event {
    XN_VCHAN_WRITTEN = 1, /* octets were put into a ring */
    XN_VCHAN_READ = 2,    /* octets were taken out of one, so that there is room */
};

struct xn_vchan_ring {
    struct xn_vchan_indices *indices;
    uint8_t *octets;
    uint32_t size;
    uint32_t position; /* our own index */
};

struct xn_vchan {
    struct xn_vchan_page *page;
    struct xn_vchan_ring to_guest;   /* the left ring */
    struct xn_vchan_ring from_guest; /* the right ring */
};

/* Starts from our own indices as they are in the page: 0 when the server is new, any value when
 * another process was its client before. The sizes are powers of two. */
void xn_vchan_attach(struct xn_vchan *vchan, void *page, void *left, uint32_t left_size,
                     void *right, uint32_t right_size);

/* Tell the server that its client has come, or gone. It must be notified after that. */
void xn_vchan_connect(struct xn_vchan *vchan);
void xn_vchan_disconnect(struct xn_vchan *vchan);

/* Returns whether the server is there. */
bool xn_vchan_is_open(const struct xn_vchan *vchan);

/* Gets how many octets can be read. Returns false if the server claims more than the ring has. */
bool xn_vchan_readable(const struct xn_vchan *vchan, uint32_t *octets);

/* Copies octets that can be read. xn_vchan_consume() gives their place back to the server. */
void xn_vchan_peek(const struct xn_vchan *vchan, void *to, uint32_t octets);
void xn_vchan_consume(struct xn_vchan *vchan, uint32_t octets);

/* Gets how many octets the server has not read yet. Returns false if its index is out of range. */
bool xn_vchan_unread(const struct xn_vchan *vchan, uint32_t *octets);

/* Writes octets for which there is room: the ring's size less those that are unread. `from` NULL:
 * zeros. */
void xn_vchan_put(struct xn_vchan *vchan, const void *from, uint32_t octets);

/* Asks the server for a notification of its next event of this kind. It may have come already, so
 * look once more after that. */
void xn_vchan_ask(struct xn_vchan *vchan, enum xn_vchan_event event);

/* Returns whether the server has asked for a notification of what we have just done. It gets one
 * for each time that it asks. */
bool xn_vchan_owes(struct xn_vchan *vchan, enum xn_vchan_event event);

#endif
