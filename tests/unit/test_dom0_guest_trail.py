"""A guest's budget of the trail: what is written, what is only counted, and what is denied."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count

from agent_dom0.audit import KEPT_MAX, NOT_WRITTEN, AuditTrail
from agent_dom0.events import Event, EventKind, decision_event, guest_event
from agent_dom0.guest_trail import (
    BUDGET_RECORDS,
    OVER_BUDGET,
    RECORDS_A_SECOND,
    RESERVED_RECORDS,
    SUMMARY_SECONDS,
    GuestTrail,
)
from policy.model import Decision, Direction, Verb
from tests.unit.fake_clock import later, run
from tests.unit.test_dom0_policy_state import Place, Trail, place
from tests.unit.test_dom0_stream_access import ALLOW, Scene, settled

__all__ = ["place"]

CAPTURE, PLAYBACK = Direction.CAPTURE, Direction.PLAYBACK
SUMMARY = EventKind.EVENTS_SUMMARISED
REPEATABLE_RECORDS = BUDGET_RECORDS - RESERVED_RECORDS


def decided(
    verb: Verb = Verb.ALLOW, reason: str = "by a rule", guest: str = "evil", domid: int = 8
) -> Event:
    return decision_event(guest, domid, CAPTURE, Decision(verb, None, reason))


def opened(guest: str = "evil") -> Event:
    return guest_event(EventKind.STREAM_OPENED, guest, 8, "playback 0/0 opened")


def closed(direction: Direction = PLAYBACK, octets: int = 0) -> Event:
    event = guest_event(EventKind.STREAM_CLOSED, "evil", 8, f"{direction} 0/0 closed")
    event.fields.update(XENSND_DIRECTION=direction.value, XENSND_OCTETS=octets)
    return event


def refused(text: str) -> Event:
    return guest_event(EventKind.LIMIT_HIT, "evil", 8, text)


class Guests:
    """A trail, and the parts of it of the guests "evil" and "work". Time is the event loop's."""

    def __init__(self) -> None:
        self.sink = Trail()
        self.trail = AuditTrail(self.sink)
        self.had_room = 0  # how often
        self.evil = GuestTrail(self.trail, self._note_room, asyncio.get_running_loop().time)
        self.work = GuestTrail(self.trail, clock=asyncio.get_running_loop().time)

    def _note_room(self) -> None:
        self.had_room += 1

    def records(self, kind: EventKind) -> list[Event]:
        return [event for event in self.sink.events if event.kind is kind]

    def texts(self, kind: EventKind) -> list[str]:
        return [event.text for event in self.records(kind)]

    @property
    def counts(self) -> Counter[str]:
        """All that was only counted."""
        told: Counter[str] = Counter()
        for record in self.records(SUMMARY):
            counted = json.loads(str(record.fields["XENSND_COUNTS"]))
            assert record.fields["XENSND_EVENTS"] == sum(counted.values())
            told.update(counted)
        return told

    def use_up(self, *, reserve: bool = False) -> None:
        """Of evil's budget all but the reserve, or all."""
        for number in range(BUDGET_RECORDS if reserve else REPEATABLE_RECORDS):
            self.evil.append(refused(f"refused {number}") if reserve else opened())


def with_guests(test: Callable[[Guests], Coroutine[None, None, None]]) -> Callable[[], None]:
    async def in_loop() -> None:
        await test(Guests())

    def runs() -> None:
        run(in_loop())

    runs.__name__ = test.__name__
    return runs


@with_guests
async def test_rule_lowers_and_raises_how_many_records_a_guest_has(guests: Guests) -> None:
    for percent in (50, 200):
        guests.evil.set_percent(percent)
        await later(60)  # it has all of its budget
        before = len(guests.records(EventKind.STREAM_OPENED))
        for _ in range(3 * BUDGET_RECORDS):
            guests.evil.append(opened())
        written = len(guests.records(EventKind.STREAM_OPENED)) - before
        assert written == REPEATABLE_RECORDS * percent // 100


@with_guests
async def test_flood_is_bounded_by_the_guests_budget_and_hides_nothing_of_others(
    guests: Guests,
) -> None:
    loop = asyncio.get_running_loop()
    begun, rounds = loop.time(), 10_000
    for number in range(rounds):
        guests.evil.append(opened())
        assert guests.evil.permit(decided()) is None
        guests.evil.append(closed(CAPTURE, octets=3))
        if number % 100 == 0:
            said = f"rule {number}"
            assert guests.work.permit(decided(Verb.ALLOW, said, "work", 7)) is None
            assert f"work: capture allow (no rule: {said})" in guests.sink.events[-1].text
            await later(0.2)
    seconds = loop.time() - begun
    guests.evil.close()
    of_evil = [e for e in guests.sink.events if e.fields["XENSND_GUEST"] == "evil"]
    summaries = guests.records(SUMMARY)
    assert len(summaries) <= seconds / SUMMARY_SECONDS + 1
    assert len(of_evil) - len(summaries) <= BUDGET_RECORDS + RECORDS_A_SECOND * seconds
    assert len(of_evil) - len(summaries) + guests.counts.total() == 3 * rounds
    not_told = guests.counts["capture stream_closed"]
    recorded = sum(int(each.fields["XENSND_RECORDED_OCTETS"]) for each in summaries)
    assert recorded == 3 * not_told > 0


