/* START, STOP and PAUSE. A player measures how long they take, and Python takes long where it has to be
 * woken on a busy or emulated processor. So those of a stream that is allowed are served here:
 *
 *     the pass starts or stops the PCM, moves sound, tells the position, and answers the frontend
 *     -> Python is woken, gets the same request, notes the new state, audits it, and "answers"
 *     -> the next request that is for Python is served; READs and WRITEs were served meanwhile
 *
 * Nothing sounds that would not without this. The gate says that Python has allowed the stream, and
 * is closed first when it is not any more; and Python starts a stream, too, before it decides again.
 * As the next TRIGGER waits for Python, a guest toggles no faster than Python lets it. If the process
 * ends in between, xn_pcm.ahead tells the next one, which lets its own Python follow.
 */
#include "backend_parts.h"
#include "wire.h"

void xn_backend_run(struct xn_backend *backend, int64_t now_usec) {
    xn_pcm_start(backend->pcm, now_usec);
    xn_backend_begin_sound(backend);
    backend->progress_usec = now_usec;
    backend->fed_usec = 0;
    backend->stalled = false;
    backend->uncorks = true;
}

void xn_backend_halt(struct xn_backend *backend) {
    bool all_taken = xn_pcm_available(backend->pcm) == 0 && !backend->is_corked;
    if (backend->sound.audio) xn_audio_stop(backend->sound.audio, all_taken);
    xn_pcm_stop(backend->pcm);
    backend->uncorks = false;
}

/* All else has no effect, or is invalid, or depends on what Python alone knows. */
static enum xn_ahead effect_of(const struct xn_backend *backend) {
    const struct xn_packet *request = &backend->request;
    if (xn_wire_operation(request) != XN_OP_TRIGGER) return XN_NOTHING_AHEAD;
    bool running = backend->pcm->running;
    switch (xn_wire_trigger(request)) {
    case XN_TRIGGER_START:
        return running ? XN_NOTHING_AHEAD : XN_STARTED_AHEAD;
    case XN_TRIGGER_STOP:
    case XN_TRIGGER_PAUSE:
        return running ? XN_STOPPED_AHEAD : XN_NOTHING_AHEAD;
    default:
        return XN_NOTHING_AHEAD;
    }
}

bool xn_backend_serve_ahead(struct xn_backend *backend, int64_t now_usec) {
    if (!backend->pcm->buffer || !xn_gate_is_open(backend->sound.gate, now_usec)) return false;
    enum xn_ahead effect = effect_of(backend);
    if (effect == XN_NOTHING_AHEAD) return false;
    if (effect == XN_STARTED_AHEAD)
        xn_backend_run(backend, now_usec);
    else
        xn_backend_halt(backend);
    backend->pcm->ahead = (uint8_t)effect;
    backend->progress = XN_REQUEST_SERVED;
    return true;
}

void xn_backend_conclude(struct xn_backend *backend) {
    if (backend->uncorks && backend->sound.audio) xn_audio_start(backend->sound.audio);
    backend->uncorks = false;
    if (!backend->request_waits || backend->progress != XN_REQUEST_SERVED) return;
    struct xn_packet response;
    xn_wire_response(&response, &backend->request, 0);
    xn_backend_ring_answer(&backend->ring, &response);
    xn_channel_notify(&backend->requests_channel);
    backend->progress = XN_REQUEST_ANSWERED;
    xn_engine_wake_python(backend->sound.engine);
}

void xn_backend_followed(struct xn_backend *backend, bool refused) {
    struct xn_pcm *pcm = backend->pcm;
    if (refused && pcm->buffer && pcm->running) xn_backend_halt(backend);
    pcm->ahead = XN_NOTHING_AHEAD;
}

void xn_backend_follow_again(struct xn_backend *backend) {
    bool started = backend->pcm->ahead == XN_STARTED_AHEAD;
    if (!started && backend->pcm->ahead != XN_STOPPED_AHEAD) return;
    /* For the agent that follows, a stream that was paused is one that was stopped. */
    xn_wire_trigger_request(&backend->request, started ? XN_TRIGGER_START : XN_TRIGGER_STOP);
    backend->request_waits = true;
    backend->progress = XN_REQUEST_ANSWERED;
    xn_engine_wake_python(backend->sound.engine);
}
