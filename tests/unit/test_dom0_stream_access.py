"""What a stream may do: its rule's limits, grants that it takes, and what a person says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from dataclasses import replace
from itertools import product

import pytest

from agent_dom0.access.lasting_answers import LastingAnswers
from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import Prompt, Prompts
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.access.stream_access import StreamAccess
from agent_dom0.audit import AuditTrail
from agent_dom0.events import EventKind
from agent_dom0.guest_trail import GuestTrail
from agent_dom0.parameters import (
    MAX_MEMORY_OCTETS,
    Limits,
    answer_query,
    answer_within,
    complaint,
    limits_within,
)
from agent_dom0.stream_audit import StreamAudit
from policy.model import NO_OPTIONS, Decision, Direction, Options, Verb
from tests.unit.fake_clock import later, run
from tests.unit.test_dom0_policy_state import ASK, WORK, Place, place
from xensnd.control.answers import Answer
from xensnd.errors import AccessDenied, UsageError
from xensnd.sndif.formats import SampleFormat, format_mask
from xensnd.sndif.packets import Open
from xensnd.sndif.params import HwParams, Interval, NothingInCommon
from xensnd.sndif.store_fields import StreamConfig

__all__ = ["place"]

CAPTURE = Direction.CAPTURE
BUFFER_OCTETS = 5 * 4096  # of whole pages, in which this one is:
OPEN = Open(48000, SampleFormat.S16_LE, 2, 19200, 4800, 1)
CONFIG = StreamConfig(
    0,
    CAPTURE,
    channels=Interval(1, 2),
    rates=(44100, 48000),
    formats=(SampleFormat.S16_LE, SampleFormat.S24_LE),
    buffer_octets=65536,
)


ALLOW = ASK.replace("ask", "allow")


class OpenStream:
    """What a stream does with its access, and what it was told."""

    def __init__(self, access: StreamAccess) -> None:
        self.access = access
        self.is_open = False
        self.decisions: list[Decision] = []  # each another than the one before

    def open(self, answer: Answer | None = None) -> None:
        self.access.admit(OPEN)
        self.is_open = True
        self.decisions.append(self.access.open(OPEN, answer))

    def follow(self, *, starts: bool = False) -> None:
        held = self.decisions[-1]
        decision = self.access.follow(OPEN, held, starts=starts)
        if (decision.verb, decision.options) != (held.verb, held.options):
            self.decisions.append(decision)

    def close(self) -> None:
        self.is_open = False
        self.access.close()

    @property
    def verbs(self) -> list[Verb]:
        return [decision.verb for decision in self.decisions]


class Scene:
    """A guest, its streams, and all that decides over them."""

    budget_percent = 100

    def __init__(self, place: Place) -> None:
        self.guest = WORK
        self.place = place
        self.trail = place.trail
        self.reasons: list[set[Reason]] = []  # of each time that all streams were decided anew
        self.queue = DecisionQueue(self._decide)
        self.audit = AuditTrail(self.trail, lambda: self.queue.reconsider(Reason.AUDIT))
        self.guest_trail = GuestTrail(self.audit)
        self.policy = PolicyState(place.sources, self.audit, self.queue, now=lambda: place.now)
        self.prompts = Prompts(self.audit, self, self.queue, LastingAnswers(self.policy).write)
        self.shown: list[Prompt] = []
        self.remembered: list[Answer | None] = []
        self.silenced: list[int] = []  # how many events the trail had, each time
        self.streams: list[OpenStream] = []

    def stream(self, name: str) -> OpenStream:
        audit = StreamAudit(self.guest_trail, self, CAPTURE)
        access = StreamAccess(
            name,
            self,
            CAPTURE,
            self.policy,
            self.prompts,
            audit,
            lambda: self.silenced.append(len(self.trail.events)),
            self.remembered.append,
        )
        self.streams.append(OpenStream(access))
        return self.streams[-1]

    def open_streams(self, _direction: Direction) -> int:
        return sum(stream.is_open for stream in self.streams)

    def mapped_octets(self, _direction: Direction) -> int:
        return sum(stream.is_open for stream in self.streams) * BUFFER_OCTETS

    def rename(self, name: str) -> None:
        self.guest = replace(self.guest, name=name)
        self.queue.reconsider(Reason.GUESTS)

    def prompt_shown(self, prompt: Prompt) -> None:
        self.shown.append(prompt)

    def prompt_gone(self, prompt: Prompt, why: str) -> None:
        pass

    async def use(self, text: str) -> None:
        self.place.write(text)
        self.policy.load()
        await settled()

    async def answer(self, answer: Answer, seconds: float = 0) -> None:
        self.prompts.answer(self.shown[-1].number, "work", CAPTURE, answer, seconds)
        await settled()

    def _decide(self, reasons: Set[Reason]) -> None:
        self.reasons.append(set(reasons))
        for stream in self.streams:
            if stream.is_open:
                stream.follow()


async def settled() -> None:
    """What was queued has been done."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.fixture
