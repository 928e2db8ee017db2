"""The core's pure bookkeeping in this process, over memory whose surroundings are watched."""

from __future__ import annotations

import ctypes
import functools
import mmap
import tempfile
from pathlib import Path
from typing import Any

from cffi import FFI

from tests.core_c.build import build_model_library

PAGE_OCTETS = 4096
MARGIN_OCTETS = 1 << 20
BUFFER_OCTETS_MAX = 1 << 16

DECLARATIONS = """
struct xn_packet { uint64_t words[8]; };
struct xn_backend_ring { void *page; uint32_t req_cons, rsp_prod; bool pipelined; };
void xn_backend_ring_attach(struct xn_backend_ring *, void *page);
int xn_backend_ring_take(struct xn_backend_ring *, struct xn_packet *);
bool xn_backend_ring_ask(struct xn_backend_ring *);
void xn_backend_ring_answer(struct xn_backend_ring *, const struct xn_packet *);
struct xn_frontend_ring { void *page; uint32_t req_prod, rsp_cons; };
void xn_frontend_ring_attach(struct xn_frontend_ring *, void *page);
unsigned xn_frontend_ring_free_slots(const struct xn_frontend_ring *);
int xn_frontend_ring_request(struct xn_frontend_ring *, const struct xn_packet *);
int xn_frontend_ring_take(struct xn_frontend_ring *, struct xn_packet *, bool awaited);

struct xn_event_writer { void *page; uint32_t in_prod; };
void xn_event_writer_attach(struct xn_event_writer *, void *page);
int xn_event_writer_position(struct xn_event_writer *, uint64_t position_octets);
struct xn_event_reader { void *page; uint32_t in_cons; };
void xn_event_reader_attach(struct xn_event_reader *, void *page);
int xn_event_reader_take(struct xn_event_reader *, struct xn_packet *);

uint32_t xn_directory_read(const void *page, uint32_t wanted, uint32_t *refs, uint32_t *next);

struct xn_pcm_config {
    uint32_t rate_hz, frame_octets, buffer_octets, period_octets;
    uint8_t silence_octet;
};
struct xn_pcm {
    struct xn_pcm_config config;
    uint8_t *buffer;
    bool running;
    uint64_t written, taken, heard, rewritten, position, reported, clock_octets;
    int64_t clock_usec;
    bool report_now;
};
void xn_pcm_open(struct xn_pcm *, const struct xn_pcm_config *, void *buffer);
bool xn_pcm_in_buffer(const struct xn_pcm *, uint32_t offset, uint32_t octets);
void xn_pcm_start(struct xn_pcm *, int64_t now_usec);
void xn_pcm_stop(struct xn_pcm *);
void xn_pcm_wrote(struct xn_pcm *, uint32_t offset, uint32_t octets);
uint32_t xn_pcm_available(const struct xn_pcm *);
void xn_pcm_take(struct xn_pcm *, void *to, uint32_t octets);
uint32_t xn_pcm_rewritten(const struct xn_pcm *);
uint32_t xn_pcm_take_back(struct xn_pcm *);
void xn_pcm_advance_playback(struct xn_pcm *, int64_t now_usec, const uint64_t *heard, bool);
void xn_pcm_hold(struct xn_pcm *, int64_t now_usec);
void xn_pcm_rewind_to_position(struct xn_pcm *);
uint32_t xn_pcm_capture(struct xn_pcm *, const void *from, uint32_t octets, int64_t now_usec);
uint32_t xn_pcm_capture_due(const struct xn_pcm *, int64_t now_usec);
uint64_t xn_pcm_playback_report(const struct xn_pcm *);
uint64_t xn_pcm_capture_report(const struct xn_pcm *);
uint64_t xn_pcm_period_end(const struct xn_pcm *);
void xn_pcm_reported(struct xn_pcm *, uint64_t position);

void watch(const void *at, size_t octets, size_t margin);
bool has_strayed(void);
"""

ffi = FFI()
ffi.cdef(DECLARATIONS)


@functools.cache
def library() -> Any:
    with tempfile.TemporaryDirectory(prefix="xensnd-model-") as directory:
        return ffi.dlopen(str(build_model_library(Path(directory))))


class Fenced:
    """Memory between two runs of pages that cannot be touched. Its last octet is the last before
    the second one."""

    def __init__(self, octets_max: int) -> None:
        self._pages = -(-octets_max // PAGE_OCTETS) * PAGE_OCTETS
        self._map = mmap.mmap(-1, self._pages + 2 * MARGIN_OCTETS)
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None)
        for at in (self._first, self._first + MARGIN_OCTETS + self._pages):
            # PROT_NONE
            assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(MARGIN_OCTETS), 0) == 0

    def last(self, octets: int) -> Any:
        """So many octets at the end, watched from now on; as cffi sees them, `uint8_t *`."""
        address = self._first + MARGIN_OCTETS + self._pages - octets
        pointer = ffi.cast("uint8_t *", address)
        library().watch(pointer, octets, MARGIN_OCTETS)
        return pointer


@functools.cache
def fenced_buffer() -> Fenced:
    return Fenced(BUFFER_OCTETS_MAX)


@functools.cache
def fenced_page() -> Fenced:
    return Fenced(PAGE_OCTETS)
