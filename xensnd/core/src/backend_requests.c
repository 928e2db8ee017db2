#include "backend_parts.h"

#include "wire.h"

/* Xen's error numbers (xen/errno.h); these are the same as Linux's. */
#define STATUS_OK 0
#define STATUS_EINVAL (-22)

/* The most requests served in one pass. The rest are served a tick later, so that one guest cannot
 * delay the others. */
#define REQUESTS_AT_ONCE 256

static void violate(struct xn_backend *backend, enum xn_violation violation) {
    backend->violation = violation;
    xn_engine_wake_python(backend->sound.engine);
}

static int32_t transfer(struct xn_backend *backend, struct xn_transfer transfer) {
    struct xn_pcm *pcm = backend->pcm;
    bool right_way = transfer.operation == (backend->playback ? XN_OP_WRITE : XN_OP_READ);
    if (!pcm->buffer || !right_way || !xn_pcm_in_buffer(pcm, transfer.offset, transfer.octets) ||
        transfer.offset % pcm->config.frame_octets || transfer.octets % pcm->config.frame_octets) {
        backend->stats.refused++;
        backend->refused++;
        return STATUS_EINVAL;
    }
    /* Captured data is already in the buffer, so a READ has nothing to do. */
    if (backend->playback) xn_pcm_wrote(pcm, transfer.offset, transfer.octets);
    return STATUS_OK;
}

static bool is_transfer(const struct xn_packet *request) {
    uint8_t operation = xn_wire_operation(request);
    return operation == XN_OP_READ || operation == XN_OP_WRITE;
}

static void await_python(struct xn_backend *backend, const struct xn_packet *request,
                         int64_t now_usec) {
    bool opens = xn_wire_operation(request) == XN_OP_OPEN;
    bool are_few = xn_budget_charge_control(backend->budget, now_usec, opens);
    backend->request = *request;
    backend->request_waits = true;
    backend->progress = XN_REQUEST_SEEN;
    if (are_few && xn_backend_serve_ahead(backend, now_usec)) return;
    xn_engine_wake_python(backend->sound.engine);
}

/* Returns true if it was answered, and false if it waits for Python. */
static bool serve(struct xn_backend *backend, const struct xn_packet *request, int64_t now_usec) {
    backend->stats.requests++;
    if (!is_transfer(request)) {
        await_python(backend, request, now_usec);
        return false;
    }
    struct xn_packet response;
    xn_wire_response(&response, request, transfer(backend, xn_wire_transfer(request)));
    xn_backend_ring_answer(&backend->ring, &response);
    return true;
}

/* A frontend that waits for each answer needs it at once. Requests of one that does not are served
 * in the next pass, which saves a wakeup for each. */
static bool wants_notice(const struct xn_backend *backend) {
    return !(backend->ring.pipelined && xn_backend_passes_suffice(backend));
}

static bool may_serve(const struct xn_backend *backend) {
    if (!backend->has_begun || backend->violation) return false;
    if (!backend->request_waits) return true;
    return backend->progress == XN_REQUEST_ANSWERED && !backend->next_waits;
}

/* Returns how many were served. */
static unsigned drain(struct xn_backend *backend, int64_t now_usec) {
    bool answered = false;
    unsigned served = 0, refused = backend->refused;
    while (served < REQUESTS_AT_ONCE && may_serve(backend)) {
        struct xn_packet request;
        int taken = xn_backend_ring_take(&backend->ring, &request);
        if (taken == 0) {
            if (wants_notice(backend) && xn_backend_ring_ask(&backend->ring)) continue;
            break;
        }
        if (taken < 0) {
            violate(backend, XN_VIOLATION_RING_INDEX);
            break;
        }
        if (backend->request_waits && !is_transfer(&request)) {
            xn_backend_ring_give_back(&backend->ring);
            backend->next_waits = true;
            break;
        }
        served++;
        if (serve(backend, &request, now_usec)) answered = true;
        if (backend->refused >= XN_REFUSED_MAX) violate(backend, XN_VIOLATION_REFUSED);
    }
    /* A frontend does not expect to be refused, and should not learn of it late. */
    bool is_awaited = backend->refused != refused || xn_backend_ring_must_notify(&backend->ring);
    if (answered && is_awaited) xn_channel_notify(&backend->requests_channel);
    return served;
}

void xn_backend_drain_requests(struct xn_backend *backend, int64_t now_usec, bool notified) {
    /* A pass for requests that the last pass left over is also caused by the guest. */
    bool woken = notified || backend->more_requests;
    backend->more_requests = false;
    if (!may_serve(backend) && !notified) return;
    if (!xn_budget_is_open(backend->budget, now_usec)) return;
    unsigned refused = backend->refused;
    unsigned served = drain(backend, now_usec);
    backend->more_requests = served == REQUESTS_AT_ONCE && may_serve(backend);
    switch (xn_budget_charge(backend->budget, now_usec, woken, served,
                             backend->refused - refused)) {
    case XN_WITHIN_BUDGET:
        break;
    case XN_OVER_BUDGET:
        xn_engine_wake_python(backend->sound.engine);
        break;
    case XN_OVER_FOR_TOO_LONG:
        if (!backend->violation) violate(backend, XN_VIOLATION_STORM);
        break;
    }
}

void xn_backend_await_requests(struct xn_backend *backend, int64_t now_usec) {
    bool listens = backend->has_begun && !backend->violation &&
                   xn_budget_is_open(backend->budget, now_usec);
    if (listens != backend->is_polled)
        xn_engine_api(backend->sound.engine)
            ->io_enable(backend->requests_io, listens ? PA_IO_EVENT_INPUT : PA_IO_EVENT_NULL);
    backend->is_polled = listens;
    if (!listens) backend->more_requests = false; /* they are served after the pause */
    if (!listens || !may_serve(backend) || backend->more_requests) return;
    if (wants_notice(backend) && xn_backend_ring_ask(&backend->ring)) backend->more_requests = true;
}