@with_guests
async def test_last_counts_are_told_when_the_guest_falls_quiet(guests: Guests) -> None:
    guests.use_up()
    events = [closed() for _ in range(5)]
    for event in events:
        guests.evil.append(event)
    assert not guests.records(SUMMARY)
    await later(SUMMARY_SECONDS)
    (told,) = guests.records(SUMMARY)
    assert told.text == (
        "evil: more events than its budget allows, so they were only counted: "
        "5 playback stream_closed"
    )
    assert told.fields["XENSND_SINCE"] == events[0].time.isoformat(timespec="microseconds")
    assert told.fields["XENSND_UNTIL"] == events[-1].time.isoformat(timespec="microseconds")
    await later(100)
    assert len(guests.records(SUMMARY)) == 1


@with_guests
async def test_last_counts_are_told_when_the_guest_is_gone_or_the_agent_ends(
    guests: Guests,
) -> None:
    guests.use_up(reserve=True)
    guests.evil.append(opened())
    guests.evil.append(refused("at last"))
    guests.evil.close()
    assert guests.counts == {"stream_opened": 1}
    assert guests.texts(EventKind.LIMIT_HIT)[-1] == "evil: at last"
    records = len(guests.sink.events)
    await later(100)
    assert len(guests.sink.events) == records


@with_guests
async def test_repeated_decision_is_counted_and_a_new_one_is_written(guests: Guests) -> None:
    assert guests.evil.permit(decided()) is None
    guests.use_up()
    assert guests.evil.permit(decided()) is None
    assert guests.evil.append(decided(Verb.DENY))
    assert guests.evil.append(decided(Verb.DENY))
    assert guests.evil.permit(decided()) is None
    await later(SUMMARY_SECONDS)
    assert [each.fields["XENSND_DECISION"] for each in guests.records(EventKind.DECISION)] == [
        "allow", "deny", "allow",
    ]  # fmt: skip
    assert guests.counts["capture decision allow"] == 1
    assert guests.counts["capture decision deny"] == 1


@with_guests
async def test_guest_without_any_budget_records_by_no_new_decision_until_there_is_room(
    guests: Guests,
) -> None:
    guests.use_up(reserve=True)
    assert guests.evil.permit(decided()) == OVER_BUDGET
    assert not guests.records(EventKind.DECISION)
    assert guests.work.permit(decided(guest="work")) is None
    await later(SUMMARY_SECONDS)
    assert guests.counts == {"capture decision deny": 1}
    assert guests.had_room == 1
    assert guests.evil.permit(decided()) is None
    assert guests.texts(EventKind.DECISION)[-1].startswith("evil: capture allow")
    await later(100)
    assert guests.had_room == 1


@with_guests
async def test_of_many_changes_the_last_one_is_written_and_those_before_are_counted(
    guests: Guests,
) -> None:
    guests.use_up(reserve=True)
    changes = [decided(Verb.DENY, f"reason {number}") for number in range(20)]
    for change in changes:
        assert guests.evil.append(change)
    await later(SUMMARY_SECONDS)
    (written,) = guests.records(EventKind.DECISION)
    assert written.text == changes[-1].text
    happened = changes[-1].time.isoformat(timespec="microseconds")
    assert written.fields["XENSND_TIME"] == happened
    assert guests.counts == {"capture decision deny": 19}


@with_guests
async def test_change_that_was_taken_back_before_it_was_written_is_not_written_later(
    guests: Guests,
) -> None:
    guests.evil.permit(decided())
    for number in count():
        guests.evil.append(refused(f"refused {number}"))
        if len(guests.texts(EventKind.LIMIT_HIT)) <= number:
            break
    guests.evil.append(decided(Verb.DENY))
    assert guests.evil.permit(decided()) is None
    await later(100)
    assert guests.texts(EventKind.DECISION) == [decided().text]
    assert guests.counts["capture decision deny"] == 1


@with_guests
async def test_guest_cannot_delay_what_was_postponed_by_making_more_changes(
    guests: Guests,
) -> None:
    guests.use_up(reserve=True)
    await later(0.5 / RECORDS_A_SECOND)  # no room for a record just when the counts are told
    guests.evil.append(decided(Verb.DENY, "postponed"))
    for number in range(100):
        guests.evil.append(refused(f"again {number}"))
        await later(0.02)
    assert guests.texts(EventKind.DECISION) == [decided(Verb.DENY, "postponed").text]


