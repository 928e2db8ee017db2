"""The toolstack's part for sound: writes a guest's vsnd nodes, as libxl would, and removes them.

A guest has one device with all its streams, because the stock Linux driver only accepts card index
0. A denied direction has a stream too, so that it can become live when it is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent_dom0.cards.device import DevicePath
from agent_dom0.parameters import MAX_BUFFER_OCTETS
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.params import Interval
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import (
    CardConfig,
    Direction,
    PcmConfig,
    StreamConfig,
    card_nodes,
)
from xensnd.transport.interface import Store

DEVID = 0

# A mark in the backend's directory, which only dom0 writes: the agent may remove this device.
MARK = "provisioned-by"
MARKED = "xensnd"

_STARTING = str(int(XenbusState.INITIALISING))

RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000, 64000, 96000, 176400, 192000)
FORMATS = (
    SampleFormat.U8,
    SampleFormat.S16_LE,
    SampleFormat.S24_LE,
    SampleFormat.S32_LE,
    SampleFormat.F32_LE,
)


def default_card() -> CardConfig:
    def stream(index: int, direction: Direction) -> StreamConfig:
        return StreamConfig(
            index=index,
            direction=direction,
            unique_id=direction.value,
            channels=Interval(1, 2),
            rates=RATES,
            formats=FORMATS,
            buffer_octets=MAX_BUFFER_OCTETS,
        )

    streams = (stream(0, Direction.PLAYBACK), stream(1, Direction.CAPTURE))
    return CardConfig(
        pcms=(PcmConfig(index=0, name="xensnd", streams=streams),),
        short_name="xensnd",
        long_name="Sound through Xen",
    )


def frontend_nodes(path: DevicePath) -> dict[str, str]:
    """Return the guest's half of a device, as relative path to value."""
    return {
        "backend": path.backend,
        "backend-id": str(path.backend_domid),
        "state": _STARTING,
        "handle": str(path.devid),
        **card_nodes(default_card()),
    }


def backend_nodes(path: DevicePath) -> dict[str, str]:
    """Return our half of a device, as relative path to value."""
    return {
        "frontend": path.frontend,
        "frontend-id": str(path.guest_domid),
        "online": "1",
        "handle": str(path.devid),
        MARK: MARKED,
        "state": _STARTING,
    }


def frontend_permissions(path: DevicePath) -> list[str]:
    return [f"n{path.guest_domid}", f"r{path.backend_domid}"]


def backend_permissions(path: DevicePath) -> list[str]:
    return [f"n{path.backend_domid}", f"r{path.guest_domid}"]


def make_device(store: Store, path: DevicePath) -> None:
    """Write both halves in one transaction, in place of existing ones."""
    frontend, backend = frontend_nodes(path), backend_nodes(path)
    for attempt in store.transactions():
        with attempt as transaction:
            _write_tree(transaction, path.frontend, frontend, frontend_permissions(path))
            _write_tree(transaction, path.backend, backend, backend_permissions(path))


def _write_tree(
    store: Store, directory: str, nodes: Mapping[str, str], permissions: list[str]
) -> None:
    """What is created below the directory has its permissions: XenStore sees to that. To set them
    one by one would hold up all other guests for 50 ms."""
    store.remove(directory)
    store.mkdir(directory)
    store.set_permissions(directory, permissions)
    store.write_each({f"{directory}/{name}": value for name, value in nodes.items()})


def is_ours(store: Store, path: DevicePath) -> bool:
    try:
        return store.read(f"{path.backend}/{MARK}") == MARKED
    except KeyError:
        return False


def remove_device(store: Store, path: DevicePath) -> None:
    """Remove both halves. No frontend may be connected: see docs/stock-driver.md."""
    for attempt in store.transactions():
        with attempt as transaction:
            transaction.remove(path.frontend)
            transaction.remove(path.backend)
