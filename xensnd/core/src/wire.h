/* The fields of sndif packets that the core itself reads and writes (xen/io/sndif.h). The Python
 * package xensnd.sndif encodes and decodes all other packets. Packets are little-endian, as is
 * every machine that Xen runs on.
 */
#ifndef XENSND_WIRE_H
#define XENSND_WIRE_H

#include <string.h>

#include "shared_memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "sndif packets are little-endian");

enum { XN_OP_OPEN = 0, XN_OP_READ = 2, XN_OP_WRITE = 3, XN_OP_TRIGGER = 8 };

enum xn_trigger { XN_TRIGGER_START, XN_TRIGGER_PAUSE, XN_TRIGGER_STOP, XN_TRIGGER_RESUME };

struct xn_transfer { /* XENSND_OP_READ and XENSND_OP_WRITE */
    uint16_t id;
    uint8_t operation;
    uint32_t offset;
    uint32_t octets;
};

static inline uint8_t xn_wire_operation(const struct xn_packet *packet) {
    return packet->octets[2];
}

static inline uint16_t xn_wire_id(const struct xn_packet *packet) {
    uint16_t id;
    memcpy(&id, packet->octets, sizeof id);
    return id;
}

static inline void xn_wire_set_id(struct xn_packet *packet, uint16_t id) {
    memcpy(packet->octets, &id, sizeof id);
}

static inline int32_t xn_wire_status(const struct xn_packet *response) {
    int32_t status;
    memcpy(&status, response->octets + 4, sizeof status);
    return status;
}

static inline struct xn_transfer xn_wire_transfer(const struct xn_packet *request) {
    struct xn_transfer transfer = {.id = xn_wire_id(request),
                                   .operation = xn_wire_operation(request)};
    memcpy(&transfer.offset, request->octets + 8, sizeof transfer.offset);
    memcpy(&transfer.octets, request->octets + 12, sizeof transfer.octets);
    return transfer;
}

static inline void xn_wire_transfer_request(struct xn_packet *request,
                                            struct xn_transfer transfer) {
    memset(request, 0, sizeof *request);
    xn_wire_set_id(request, transfer.id);
    request->octets[2] = transfer.operation;
    memcpy(request->octets + 8, &transfer.offset, sizeof transfer.offset);
    memcpy(request->octets + 12, &transfer.octets, sizeof transfer.octets);
}

/* Of a TRIGGER; may be any octet. */
static inline uint8_t xn_wire_trigger(const struct xn_packet *request) { return request->octets[8]; }

static inline void xn_wire_trigger_request(struct xn_packet *request, enum xn_trigger trigger) {
    memset(request, 0, sizeof *request);
    request->octets[2] = XN_OP_TRIGGER;
    request->octets[8] = (uint8_t)trigger;
}

static inline void xn_wire_response(struct xn_packet *response, const struct xn_packet *request,
                                    int32_t status) {
    memset(response, 0, sizeof *response);
    memcpy(response->octets, request->octets, 3);
    memcpy(response->octets + 4, &status, sizeof status);
}

static inline void xn_wire_position_event(struct xn_packet *event, uint16_t id,
                                          uint64_t position_octets) {
    memset(event, 0, sizeof *event); /* type 0: XENSND_EVT_CUR_POS */
    xn_wire_set_id(event, id);
    memcpy(event->octets + 8, &position_octets, sizeof position_octets);
}

static inline uint64_t xn_wire_event_position(const struct xn_packet *event) {
    uint64_t position_octets;
    memcpy(&position_octets, event->octets + 8, sizeof position_octets);
    return position_octets;
}

#endif
