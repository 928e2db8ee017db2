"""The transport on Xen: grants and event channels through Xen's own libraries.

The device `gntdev` maps pages that other domains grant, `gntalloc` grants pages of ours, and
`evtchn` carries events. xensnd.transport.factory loads this module only for `xen:`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xensnd.errors import RemoteProtocolError, TransportLost, UsageError
from xensnd.sndif.layout import PAGE_OCTETS
from xensnd.transport.interface import (
    EventChannel,
    EventFds,
    Handed,
    Pages,
    Receiver,
    Store,
    StoreDescriptor,
    Transport,
    map_handed,
    require_u32,
)
from xensnd.transport.mapping import Mapping, Part
from xensnd.transport.pages import MappedPages
from xensnd.transport.xen._xen import ffi, lib
from xensnd.transport.xen.dead_channels import keep_open
from xensnd.transport.xenstore import XenStore, connect_socket, open_xenbus

RUNTIME_DIRECTORY = Path("/run/xensnd")
XENSTORED_SOCKET = Path("/run/xenstored/socket")  # where xenstored runs, for root
XENBUS = Path("/dev/xen/xenbus")  # in every domain, for the users that udev allows

_DOMIDS = range(0x7FF0)  # above are Xen's own: DOMID_FIRST_RESERVED
# Linux' xen/evtchn.h and xen/gntdev.h.
_IOCTL_NOTIFY = 0x0004_4504
_IOCTL_MAP_GRANT_REF = 0x0018_4700
_MAP = struct.Struct("=I4xQ")  # count, the offset for mmap(2)
_GRANT = struct.Struct("=II")  # domid, reference
# Errors of the kernel and Xen for a grant or port that does not exist, or is not for us.
_NOT_OFFERED = {errno.EINVAL, errno.ESRCH, errno.EPERM, errno.EACCES, errno.ENOENT}


class XenTransport(Transport):
    def __init__(self) -> None:
        _require_device("evtchn")
        try:
            self._life = self._read_life()
        except (KeyError, ValueError):
            raise UsageError(
                "XenStore does not say which domain this is; in dom0: xen-init-dom0"
            ) from None
        self._channels: set[_XenChannel] = set()  # open ones, all opened in this life
        self._handed: dict[int, EventChannel] = {}  # to another process, by port
        self._shares = _Handle("gntalloc", lib.xengntshr_open, lib.xengntshr_close)

    @property
    def domid(self) -> int:
        return self._life.domid

    @property
    def runtime_directory(self) -> Path:
        directory = _runtime_directory()
        try:
            directory.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{directory}: {error.strerror}; run as the user who may write there"
            ) from None
        return directory

    def open_store(self) -> XenStore:
        """Connect to xenstored's own socket if we may, which in dom0 only root may; otherwise open
        the kernel's device."""
        store, path = _connect_store()
        return XenStore.over_descriptor(store, str(path))

    def connect_store(self) -> StoreDescriptor:
        return _connect_store()[0]

    def share_pages(self, peer_domid: int, count: int) -> Pages:
        handle = self._shares.open()
        refs = ffi.new("uint32_t[]", count)
        address = lib.xengntshr_share_pages(handle, peer_domid, count, refs, True)
        if address == ffi.NULL:
            raise _error(f"sharing {count} pages with dom{peer_domid}")
        return MappedPages(
            _address(address), tuple(refs), lambda: lib.xengntshr_unshare(handle, address, count)
        )

    def map_pages(self, peer_domid: int, refs: Sequence[int], *, writable: bool) -> Pages:
        return map_handed(self, XenReceiver(), peer_domid, refs, writable=writable)

    def hand_pages(self, peer_domid: int, refs: Sequence[int]) -> Handed:
        """The pages are mapped when the descriptor is; until then Xen does not know of it."""
        _require_domid(peer_domid)
        for ref in refs:
            require_u32(peer_domid, "page", ref)
        _require_device("gntdev")
        request = bytearray(_MAP.pack(len(refs), 0))
        for ref in refs:
            request += _GRANT.pack(peer_domid, ref)
        fd = _open_gntdev()
        try:
            fcntl.ioctl(fd, _IOCTL_MAP_GRANT_REF, request)
        except OSError:
            os.close(fd)
            raise
        _, offset = _MAP.unpack_from(request)
        return Handed([fd], {"offset": offset, "pages": len(refs), "to": self.domid})

    def hand_channel(self, peer_domid: int, peer_port: int) -> Handed:
        channel = self.bind_channel(peer_domid, peer_port)
        try:
            fd = os.dup(channel.fds.wait_fd)
        except OSError:
            channel.close()
            raise
        self._handed[channel.port] = channel
        return Handed([fd], {"port": channel.port})

    def end_channel(self, port: int) -> None:
        if port in self._handed:
            self._handed.pop(port).close()

    def allocate_channel(self, peer_domid: int) -> EventChannel:
        self._check_restore()
        channel = lib.xn_event_channel_allocate(peer_domid)
        if channel == ffi.NULL:
            raise _error(f"an event channel for dom{peer_domid}")
        return self._opened(channel)

    def bind_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        _require_domid(peer_domid)
        require_u32(peer_domid, "event channel", peer_port)
        self._check_restore()
        channel = lib.xn_event_channel_bind(peer_domid, peer_port)
        if channel == ffi.NULL:
            raise _refusal(
                f"dom{peer_domid} offers no event channel {peer_port} to dom{self.domid}",
                ffi.errno,
            )
        return self._opened(channel)

    def bind_lasting_channel(self, peer_domid: int, peer_port: int) -> EventChannel:
        return self.bind_channel(peer_domid, peer_port)

    def end_lasting_channel(self, peer_domid: int, peer_port: int) -> None:
        """It has ended when it was closed: no other process has bound it."""

    def _opened(self, channel: Any) -> EventChannel:
        opened = _XenChannel(channel, self._end_channel)
        self._channels.add(opened)
        return opened

    def _end_channel(self, channel: _XenChannel) -> None:
        self._check_restore()
        self._channels.discard(channel)

    def _check_restore(self) -> None:
        """Keep all channels open for ever if this domain was restored since they were opened."""
        if XENSTORED_SOCKET.exists():
            return  # the domain of xenstored is never saved
        try:
            life = self._read_life()
        except (TransportLost, KeyError, ValueError):
            return
        if life != self._life:
            self._life = life
            keep_open([channel.fds.wait_fd for channel in self._channels])
            self._channels.clear()

    def _read_life(self) -> _Life:
        with closing(self.open_store()) as store:
            return _Life(int(store.read("domid")), _start_time(store))

    def close(self) -> None:
        """Close the devices. Mapped and shared pages stay until they are closed themselves."""
        for port in list(self._handed):
            self.end_channel(port)
        self._shares.close()


