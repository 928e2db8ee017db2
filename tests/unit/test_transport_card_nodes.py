"""Reading a card from a XenStore that its guest may fill and change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from xensnd.errors import LimitReached, RemoteProtocolError
from xensnd.sndif.store_fields import parse_card
from xensnd.transport.card_nodes import read_card_nodes
from xensnd.transport.interface import Store


class Nodes:
    """A store of these nodes alone; `vanishing` ones are listed, but not there any more."""

    def __init__(self, nodes: dict[str, str], vanishing: tuple[str, ...] = ()) -> None:
        self._nodes = nodes
        self._vanishing = vanishing
        self.reads: list[str] = []

    def read_each(self, paths: Sequence[str]) -> list[str | None]:
        self.reads += [path for path in paths if path not in self._vanishing]
        return [None if path in self._vanishing else self._nodes.get(path, "") for path in paths]

    def list(self, path: str) -> list[str]:
        if path in self._vanishing:
            raise KeyError(path)
        prefix = f"{path}/"
        below = {
            each[len(prefix) :].split("/")[0] for each in self._nodes if each.startswith(prefix)
        }
        return sorted(below)


def read(nodes: Nodes, streams_max: int = 64) -> dict[str, str]:
    return read_card_nodes(cast(Store, nodes), "card", streams_max)


def test_nodes_of_card_pcm_and_stream_are_read() -> None:
    nodes = {"card/short-name": "b", "card/0/name": "p", "card/0/1/type": "c"}
    assert read(Nodes(nodes)) == {
        "short-name": "b",
        "0": "",
        "0/name": "p",
        "0/1": "",
        "0/1/type": "c",
    }


def test_deeper_nodes_are_not_read() -> None:
    nodes = Nodes({"card/0/1/2/3/type": "c"})
    assert set(read(nodes)) == {"0", "0/1"}


def test_only_numbered_nodes_are_entered() -> None:
    assert read(Nodes({"card/stats/0/type": "c"})) == {}


def test_nodes_that_vanish_are_left_out() -> None:
    nodes = {"card/short-name": "b", "card/0/name": "p", "card/1/name": "q"}
    assert read(Nodes(nodes, ("card/0/name", "card/1"))) == {"short-name": "b", "0": "", "1": ""}
    assert read(Nodes(nodes, ("card",))) == {}


def test_nodes_that_sndif_does_not_know_cost_nothing() -> None:
    nodes = Nodes({f"card/0/0/node{number}": "" for number in range(2000)})
    assert read(nodes) == {"0": "", "0/0": ""}
    assert nodes.reads == []


def card_of(pcms: int, streams: int) -> Nodes:
    return Nodes(
        {f"card/{pcm}/{stream}/type": "p" for pcm in range(pcms) for stream in range(streams)}
    )


def test_card_of_more_streams_than_the_guest_may_have_is_not_read() -> None:
    nodes = card_of(8, 8)
    with pytest.raises(LimitReached, match=r"64 streams, and the guest may have 16 \(max-streams"):
        read(nodes, 16)
    assert nodes.reads == []
    assert len(read(card_of(2, 8), 16)) == 2 + 16 + 16


def test_more_pcms_or_streams_than_any_card_has_are_named_and_not_read() -> None:
    for nodes, said in ((card_of(9, 1), "9 x PCM"), (card_of(1, 2000), "2000 x stream")):
        with pytest.raises(RemoteProtocolError, match=said):
            parse_card(read(nodes))
        assert nodes.reads == []
