"""What XenStore holds of a sound card."""

from __future__ import annotations

from xensnd.errors import RemoteProtocolError
from xensnd.transport.interface import Store

__all__ = ["read_card_nodes"]

# A card of 8 PCMs with 8 streams of 11 nodes is below this; what holds more is no card.
_NODES_MAX = 1024
_DEPTH_MAX = 3  # card, PCM, stream


def read_card_nodes(store: Store, frontend: str) -> dict[str, str]:
    """Return all nodes below the frontend's directory, as relative path to value.

    Nodes may vanish meanwhile. RemoteProtocolError: there are more than any card needs.
    """
    nodes: dict[str, str] = {}
    directories = [("", 1)]
    while directories:
        directory, depth = directories.pop()
        try:
            names = store.list(f"{frontend}{directory}")
        except KeyError:
            continue
        for name in names:
            path = f"{directory}/{name}"
            if len(nodes) >= _NODES_MAX:
                raise RemoteProtocolError(f"more than {_NODES_MAX} nodes in its directory")
            try:
                nodes[path[1:]] = store.read(f"{frontend}{path}")
            except KeyError:
                continue
            if depth < _DEPTH_MAX and name.isdigit():
                directories.append((path, depth + 1))
    return nodes
