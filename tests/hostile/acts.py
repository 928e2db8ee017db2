"""What a hostile guest does, as data: adversary.py and vchan_adversary.py do it, and test_acts.py
and bench/hostile.py look at what comes of it.

An act goes on without end. A guest that is closed for it connects again, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from agent_dom0.streams.throttle import (
    CONNECTIONS_AT_ONCE,
    REQUESTS_A_SECOND,
    STORE_EVENTS_A_SECOND,
)
from tests.support.raw_frontend import BUFFER_OCTETS, RawStream
from xensnd.core import REFUSED_MAX
from xensnd.sndif.packets import Close, HwParamQuery, Request, Trigger, TriggerRequest, Write
from xensnd.sndif.params import HwParams, Interval

FRAME_OCTETS = 4
START, STOP = TriggerRequest(Trigger.START), TriggerRequest(Trigger.STOP)
_ALL = Interval(1, 2**32 - 1)
_OVER_BUDGET = "more requests than the guest's budget allows; all its streams wait"
_FOR_TOO_LONG = "too many requests or notifications for too long"
_TOO_MANY_REQUESTS = f"{REQUESTS_A_SECOND} requests within a second"
_TOO_MANY_CHANGES = f"more than {STORE_EVENTS_A_SECOND} changes of its nodes in XenStore"
_TOO_MANY_EVENTS = "more events than the guest's budget allows; its streams wait"
_TOO_MANY_WORDS = f"{REQUESTS_A_SECOND} control words within a second"
_OFFERS_TOO_OFTEN = f"more than {CONNECTIONS_AT_ONCE} connections of its vchans"
_TOO_OFTEN = f"more than {CONNECTIONS_AT_ONCE} connections of its cards"


def nothing(_: RawStream) -> Sequence[Request]:
    return ()


def query_all(_: RawStream) -> Sequence[Request]:
    return (HwParamQuery(HwParams(2**62 - 1, _ALL, _ALL, _ALL, _ALL)),)


def open_and_start(stream: RawStream) -> Sequence[Request]:
    return (stream.good_open(), START)


def open_alone(stream: RawStream) -> Sequence[Request]:
    return (stream.good_open(),)


def start_and_stop(_: RawStream) -> Sequence[Request]:
    return (START, STOP)


def open_and_close(stream: RawStream) -> Sequence[Request]:
    return (stream.good_open(), Close())


def write_all_over(_: RawStream) -> Sequence[Request]:
    """One frame each, so that it takes as many of them as can be."""
    return [Write(offset, FRAME_OCTETS) for offset in range(0, BUFFER_OCTETS, 1024)]


def write_behind(_: RawStream) -> Sequence[Request]:
    return (Write(BUFFER_OCTETS, FRAME_OCTETS),)


@dataclass(frozen=True, slots=True)
class Loop:
    """What a vCPU is busy with: a function of adversary.c, on these of the card's rings."""

    name: str
    requests: Callable[[RawStream], Sequence[Request]] = nothing
    first: Callable[[RawStream], Sequence[Request]] = nothing  # once, before
    rings: tuple[int, ...] = (0,)
    notifies: bool = True


