#include "backend_parts.h"

#include "wire.h"

/* Xen's error numbers (xen/errno.h) are Linux' own for these. */
#define STATUS_OK 0
#define STATUS_EINVAL (-22)

/* Requests served in one pass, and the rest a tick later, so that one guest cannot keep the thread
 * from the others, nor busy. */
#define REQUESTS_AT_ONCE 64

void xn_backend_violate(struct xn_backend *backend, enum xn_violation violation) {
    backend->violation = violation;
    xn_engine_api(backend->engine)->io_enable(backend->requests_io, PA_IO_EVENT_NULL);
    xn_engine_wake_python(backend->engine);
}

static int32_t transfer(struct xn_backend *backend, struct xn_transfer transfer) {
    struct xn_pcm *pcm = backend->pcm;
    bool right_way = transfer.operation == (backend->playback ? XN_OP_WRITE : XN_OP_READ);
    if (!pcm->buffer || !right_way || !xn_pcm_in_buffer(pcm, transfer.offset, transfer.octets) ||
        transfer.offset % pcm->config.frame_octets || transfer.octets % pcm->config.frame_octets) {
        backend->stats.refused++;
        return STATUS_EINVAL;
    }
    /* What was captured lies in the buffer already; a READ has nothing left to do. */
    if (backend->playback) xn_pcm_wrote(pcm, transfer.offset, transfer.octets);
    return STATUS_OK;
}

/* True: it was answered. Else it waits for Python. */
static bool serve(struct xn_backend *backend, const struct xn_packet *request) {
    uint8_t operation = xn_wire_operation(request);
    backend->stats.requests++;
    if (operation != XN_OP_READ && operation != XN_OP_WRITE) {
        backend->request = *request;
        backend->request_waits = true;
        xn_engine_wake_python(backend->engine);
        return false;
    }
    struct xn_packet response;
    xn_wire_response(&response, request, transfer(backend, xn_wire_transfer(request)));
    xn_backend_ring_answer(&backend->ring, &response);
    return true;
}

/* A frontend that waits for each answer wants it at once. One that does not is looked after when
 * the audio server asks, which saves a wakeup for each of its requests. */
static bool wants_notice(const struct xn_backend *backend) {
    return !(backend->ring.pipelined && xn_backend_is_fed(backend));
}

static bool may_serve(const struct xn_backend *backend) {
    return backend->has_begun && !backend->request_waits && !backend->violation;
}

void xn_backend_drain_requests(struct xn_backend *backend) {
    bool answered = false;
    unsigned left = REQUESTS_AT_ONCE;
    while (left && may_serve(backend)) {
        struct xn_packet request;
        int taken = xn_backend_ring_take(&backend->ring, &request);
        if (taken == 0) {
            if (wants_notice(backend) && xn_backend_ring_ask(&backend->ring)) continue;
            break;
        }
        if (taken < 0) {
            xn_backend_violate(backend, XN_VIOLATION_RING_INDEX);
            break;
        }
        left--;
        if (serve(backend, &request)) answered = true;
    }
    backend->more_requests = left == 0 && may_serve(backend);
    if (answered) xn_channel_notify(&backend->requests_channel);
}

void xn_backend_ask_for_notice(struct xn_backend *backend) {
    if (!may_serve(backend) || backend->more_requests) return;
    if (wants_notice(backend) && xn_backend_ring_ask(&backend->ring)) backend->more_requests = true;
}
