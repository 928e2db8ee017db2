"""What XenStore holds of a sound card."""

from __future__ import annotations

from collections.abc import Sequence

from xensnd.errors import LimitReached
from xensnd.sndif.store_fields import CARD_NODES, MAX_PCMS, MAX_STREAMS
from xensnd.transport.interface import Store

__all__ = ["read_card_nodes"]


def read_card_nodes(
    store: Store, frontend: str, streams_max: int = MAX_PCMS * MAX_STREAMS
) -> dict[str, str]:
    """Return the nodes of a card below the frontend's directory, as relative path to value.

    Each node costs a request, so only those are read that sndif knows. Nodes may vanish meanwhile.
    LimitReached: there are more than `streams_max` streams; nothing was read.
    """
    listed = {"": _list(store, frontend)}
    pcms = [f"/{name}" for name in _numbered(listed[""], MAX_PCMS)]
    listed |= {pcm: _list(store, frontend + pcm) for pcm in pcms}
    streams = [f"{pcm}/{name}" for pcm in pcms for name in _numbered(listed[pcm], MAX_STREAMS)]
    if len(streams) > streams_max:
        raise LimitReached(
            f"{len(streams)} streams, and the guest may have {streams_max} (max-streams)"
        )
    nodes = {
        f"{directory}/{name}"[1:]: ""
        for directory, names in listed.items()
        for name in names
        if _is_numbered(name)
    }
    listed |= {stream: _list(store, frontend + stream) for stream in streams}
    wanted = [
        f"{directory}/{name}"
        for directory, names in listed.items()
        for name in CARD_NODES.intersection(names)
    ]
    values = store.read_each([f"{frontend}{path}" for path in wanted])
    found = zip(wanted, values, strict=True)
    return nodes | {path[1:]: value for path, value in found if value is not None}


def _list(store: Store, path: str) -> Sequence[str]:
    try:
        return store.list(path)
    except KeyError:
        return ()


def _is_numbered(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _numbered(names: Sequence[str], most: int) -> Sequence[str]:
    """Those that are numbers. None if there are more than any card has: parse_card() refuses."""
    found = [name for name in names if _is_numbered(name)]
    return found if len(found) <= most else ()