@dataclass(frozen=True, slots=True)
class Said:
    """An event of the audit trail, and a part of its message."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Act:
    """`work` is a loop in C, or the name of one of the adversary's methods, called on and on.
    `records`: it is served all the while, so that its microphone can be live. `audited_apart`: what
    is audited instead if the guest has an engine of its own. `over_vchan`: it is
    vchan_adversary.py that does it, without a card."""

    name: str
    does: str
    budget: str
    work: Loop | str
    audited: tuple[Said, ...] = ()
    records: bool = True
    audited_apart: tuple[Said, ...] | None = None
    over_vchan: bool = False

    def told(self, isolation: str) -> tuple[Said, ...]:
        """What the trail says, with this `--isolation`."""
        is_other = isolation == "guest" and self.audited_apart is not None
        return self.audited_apart or () if is_other else self.audited


QUIET = Act("quiet", "nothing: what the others are compared with", "none", "rest")
HOSTILE_ACTS = (
    Act(
        "silent WRITEs",
        "keeps its ring full of valid WRITEs, without a notification",
        "none: it is served when the audio server asks, 256 requests of a ring at most",
        Loop("flood_ring", write_all_over, first=open_and_start, notifies=False),
    ),
    Act(
        "WRITEs",
        "keeps its ring full of valid WRITEs, and notifies of each lap",
        "requests and engine time a second (budget.c)",
        Loop("flood_ring", write_all_over, first=open_and_start),
        (Said("limit_hit", _OVER_BUDGET), Said("protocol_violation", _FOR_TOO_LONG)),
    ),
    Act(
        "refused WRITEs",
        "keeps its ring full of WRITEs behind the buffer",
        "a stream's refused transfers (XN_REFUSED_MAX)",
        Loop("flood_ring", write_behind, first=open_and_start),
        (Said("protocol_violation", f"{REFUSED_MAX} READs and WRITEs were invalid"),),
        records=False,
    ),
    Act(
        "queries",
        "keeps both rings full of HW_PARAM_QUERY",
        "control requests a second (throttle.py)",
        Loop("flood_ring", query_all, rings=(0, 1)),
        (Said("limit_hit", _TOO_MANY_REQUESTS),),
        # An answer takes two calls, so it is over the engine's budget first.
        audited_apart=(Said("limit_hit", _OVER_BUDGET),),
    ),
    Act(
        "OPEN and CLOSE",
        "keeps its ring full of OPEN and CLOSE",
        "control requests a second, of which an OPEN takes 20 (throttle.py)",
        Loop("flood_ring", open_and_close),
        (Said("limit_hit", _TOO_MANY_REQUESTS),),
    ),
    Act(
        "START and STOP",
        "keeps its ring full of START and STOP",
        "control requests a second (throttle.py)",
        Loop("flood_ring", start_and_stop, first=open_alone),
        (Said("limit_hit", _TOO_MANY_REQUESTS),),
    ),
    Act(
        "indices",
        "writes anything into the ring's index",
        "none: an index that cannot be closes the device",
        Loop("scribble_indices"),
        (Said("protocol_violation", "the request ring's index is out of range"),),
        records=False,
    ),
    Act(
        "notifications",
        "notifies of requests that are not there",
        "engine time a second (budget.c)",
        Loop("notify_without_end"),
        (Said("limit_hit", _OVER_BUDGET),),
    ),
    Act(
        "node storm",
        "writes its state into XenStore on and on, as it is",
        "changes of its nodes a second (throttle.py)",
        "write_state",
        (Said("limit_hit", _TOO_MANY_CHANGES),),
    ),
    Act(
        "connections",
        "connects and closes some ten times a second",
        "connections of its cards (throttle.py)",
        "reconnect",
        (Said("limit_hit", _TOO_OFTEN),),
        records=False,
    ),
    Act(
        "64 streams",
        "writes a card of 64 streams into its nodes, and opens them all",
        "streams of a guest (parameters.py)",
        "crowd",
        (Said("device_failed", "the guest may have"),),
        records=False,
    ),
)
VCHAN_ACTS = (
    Act(
        "vchan indices",
        "writes anything into the indices of both vchans' rings",
        "none: an index that cannot be closes both vchans; connections of its vchans (throttle.py)",
        Loop("scribble_vchan", rings=(0, 1)),
        (
            Said("protocol_violation", "a ring's index is out of range"),
            Said("limit_hit", _OFFERS_TOO_OFTEN),
        ),
        records=False,
        over_vchan=True,
    ),
    Act(
        "vchan events",
        "notifies of both vchans, and writes and reads nothing",
        "engine time a second (budget.c)",
        Loop("notify_without_end", rings=(0, 1)),
        (Said("limit_hit", _TOO_MANY_EVENTS),),
        over_vchan=True,
    ),
    Act(
        "control words",
        "keeps its ring full of control words: starts and stops its source",
        "control requests a second, of which a start takes 20 (throttle.py)",
        Loop("say_words", rings=(1,)),
        (Said("limit_hit", _TOO_MANY_WORDS),),
        records=False,
        over_vchan=True,
    ),
    Act(
        "vchan offers",
        "offers vchans of no possible size, of grants and ports that are none, and of no number",
        "connections of its vchans, changes of its nodes a second (throttle.py)",
        "offer_badly",
        (
            Said("protocol_violation", "device vchan: vchan 4713: "),
            Said("protocol_violation", "device vchan: "),
            Said("limit_hit", _OFFERS_TOO_OFTEN),
        ),
        records=False,
        over_vchan=True,
    ),
    Act(
        "vchan nodes",
        "writes the nodes of its vchans into XenStore on and on",
        "changes of its nodes a second (throttle.py)",
        "write_nodes",
        (Said("limit_hit", _TOO_MANY_CHANGES),),
        records=False,
        over_vchan=True,
    ),
    Act(
        "vchan restarts",
        "offers its vchans, and closes them as soon as its client has come",
        "connections of its vchans (throttle.py)",
        "come_and_go",
        (Said("limit_hit", _OFFERS_TOO_OFTEN),),
        records=False,
        over_vchan=True,
    ),
)
ALL_ACTS = (*HOSTILE_ACTS, *VCHAN_ACTS)
ACTS = MappingProxyType({act.name: act for act in (QUIET, *ALL_ACTS)})
