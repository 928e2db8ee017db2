"""Builds xensnd.transport.xen._xen: Xen's two stable libraries for Python (cffi, API mode).

The event channels have C code of their own, since the audio core uses them without Python.
"""

from __future__ import annotations

from cffi import FFI

DECLARATIONS = """
/* event_channel.h */
struct xn_event_channel;
struct xn_event_channel *xn_event_channel_allocate(uint32_t domid);
struct xn_event_channel *xn_event_channel_bind(uint32_t domid, uint32_t remote_port);
struct xn_event_channel *xn_event_channel_adopt(int fd, uint32_t port);
void xn_event_channel_close(struct xn_event_channel *);
int xn_event_channel_fd(const struct xn_event_channel *);
uint32_t xn_event_channel_port(const struct xn_event_channel *);
int xn_event_channel_clear(void *);
int xn_event_channel_notify(void *);
struct xentoollog_logger { ...; };
struct xentoollog_logger xn_silence;

/* xengnttab.h */
typedef struct xengntdev_handle xengntshr_handle;
xengntshr_handle *xengntshr_open(struct xentoollog_logger *, unsigned open_flags);
int xengntshr_close(xengntshr_handle *);
void *xengntshr_share_pages(
    xengntshr_handle *, uint32_t domid, int count, uint32_t *refs, int writable);
int xengntshr_unshare(xengntshr_handle *, void *start_address, uint32_t count);
"""

HERE = "xensnd/transport/xen"  # setuptools wants paths relative to the root, from where it runs

ffi = FFI()
ffi.cdef(DECLARATIONS)
ffi.set_source(
    "xensnd.transport.xen._xen",
    '#include "event_channel.h"\n',
    sources=[f"{HERE}/event_channel.c"],
    depends=[f"{HERE}/event_channel.h"],
    include_dirs=[HERE],
    define_macros=[("_GNU_SOURCE", None)],
    libraries=["xenevtchn", "xengnttab"],
    extra_compile_args=["-std=c11", "-Wall"],
)