class XenReceiver(Receiver):
    @property
    def ioctls(self) -> Sequence[int]:
        return [_IOCTL_NOTIFY]

    def receive_pages(
        self, peer_domid: int, refs: Sequence[int], handed: Sequence[Handed], *, writable: bool
    ) -> Pages:
        parts = [
            Part(each.fds[0], int(each.layout["offset"]), int(each.layout["pages"]) * PAGE_OCTETS)
            for each in handed
        ]
        try:
            mapping = Mapping(parts, writable=writable)
        except OSError as error:
            count = len(refs)
            pages = f"page {refs[0]}" if count == 1 else f"all of {count} pages from {refs[0]} on"
            to = int(handed[0].layout["to"])
            what = f"dom{peer_domid} does not grant {pages} to dom{to}"
            raise _refusal(what, error.errno) from error
        finally:
            for each in handed:
                each.close()  # the mapping keeps what it needs
        return MappedPages(mapping.address, tuple(refs), mapping.close)

    def receive_channel(self, handed: Handed, end: Callable[[], None]) -> EventChannel:
        channel = lib.xn_event_channel_adopt(handed.fds[0], int(handed.layout["port"]))
        if channel == ffi.NULL:
            error = _error("an event channel")
            handed.close()
            raise error
        return _XenChannel(channel, lambda _channel: end())