def scene(place: Place) -> Scene:
    return Scene(place)


def test_answer_holds_until_the_stream_is_closed(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        await scene.answer(Answer.ONCE)
        assert stream.verbs == [Verb.ASK, Verb.ALLOW]
        stream.follow()
        assert stream.verbs == [Verb.ASK, Verb.ALLOW]
        stream.close()
        stream.open()
        assert stream.verbs == [Verb.ASK, Verb.ALLOW, Verb.ASK]
        stream.close()

    run(test())


def test_denial_of_policy_ends_what_the_person_allowed(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        await scene.answer(Answer.ONCE)
        await scene.use(ASK.replace("ask", "deny"))
        await scene.use(ASK)
        assert stream.verbs == [Verb.ASK, Verb.ALLOW, Verb.DENY, Verb.ASK]

    run(test())


def test_what_the_person_said_outlives_a_trail_that_was_lost(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        await scene.answer(Answer.ONCE)
        scene.trail.is_broken = True
        scene.policy.load()
        await settled()
        scene.trail.is_broken = False
        scene.audit.retry()
        await settled()
        assert stream.verbs == [Verb.ASK, Verb.ALLOW, Verb.DENY, Verb.ALLOW]
        assert scene.prompts.open == []

    run(test())


@pytest.mark.parametrize(
    ("said", "verb"), [(Answer.ONCE, Verb.ALLOW), (Answer.NO, Verb.DENY), (Answer.NONE, Verb.DENY)]
)
def test_what_was_said_to_an_agent_before_is_not_asked_again(
    scene: Scene, said: Answer, verb: Verb
) -> None:
    async def test() -> None:
        await scene.use(ASK)
        scene.stream("7/0/1").open()
        await scene.answer(said)
        assert scene.remembered == [said]
        heir = scene.stream("7/0/1")
        heir.open(said)
        assert heir.verbs == [verb]
        assert scene.prompts.open == []

    run(test())


def test_what_policy_takes_back_is_not_remembered(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        scene.stream("7/0/1").open()
        await scene.answer(Answer.ONCE)
        await scene.use(ALLOW)
        assert scene.remembered == [Answer.ONCE, None]

    run(test())


def test_stream_that_nobody_answered_is_asked_about_when_it_is_used_again(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        await later(31)
        assert stream.verbs == [Verb.ASK, Verb.DENY]
        await later(11)
        stream.follow()
        assert scene.prompts.open == []
        stream.follow(starts=True)
        assert [prompt.number for prompt in scene.prompts.open] == [scene.shown[1].number]

    run(test())


def test_stream_that_was_refused_is_not_asked_about_when_it_is_used_again(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        await scene.answer(Answer.NO)
        await later(11)
        stream.follow(starts=True)
        assert scene.prompts.open == []
        assert stream.verbs == [Verb.ASK, Verb.DENY]

    run(test())


def test_answer_for_a_time_decides_once_at_once_and_once_when_it_is_written(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        scene.reasons.clear()
        await scene.answer(Answer.FOR, 60)
        assert scene.reasons == [{Reason.ANSWER}]
        assert stream.verbs == [Verb.ASK, Verb.ALLOW]
        while scene.policy.next_change() is None:
            await asyncio.sleep(0.001)
        scene.policy.load()  # as when the file is seen to be another
        await settled()
        assert scene.reasons == [{Reason.ANSWER}, {Reason.POLICY}]
        assert EventKind.GRANT_MADE in scene.trail.kinds()
        assert scene.trail.kinds().count(EventKind.DECISION) == 2

    run(test())


def test_stream_that_waited_for_the_question_of_another_is_asked_about(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        scene.stream("7/0/1").open()
        scene.stream("7/0/2").open()
        assert len(scene.shown) == 1
        await scene.answer(Answer.ONCE)
        assert len(scene.shown) == 2
        assert [stream.verbs[-1] for stream in scene.streams] == [Verb.ALLOW, Verb.ASK]

    run(test())


def test_stream_that_is_denied_is_silent_before_the_trail_is_written(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ALLOW)
        scene.stream("7/0/1").open()
        assert scene.silenced == []
        await scene.use(ASK.replace("ask", "deny"))
        (events,) = scene.silenced
        assert scene.trail.events[events].kind is EventKind.DECISION

    run(test())


def test_several_reasons_in_one_turn_are_decided_once(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        scene.reasons.clear()
        scene.prompts.answer(scene.shown[0].number, "work", CAPTURE, Answer.ONCE)
        scene.place.write(ALLOW)
        scene.policy.load()
        scene.queue.reconsider(Reason.TIME)
        assert stream.verbs == [Verb.ASK]
        await settled()
        assert scene.reasons == [{Reason.ANSWER, Reason.POLICY, Reason.TIME}]
        assert stream.verbs == [Verb.ASK, Verb.ALLOW]

    run(test())


def test_reason_that_comes_while_deciding_has_its_own_turn(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ALLOW)
        first, second = scene.stream("7/0/1"), scene.stream("7/0/2")
        first.open()
        second.open()
        scene.reasons.clear()
        scene.place.write(ALLOW.replace("allow}", "allow, max-volume: 50%}"))
        scene.policy.load()
        scene.trail.is_broken = True  # which the first decision finds
        await settled()
        assert scene.reasons == [{Reason.POLICY}, {Reason.AUDIT}]
        assert first.verbs == second.verbs == [Verb.ALLOW, Verb.DENY]

    run(test())


def test_answer_about_one_name_does_not_hold_under_another(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        await scene.answer(Answer.ONCE)
        scene.rename("untrusted")
        await settled()
        assert stream.verbs == [Verb.ASK, Verb.ALLOW, Verb.ASK]
        assert [prompt.guest for prompt in scene.prompts.open] == ["untrusted"]
        assert scene.remembered == [Answer.ONCE, None]

    run(test())


def test_question_about_one_name_is_withdrawn_under_another(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ASK)
        stream = scene.stream("7/0/1")
        stream.open()
        scene.rename("untrusted")
        await settled()
        assert [prompt.guest for prompt in scene.prompts.open] == ["untrusted"]
        with pytest.raises(UsageError, match="is not open"):
            scene.prompts.answer(scene.shown[0].number, "work", CAPTURE, Answer.ONCE)

    run(test())


def test_decision_that_stays_the_same_is_audited_under_the_new_name(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ALLOW)
        stream = scene.stream("7/0/1")
        stream.open()
        scene.rename("personal")
        await settled()
        decided = [each for each in scene.trail.events if each.kind is EventKind.DECISION]
        assert [each.fields["XENSND_GUEST"] for each in decided] == ["work", "personal"]
        assert stream.verbs == [Verb.ALLOW]

    run(test())


def test_changed_limits_of_the_same_verb_are_applied(scene: Scene) -> None:
    async def test() -> None:
        await scene.use("version: 1\nrules:\n  - {guest: work, capture: allow}\n")
        stream = scene.stream("7/0/1")
        stream.open()
        for limit in ("max-volume: 50%", "rates: [44100]"):
            await scene.use(f"version: 1\nrules:\n  - {{guest: work, capture: allow, {limit}}}\n")
        assert stream.verbs == [Verb.ALLOW, Verb.ALLOW, Verb.DENY]
        assert stream.decisions[1].options.max_volume_percent == 50
        assert stream.decisions[2].reason == "rate 48000 Hz, the rule allows 44100"

    run(test())


def test_no_more_streams_than_the_rule_says(scene: Scene) -> None:
    async def test() -> None:
        await scene.use("version: 1\nrules:\n  - {guest: work, capture: allow, max-streams: 1}\n")
        first, second = scene.stream("7/0/1"), scene.stream("7/0/2")
        first.open()
        with pytest.raises(AccessDenied, match="1 streams are open already, the rule allows 1"):
            second.open()
        assert scene.trail.kinds()[-1] is EventKind.LIMIT_HIT
        first.close()
        second.open()

    run(test())


def test_buffers_of_all_streams_have_what_the_rule_says_and_no_more(scene: Scene) -> None:
    async def test() -> None:
        most = 3 * BUFFER_OCTETS
        rule = f"{{guest: work, capture: allow, max-memory: {most}}}"
        await scene.use(f"version: 1\nrules:\n  - {rule}\n")
        streams = [scene.stream(f"7/0/{number}") for number in range(4)]
        for stream in streams[:3]:
            stream.open()
        with pytest.raises(
            AccessDenied,
            match=f"buffers of {most + BUFFER_OCTETS} octets .* {most} .max-memory",
        ):
            streams[3].open()
        assert scene.trail.kinds()[-1] is EventKind.LIMIT_HIT
        streams[0].close()
        streams[3].open()

    run(test())


def test_buffers_have_two_mebibytes_unless_a_rule_says_otherwise(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ALLOW)
        streams = [
            scene.stream(f"7/0/{number}") for number in range(MAX_MEMORY_OCTETS // BUFFER_OCTETS)
        ]
        for stream in streams:
            stream.open()
        one_more = scene.stream("7/1/0")
        with pytest.raises(AccessDenied, match="max-memory"):
            one_more.open()
        raised = "{guest: work, capture: allow, max-memory: 4MiB}"
        await scene.use(f"version: 1\nrules:\n  - {raised}\n")
        one_more.open()

    run(test())


def test_guest_with_half_of_the_budget_asks_half_as_often(scene: Scene) -> None:
    async def test() -> None:
        scene.budget_percent = 50
        await scene.use(ASK)
        for number in range(4):
            stream = scene.stream(f"7/0/{number}")
            stream.open()
            stream.close()
        assert len(scene.shown) == 3
        assert "asked 3 times within 60 s" in scene.trail.events[-2].text

    run(test())


def test_lost_trail_silences_what_was_allowed(scene: Scene) -> None:
    async def test() -> None:
        await scene.use(ALLOW)
        scene.trail.is_broken = True
        stream = scene.stream("7/0/1")
        stream.open()
        assert stream.verbs == [Verb.DENY]
        assert stream.decisions[0].reason == "the audit trail cannot be written"

    run(test())


# Limits alone


def query(formats: list[SampleFormat], rates: Interval, buffer: Interval) -> HwParams:
    return HwParams(format_mask(formats), rates, Interval(2, 2), buffer, Interval(1, 2**31))


ANYTHING = query([SampleFormat.S16_LE, SampleFormat.S24_LE], Interval(1, 10**6), Interval(1, 2**31))


def test_query_is_answered_with_what_the_rule_leaves() -> None:
    options = Options(
        formats=(SampleFormat.S16_LE,), rates_hz=(48000,), max_buffer_octets=8192, latency_usec=5000
    )
    answer = answer_within(ANYTHING, CONFIG, Limits(), options)
    assert answer.formats == format_mask([SampleFormat.S16_LE])
    assert answer.rates == Interval(48000, 48000)
    assert answer.buffer_frames == Interval(2 * 48000 * 5 // 1000, 8192 // 4)


@pytest.mark.parametrize("latency_usec", [20_000, 400_000])
def test_smallest_buffer_fits_whichever_channels_and_format_are_taken(latency_usec: int) -> None:
    """ALSA settles one parameter after another, and asks after each."""
    limits = Limits(latency_usec=latency_usec)
    able = answer_query(replace(ANYTHING, channels=Interval(1, 2)), CONFIG, limits)
    smallest = Interval(able.buffer_frames.minimum, able.buffer_frames.minimum)
    for channels, sample_format in product((1, 2), CONFIG.formats):
        settled = replace(
            able,
            formats=format_mask([sample_format]),
            channels=Interval(channels, channels),
            buffer_frames=smallest,
        )
        assert answer_query(settled, CONFIG, limits).buffer_frames == smallest


def test_query_beyond_the_rule_is_denied_and_one_beyond_the_card_has_no_answer() -> None:
    options = Options(rates_hz=(48000,))
    of_44100 = query([SampleFormat.S16_LE], Interval(44100, 44100), Interval(1, 2**31))
    with pytest.raises(AccessDenied, match="by the rule"):
        answer_within(of_44100, CONFIG, Limits(), options)
    of_96000 = query([SampleFormat.S16_LE], Interval(96000, 96000), Interval(1, 2**31))
    with pytest.raises(NothingInCommon, match="rates 96000-96000 Hz, able 44100"):
        answer_within(of_96000, CONFIG, Limits(), options)


def test_rule_that_leaves_nothing_of_the_card_denies_its_queries() -> None:
    with pytest.raises(AccessDenied, match="no format or no rate"):
        answer_within(ANYTHING, CONFIG, Limits(), Options(rates_hz=(96000,)))


def test_rule_without_limits_has_no_complaint() -> None:
    assert complaint(OPEN, NO_OPTIONS) is None
    assert limits_within(Limits(), NO_OPTIONS) == Limits()