@with_guests
async def test_what_persons_and_the_toolstack_do_is_always_written(guests: Guests) -> None:
    guests.use_up(reserve=True)
    for kind in (EventKind.VOLUME_SET, EventKind.GUEST_RENAMED, EventKind.PROMPT_ANSWERED):
        for _ in range(200):
            assert guests.evil.append(guest_event(kind, "evil", 8, "said"))
        assert len(guests.records(kind)) == 200
    assert not guests.counts


@with_guests
async def test_change_that_the_guest_has_not_caused_is_always_written_and_costs_it_nothing(
    guests: Guests,
) -> None:
    guests.use_up(reserve=True)
    changes = [decided(verb, "by a rule") for verb in (Verb.DENY, Verb.ALLOW) * 100]
    for change in changes:
        if change.fields["XENSND_DECISION"] == "deny":
            assert guests.evil.append(change, by_guest=False)
        else:
            assert guests.evil.permit(change, by_guest=False) is None
    assert guests.texts(EventKind.DECISION) == [change.text for change in changes]
    await later(2 / RECORDS_A_SECOND)
    assert guests.evil.permit(decided(Verb.ALLOW, "by another rule")) is None
    assert not guests.counts


@with_guests
async def test_same_decision_about_many_streams_is_counted_whoever_has_caused_it(
    guests: Guests,
) -> None:
    for _ in range(2 * BUDGET_RECORDS):
        assert guests.evil.permit(decided(), by_guest=False) is None
    assert len(guests.records(EventKind.DECISION)) <= BUDGET_RECORDS
    guests.evil.close()
    assert guests.counts.total() + len(guests.records(EventKind.DECISION)) == 2 * BUDGET_RECORDS


@with_guests
async def test_flood_during_a_loss_leaves_the_memory_for_late_events_to_others(
    guests: Guests,
) -> None:
    guests.sink.is_broken = True
    for _ in range(3 * KEPT_MAX):
        assert not guests.evil.append(opened())
        await later(0.5)
    assert guests.work.permit(decided(guest="work")) == NOT_WRITTEN
    guests.sink.is_broken = False
    while guests.trail.retry():
        pass
    assert [e.fields["XENSND_MISSING"] for e in guests.records(EventKind.AUDIT_RESUMED)] == [0]
    assert guests.texts(EventKind.DECISION) == [decided(guest="work").text]
    await later(SUMMARY_SECONDS)
    written = len(guests.records(EventKind.STREAM_OPENED))
    assert written <= BUDGET_RECORDS
    assert written + guests.counts["stream_opened"] == 3 * KEPT_MAX


@with_guests
async def test_counts_of_a_guest_stand_under_the_name_that_it_had(guests: Guests) -> None:
    guests.use_up()
    for name in ("evil", "evil", "good"):
        guests.evil.append(opened(name))
    await later(SUMMARY_SECONDS)
    told = [(e.fields["XENSND_GUEST"], e.fields["XENSND_EVENTS"]) for e in guests.records(SUMMARY)]
    assert told == [("evil", 2), ("good", 1)]


def test_stream_over_budget_stays_silent_and_goes_live_when_there_is_room(place: Place) -> None:
    async def test() -> None:
        scene = Scene(place)
        await scene.use(ALLOW)
        stream = scene.stream("7/0/0")
        clock = asyncio.get_running_loop().time
        trail = GuestTrail(scene.audit, stream.follow, clock)
        stream.access._audit._trail = trail
        for number in range(BUDGET_RECORDS):
            trail.append(refused(f"refused {number}"))
        stream.open()
        await settled()
        assert (stream.verbs, stream.decisions[0].reason) == ([Verb.DENY], OVER_BUDGET)
        await later(SUMMARY_SECONDS)
        assert stream.verbs == [Verb.DENY, Verb.ALLOW]
        assert place.trail.events[-1].fields["XENSND_DECISION"] == "allow"

    run(test())


def test_persons_change_is_written_at_once_though_the_guest_has_no_budget(place: Place) -> None:
    async def test() -> None:
        scene = Scene(place)
        await scene.use(ALLOW)
        stream = scene.stream("7/0/0")
        stream.open()
        for number in range(BUDGET_RECORDS):
            scene.guest_trail.append(refused(f"refused {number}"))
        await scene.use(ALLOW.replace("capture: allow", "capture: deny"))
        await scene.use(ALLOW)
        assert stream.verbs == [Verb.ALLOW, Verb.DENY, Verb.ALLOW]
        decisions = [e for e in place.trail.events if e.kind is EventKind.DECISION]
        assert [e.fields["XENSND_DECISION"] for e in decisions] == ["allow", "deny", "allow"]

    run(test())
