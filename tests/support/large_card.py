"""A card with many streams, as a guest may write it in place of what it was given."""

from __future__ import annotations

from dataclasses import replace

from agent_dom0.cards.toolstack import default_card
from tests.support.raw_frontend import RawFrontend, RawStream
from xensnd.sndif.states import XenbusState
from xensnd.sndif.store_fields import MAX_STREAMS, Direction, card_nodes

MANY_STREAMS = (
    "version: 1\nrules:\n"
    "  - {guest: '*', playback: allow, max-streams: 64}\n"
    "  - {guest: '*', capture: deny}\n"
)


def offer_large_card(frontend: RawFrontend, streams: int) -> None:
    """So many streams, all for playback; up to where the backend is to map and bind them."""
    frontend.begin_afresh()
    frontend.write(large_card(streams))
    for number in range(streams):
        stream = RawStream(frontend.transport)
        frontend.streams.append(stream)
        rings = stream.rings.nodes()
        directory = f"{number // MAX_STREAMS}/{number % MAX_STREAMS}"
        frontend.write({f"{directory}/{name}": rings[name] for name in rings})
    frontend.enter(XenbusState.INITIALISED)


def large_card(streams: int) -> dict[str, str]:
    """Return the nodes of a card of so many streams, all for playback, in whole PCMs."""
    card = default_card()
    (pcm,) = card.pcms
    stream = next(each for each in pcm.streams if each.direction is Direction.PLAYBACK)
    pcms = tuple(
        replace(
            pcm,
            index=number,
            streams=tuple(
                replace(stream, index=index, unique_id=f"{number}-{index}")
                for index in range(MAX_STREAMS)
            ),
        )
        for number in range(streams // MAX_STREAMS)
    )
    return card_nodes(replace(card, pcms=pcms))