@dataclass(frozen=True, slots=True)
class _Life:
    """The life of a domain, from its creation to its destruction or saving. After a migration it
    may have the same number on its new host."""

    domid: int
    start_time: str


def _start_time(store: Store) -> str:
    try:
        return store.read(f"{store.read('vm')}/start_time")
    except (KeyError, OSError):
        return ""  # this toolstack does not write it


class _Handle:
    """One of Xen's devices, opened at its first use: no role uses all of them."""

    def __init__(
        self, device: str, open_: Callable[[Any, int], Any], close: Callable[[Any], int]
    ) -> None:
        self._device = device
        self._open = open_
        self._close = close
        self._handle: Any = None

    def open(self) -> Any:
        if self._handle is None:
            _require_device(self._device)
            handle = self._open(ffi.addressof(lib, "xn_silence"), 0)
            if handle == ffi.NULL:
                raise UsageError(
                    f"/dev/xen/{self._device}: {os.strerror(ffi.errno)}; "
                    "run as the user who may use it"
                )
            self._handle = handle
        return self._handle

    def close(self) -> None:
        if self._handle is not None:
            self._close(self._handle)
            self._handle = None


class _XenChannel(EventChannel):
    def __init__(self, channel: Any, end: Callable[[_XenChannel], None]) -> None:
        self._channel = channel
        self._end = end
        self._fds = EventFds(
            wait_fd=lib.xn_event_channel_fd(channel),
            context=_address(channel),
            clear=_address(ffi.addressof(lib, "xn_event_channel_clear")),
            notify=_address(ffi.addressof(lib, "xn_event_channel_notify")),
        )
        self._port = int(lib.xn_event_channel_port(channel))

    @property
    def port(self) -> int:
        return self._port

    @property
    def fds(self) -> EventFds:
        return self._fds

    def notify(self) -> None:
        lib.xn_event_channel_notify(self._channel)

    def clear(self) -> None:
        lib.xn_event_channel_clear(self._channel)

    def close(self) -> None:
        if self._channel is not None:
            self._end(self)
            lib.xn_event_channel_close(self._channel)
            self._channel = None


def _open_gntdev() -> int:
    try:
        return os.open("/dev/xen/gntdev", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise UsageError(
            f"/dev/xen/gntdev: {error.strerror}; run as the user who may use it"
        ) from None


def _connect_store() -> tuple[StoreDescriptor, Path]:
    if os.access(XENSTORED_SOCKET, os.R_OK | os.W_OK):
        return connect_socket(XENSTORED_SOCKET), XENSTORED_SOCKET
    _require_device(XENBUS.name)
    return open_xenbus(XENBUS), XENBUS


def _runtime_directory() -> Path:
    """Return the directory of the user's session, or of the machine for services."""
    persons = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() else None
    return Path(persons, "xensnd") if persons else RUNTIME_DIRECTORY


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def _require_device(name: str) -> None:
    path = Path("/dev/xen", name)
    if path.exists():
        return
    if not Path("/sys/hypervisor/type").exists():
        raise UsageError(f"{path} does not exist; is this a Xen domain? Without Xen, use local:DIR")
    raise UsageError(f"{path} does not exist; load its driver: modprobe xen-{name}")


def _require_domid(domid: int) -> None:
    if domid not in _DOMIDS:
        raise RemoteProtocolError(f"no domain has the number {domid}")


def _refusal(what: str, number: int | None) -> Exception:
    """Return the error for what the peer should have offered: its fault, unless a limit of ours is
    reached."""
    text = os.strerror(number or 0)
    if number in _NOT_OFFERED:
        return RemoteProtocolError(f"{what} ({text})")
    return OSError(number, f"{what}: {text}")


def _error(what: str) -> OSError:
    return OSError(ffi.errno, f"{what}: {os.strerror(ffi.errno)}")
