/* The core's picture of the shared pages beside Xen's own headers. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <xen/xen.h>

#include <xen/io/ring.h>
#include <xen/io/sndif.h>

#include "check.h"
#include "event_page.h"
#include "page_directory.h"
#include "ring.h"
#include "wire.h"

TEST(request_ring_lies_as_in_ring_h) {
    CHECK_EQUAL(sizeof(struct xn_ring_page), 64 + 32 * 64);
    CHECK_EQUAL(offsetof(struct xn_ring_page, req_prod), offsetof(struct xen_sndif_sring, req_prod));
    CHECK_EQUAL(offsetof(struct xn_ring_page, req_event),
                offsetof(struct xen_sndif_sring, req_event));
    CHECK_EQUAL(offsetof(struct xn_ring_page, rsp_prod), offsetof(struct xen_sndif_sring, rsp_prod));
    CHECK_EQUAL(offsetof(struct xn_ring_page, rsp_event),
                offsetof(struct xen_sndif_sring, rsp_event));
    CHECK_EQUAL(offsetof(struct xn_ring_page, slots), offsetof(struct xen_sndif_sring, ring));
    CHECK_EQUAL(XN_RING_SLOTS, __CONST_RING_SIZE(xen_sndif, XN_PAGE_OCTETS));
}

TEST(event_page_lies_as_in_sndif_h) {
    CHECK_EQUAL(sizeof(struct xn_event_page), XN_PAGE_OCTETS);
    CHECK_EQUAL(offsetof(struct xn_event_page, in_cons),
                offsetof(struct xensnd_event_page, in_cons));
    CHECK_EQUAL(offsetof(struct xn_event_page, in_prod),
                offsetof(struct xensnd_event_page, in_prod));
    CHECK_EQUAL(offsetof(struct xn_event_page, slots), XENSND_IN_RING_OFFS);
    CHECK_EQUAL(XN_EVENT_SLOTS, XENSND_IN_RING_LEN);
}

TEST(page_directory_lies_as_in_sndif_h) {
    const struct xensnd_page_directory *none = NULL;
    CHECK_EQUAL(offsetof(struct xensnd_page_directory, gref_dir_next_page), 0);
    CHECK_EQUAL(offsetof(struct xensnd_page_directory, gref), sizeof none->gref[0]);
    CHECK_EQUAL(XN_DIRECTORY_REFS, XN_PAGE_OCTETS / sizeof none->gref[0] - 1);
}

TEST(packets_lie_as_in_sndif_h) {
    CHECK_EQUAL(XN_PACKET_OCTETS, sizeof(struct xensnd_req));
    CHECK_EQUAL(XN_PACKET_OCTETS, sizeof(struct xensnd_resp));
    CHECK_EQUAL(XN_PACKET_OCTETS, sizeof(struct xensnd_evt));

    struct xn_packet packet;
    struct xensnd_req request;
    xn_wire_transfer_request(&packet, (struct xn_transfer){7, XN_OP_WRITE, 4096, 512});
    memcpy(&request, &packet, sizeof request);
    CHECK_EQUAL(request.id, 7);
    CHECK_EQUAL(request.operation, XENSND_OP_WRITE);
    CHECK_EQUAL(request.op.rw.offset, 4096);
    CHECK_EQUAL(request.op.rw.length, 512);

    struct xn_packet answer;
    struct xensnd_resp response;
    xn_wire_response(&answer, &packet, -22);
    memcpy(&response, &answer, sizeof response);
    CHECK_EQUAL(response.id, 7);
    CHECK_EQUAL(response.operation, XENSND_OP_WRITE);
    CHECK_EQUAL(response.status, -22);
}
