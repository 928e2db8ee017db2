"""Reading a card from a XenStore that its guest may fill and change."""

from __future__ import annotations

from typing import cast

import pytest

from xensnd.errors import RemoteProtocolError
from xensnd.transport.card_nodes import read_card_nodes
from xensnd.transport.interface import Store


class Nodes:
    """A store of these nodes alone; `vanishing` ones are listed, but not there any more."""

    def __init__(self, nodes: dict[str, str], vanishing: tuple[str, ...] = ()) -> None:
        self._nodes = nodes
        self._vanishing = vanishing
        self.reads: list[str] = []

    def list(self, path: str) -> list[str]:
        if path in self._vanishing:
            raise KeyError(path)
        prefix = f"{path}/"
        below = {
            each[len(prefix) :].split("/")[0] for each in self._nodes if each.startswith(prefix)
        }
        return sorted(below)

    def read(self, path: str) -> str:
        if path in self._vanishing:
            raise KeyError(path)
        self.reads.append(path)
        return self._nodes.get(path, "")


def read(nodes: Nodes) -> dict[str, str]:
    return read_card_nodes(cast(Store, nodes), "card")


def test_nodes_of_card_pcm_and_stream_are_read() -> None:
    nodes = {"card/backend": "b", "card/0/name": "p", "card/0/1/type": "c"}
    assert read(Nodes(nodes)) == {
        "backend": "b",
        "0": "",
        "0/name": "p",
        "0/1": "",
        "0/1/type": "c",
    }


def test_deeper_nodes_are_not_read() -> None:
    nodes = Nodes({"card/0/1/2/3/type": "c"})
    assert set(read(nodes)) == {"0", "0/1", "0/1/2"}


def test_only_numbered_nodes_are_entered() -> None:
    assert set(read(Nodes({"card/stats/0/type": "c"}))) == {"stats"}


def test_nodes_that_vanish_are_left_out() -> None:
    nodes = {"card/backend": "b", "card/0/name": "p", "card/1/name": "q"}
    assert read(Nodes(nodes, ("card/0/name", "card/1"))) == {"backend": "b", "0": ""}
    assert read(Nodes(nodes, ("card",))) == {}


def test_directory_with_too_many_nodes_is_the_guests_fault() -> None:
    nodes = Nodes({f"card/{number}": "" for number in range(2000)})
    with pytest.raises(RemoteProtocolError, match="more than 1024 nodes"):
        read(nodes)
    assert len(nodes.reads) == 1024
