"""A guest's sound over vchan: where it offers its two vchans, and the streams that come of them.

The two are one unit: they are connected when both are offered, and both are ended when one of them
is, because the guest starts both again then.

A guest removes its offer when a client has come. But it may close its ends before it does so, and
then removes the offer last, when the pages are no longer shared. So what was connected is no offer
until its nodes are written anew. The four nodes are not read at once, so they may be of two offers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from agent_dom0.engines.interface import EngineLost
from agent_dom0.events import EventKind, Priority
from agent_dom0.streams.failures import FAILURES, Recovery
from agent_dom0.streams.guest_device import DeviceOwner, GuestDevice
from agent_dom0.streams.watched_nodes import WatchedNodes
from agent_dom0.vchan.link import VchanLink
from agent_dom0.vchan.saved_link import Offers, SavedLink
from agent_dom0.vchan.vchan_stream import VchanStream
from xensnd.core import OPEN_COUNTS_AS, Violation
from xensnd.errors import RemoteProtocolError
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Store
from xensnd.vchan.control import CONNECTED, ControlWord, GuestSound
from xensnd.vchan.nodes import PORTS, VchanNodes, VchanOffer, parse_offer

NAME = "vchan"

Values = list[tuple[str | None, str | None]]  # of the nodes of each port

_VIOLATIONS = {
    Violation.RING_INDEX: "a ring's index is out of range",
    Violation.STORM: "too many notifications for too long",
}


class VchanMaker(Protocol):
    """What a device needs for a connection: VchanFactory, for one guest."""

    def open_saved(self) -> SavedLink:
        """Return the saved state, which is empty if there was none."""

    def find_saved(self) -> SavedLink | None:
        """Return the saved state that an earlier agent has left; None: there is none."""

    def connect(self, offers: Offers, saved: SavedLink) -> VchanLink:
        """Map and bind what the guest offers. RemoteProtocolError, OSError: it cannot be."""

    def streams(self, link: VchanLink) -> Mapping[Direction, VchanStream]: ...


@dataclass(frozen=True, slots=True)
class _Connection:
    link: VchanLink
    streams: Mapping[Direction, VchanStream]


class VchanDevice(GuestDevice):
    """Serves both vchans of one guest. `client` is our own domid. It is in `owner.devices` while it
    is connected. `run` calls the work of a timer, during which XenStore may be lost."""

    def __init__(
        self,
        store: Store,
        client: int,
        owner: DeviceOwner,
        maker: VchanMaker,
        run: Callable[[Callable[[], None]], None],
    ) -> None:
        self._owner = owner
        self._maker = maker
        self._run = run
        self._nodes = [VchanNodes(owner.guest.domid, client, port) for port in PORTS]
        self.token = f"{NAME}:{owner.guest.domid}"  # of its watches
        self._watched = WatchedNodes(
            owner.budget,
            [nodes.event_channel for nodes in self._nodes],
            self.token,
            self._look_again,
        )
        self._connection: _Connection | None = None
        self._may_adopt = True  # what an earlier agent has left
        # The values of the nodes that are of no use until they are written anew: they are the
        # guest's fault, or those of a connection that has ended.
        self._refused: Values | None = None
        self._why_refused: str | None = None  # as it was told, until another offer comes
        self._recovery = Recovery(self._tell_failure, self._step_later)
        self._another_look = Recovery(lambda _failure: None, self._look_again)  # at what is refused
        self.use_store(store)

    @property
    def is_in_use(self) -> bool:
        return self._connection is not None

    @property
    def streams(self) -> Sequence[VchanStream]:
        return [] if self._connection is None else list(self._connection.streams.values())

    def status(self) -> dict[str, Any]:
        return {
            "devid": NAME,
            "state": "connected" if self.is_in_use else "waiting",
            "streams": [asdict(each) for stream in self.streams if (each := stream.status())],
        }

    def use_store(self, store: Store) -> None:
        """Use a new connection to XenStore. The next step() sets the watches there."""
        self._store = store

    # Called by the agent. Only TransportLost is raised; any other failure ends this device.

    def step(self) -> None:
        """Look at what the guest offers."""
        self._contain(self._step)

    def follow(self, times: int) -> None:
        """Look at what the guest offers. XenStore has told so many times of its nodes."""
        if self._owner.budget.admits_store_events(times):
            self._contain(lambda: self._step(is_anew=True))
        else:
            self._contain(lambda: self._watched.pause(self._store))

    def poll(self) -> None:
        self._contain(self._poll)

    def close_denied_gates(self) -> None:
        for stream in self.streams:
            stream.close_denied_gate()

    def decide(self) -> None:
        self._contain(self._decide)

    def lose_engine(self) -> None:
        """Leave the vchans as they are. The next step takes them over with another engine."""
        self._hand_over()
        self._may_adopt = True

    def hand_over(self) -> None:
        """Stop serving. The guest does not notice: the next agent adopts what is connected."""
        self._wait_no_more()
        self._hand_over()

    def _hand_over(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        for stream in connection.streams.values():
            stream.hand_over()
        connection.link.hand_over()
        connection.link.saved.close()
        self._owner.devices.pop(NAME, None)

    def close(self, *, forget: bool) -> None:
        """Stop serving. The guest offers its vchans anew, to whatever agent comes next."""
        self._wait_no_more()
        self._end()
        if forget:
            for later in (self._poll_later, self._step_later):
                self._owner.forget(later)
            self._watched.close(self._store)

    def _wait_no_more(self) -> None:
        self._recovery.close()
        self._another_look.close()

    # Offers

    def _step(self, *, is_anew: bool = False) -> None:
        """`is_anew`: the nodes may have been written anew, if with the same values."""
        self._watched.watch(self._store)
        if self._owner.is_quarantined:
            return
        if self._may_adopt:
            self._adopt()
        connection = self._connection
        if connection is not None and not connection.link.is_open:
            self._end()
        if is_anew:
            self._refused = None
        self._take_offers()

    def _take_offers(self) -> None:
        values = self._read()
        if values == self._refused:
            return
        failure = self._try(values)
        if failure is not None and (now := self._read()) != values:
            # They were read while the guest wrote them anew: some of before, some of after that.
            values, failure = now, self._try(now)
        if failure is None:
            self._why_refused = None
            return
        self._refuse(str(failure))
        self._refused = values
        self._another_look.note_failure(failure)

    def _try(self, values: Values) -> RemoteProtocolError | None:
        """Connect to what is offered, if both are. Return why it cannot be taken."""
        try:
            offers = {
                nodes.port: offer
                for nodes, each in zip(self._nodes, values, strict=True)
                if (offer := parse_offer(*each)) is not None
            }
            if len(offers) == len(PORTS):
                self._take(offers)
        except RemoteProtocolError as error:
            return error
        return None

    def _refuse(self, why: str) -> None:
        """XenStore tells of an offer more than once, as it has several nodes: its fault is audited
        once."""
        if why == self._why_refused:
            self._end()
        else:
            self._violated(why)
        self._why_refused = why

    def _take(self, offers: dict[int, VchanOffer]) -> None:
        if self._connection is not None and self._connection.link.offers == offers:
            return  # the guest has not removed it yet
        self._end()
        again = self._step_later
        if self._owner.has_engine(again) and self._owner.budget.admits_connection("vchans", again):
            self._connect(offers)

    def _connect(self, offers: dict[int, VchanOffer]) -> None:
        self._owner.require_room(list(Direction))
        saved = self._maker.open_saved()
        try:
            link = self._maker.connect(offers, saved)
        except BaseException:
            saved.close()
            saved.remove()
            raise
        saved.save(offers)
        saved.sound = CONNECTED
        self._enter(link)
        self._owner.audit(EventKind.DEVICE_CONNECTED, f"device {NAME} connected")
        link.begin(succeeds=False)
        self._apply(CONNECTED)

    def _adopt(self) -> None:
        """Go on with what an earlier agent has served, if it is still there."""
        saved = self._maker.find_saved()
        if saved is None:
            self._may_adopt = False
            return
        link = None
        try:
            offers = saved.load()
            if offers is not None:
                link = self._maker.connect(offers, saved)
        except RemoteProtocolError:
            pass  # the guest has given up meanwhile, and offers its vchans anew
        except BaseException:
            saved.close()  # it is tried again
            raise
        self._may_adopt = False
        if link is None:
            saved.close()
            saved.remove()
            return
        connection = self._enter(link)
        self._owner.audit(EventKind.DEVICE_CONNECTED, f"device {NAME} taken over")
        link.begin(succeeds=True)
        for direction, stream in connection.streams.items():
            stream.adopt(saved.answer(direction), runs=_runs(saved.sound, direction))

    def _enter(self, link: VchanLink) -> _Connection:
        self._another_look.note_success()
        self._connection = _Connection(link, self._maker.streams(link))
        self._owner.devices[NAME] = self
        return self._connection

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        for stream in connection.streams.values():
            stream.close()
        connection.link.close()
        self._refused = _values_of(connection.link.offers)
        connection.link.saved.close()
        connection.link.saved.remove()
        self._owner.devices.pop(NAME, None)
        self._owner.audit(EventKind.DEVICE_DISCONNECTED, f"device {NAME} disconnected")

    # What the guest does

    def _poll(self) -> None:
        connection = self._connection
        if connection is None:
            return
        link = connection.link
        for port, core in zip(PORTS, (link.playback, link.capture), strict=True):
            if core.violation is not Violation.NONE:
                self._violated(f"{port}: {_VIOLATIONS[core.violation]}")
                return
        if not link.is_open:
            self._end()
            self._step()  # it may have offered them anew already
            return
        capture = connection.streams[Direction.CAPTURE]
        if self._owner.was_paused():
            capture.tell_limit("more events than the guest's budget allows; its streams wait")
        self._follow_words(connection)

    def _follow_words(self, connection: _Connection) -> None:
        """Do what the guest has said. What it does is saved before the word is gone."""
        core, saved = connection.link.capture, connection.link.saved
        while (word := core.next_word()) is not None:
            opens = word == ControlWord.SOURCE_START
            requests = self._owner.budget.requests
            if not requests.admits(OPEN_COUNTS_AS if opens else 1):
                capture = connection.streams[Direction.CAPTURE]
                capture.tell_limit(f"{requests.at_once} control words within a second")
                requests.poll_later(self._poll_later)
                return
            saved.sound = saved.sound.after(word)
            core.drop_word()
            self._apply(saved.sound)

    def _apply(self, sound: GuestSound) -> None:
        if self._connection is not None:
            for direction, stream in self._connection.streams.items():
                stream.follow(runs=_runs(sound, direction))

    def _decide(self) -> None:
        for stream in self.streams:
            stream.decide()

    def _poll_later(self) -> None:
        self._run(self.poll)

    def _step_later(self) -> None:
        self._run(self.step)

    def _look_again(self) -> None:
        self._refused = None
        self._step_later()

    # Failures

    def _contain(self, work: Callable[[], None]) -> None:
        with self._owner.serving():
            try:
                with contextlib.suppress(EngineLost):  # lose_engine() is called soon
                    work()
            except FAILURES as error:
                self._fail(error)
            else:
                if self.is_in_use:
                    self._recovery.note_success()

    def _fail(self, failure: BaseException) -> None:
        """End the streams, and try again after a growing delay."""
        self._recovery.note_failure(failure)
        self._end()

    def _tell_failure(self, failure: BaseException) -> None:
        text = f"device {NAME}: {failure}; it is tried again"
        self._owner.audit(EventKind.DEVICE_FAILED, text, Priority.WARNING)

    def _violated(self, text: str) -> None:
        what = f"device {NAME}: {text}; it is {self._owner.budget.count_closure()}"
        self._owner.audit(EventKind.PROTOCOL_VIOLATION, what, Priority.WARNING)
        self._end()

    # XenStore

    def _read(self) -> Values:
        paths = [path for nodes in self._nodes for path in (nodes.ring_ref, nodes.event_channel)]
        try:
            found = self._store.read_each(paths)
        except PermissionError:
            found = [None] * len(paths)
        return list(zip(found[::2], found[1::2], strict=True))


def _values_of(offers: Offers) -> Values:
    """Return what the guest had written for them."""
    return [(str(offers[port].ring_ref), str(offers[port].event_channel)) for port in PORTS]


def _runs(sound: GuestSound, direction: Direction) -> bool:
    return sound.plays if direction is Direction.PLAYBACK else sound.records
