"""One stream's permit: limits of its rule, and grants that it takes, without any audio."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

import pytest

from agent_dom0.access.prompts import Prompts
from agent_dom0.access.stream_access import Permit
from agent_dom0.audio.guest_volume import Shared
from agent_dom0.bounds import answer_within, complaint, limits_within
from agent_dom0.events import EventKind
from agent_dom0.parameters import Limits, answer_query
from agent_dom0.services import Services
from policy.model import NO_OPTIONS, Decision, Direction, Options, Verb
from tests.unit.fake_clock import later, run
from tests.unit.test_dom0_permission import ASK, WORK, Place, place
from xensnd.control.answers import Answer
from xensnd.errors import AccessDenied
from xensnd.sndif.formats import SampleFormat, format_mask
from xensnd.sndif.packets import Open
from xensnd.sndif.params import HwParams, Interval, NothingInCommon
from xensnd.sndif.store_fields import StreamConfig

__all__ = ["place"]

CAPTURE = Direction.CAPTURE
OPEN = Open(48000, SampleFormat.S16_LE, 2, 19200, 4800, 1)
CONFIG = StreamConfig(
    0,
    CAPTURE,
    channels=Interval(1, 2),
    rates=(44100, 48000),
    formats=(SampleFormat.S16_LE, SampleFormat.S24_LE),
    buffer_octets=65536,
)


@dataclass
class Asked:
    """The services that a permit uses, and what it was told to apply."""

    place: Place
    shared: Shared
    applied: list[Decision]
    written: list[tuple[Any, ...]]
    remembered: list[Answer | None]
    prompts: Prompts

    def permit(self, stream: str) -> Permit:
        services = Services(
            transport=cast(Any, None),
            engine=cast(Any, None),
            permission=self.place.permission,
            prompts=self.prompts,
            record=self.place.audit.record,
            limits=Limits(),
            serve=lambda work: work(),
            write_down=lambda *said: self.written.append(said),
        )
        return Permit(
            services,
            WORK,
            self.shared,
            CAPTURE,
            stream,
            self.applied.append,
            self.remembered.append,
        )

    @property
    def verbs(self) -> list[Verb]:
        return [decision.verb for decision in self.applied]


@pytest.fixture
def asked(place: Place) -> Asked:
    prompts = Prompts(lambda _prompt: None, lambda _prompt, _why, _by: None, lambda: None)
    return Asked(place, Shared(), [], [], [], prompts)


def test_answer_holds_until_the_stream_is_closed(asked: Asked) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        permit = asked.permit("7/0/1")
        permit.open(OPEN)
        asked.prompts.answer(1, Answer.ONCE)
        assert asked.verbs == [Verb.ASK, Verb.ALLOW]
        asked.place.permission.load()
        permit.follow()
        assert asked.verbs == [Verb.ASK, Verb.ALLOW]
        permit.close()
        permit.open(OPEN)
        assert asked.verbs == [Verb.ASK, Verb.ALLOW, Verb.ASK]
        permit.close()

    run(test())


def test_denial_of_policy_ends_what_the_person_allowed(asked: Asked) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        permit = asked.permit("7/0/1")
        permit.open(OPEN)
        asked.prompts.answer(1, Answer.ONCE)
        asked.place.use(ASK.replace("ask", "deny"))
        permit.follow()
        asked.place.use(ASK)
        permit.follow()
        assert asked.verbs == [Verb.ASK, Verb.ALLOW, Verb.DENY, Verb.ASK]

    run(test())


def test_what_the_person_said_outlives_a_trail_that_was_lost(asked: Asked) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        permit = asked.permit("7/0/1")
        permit.open(OPEN)
        asked.prompts.answer(1, Answer.ONCE)
        asked.place.trail.is_broken = True
        asked.place.permission.load()
        permit.follow()
        asked.place.trail.is_broken = False
        asked.place.audit.retry()
        permit.follow()
        assert asked.verbs == [Verb.ASK, Verb.ALLOW, Verb.DENY, Verb.ALLOW]
        assert asked.prompts.open == []

    run(test())


@pytest.mark.parametrize(
    ("said", "verb"), [(Answer.ONCE, Verb.ALLOW), (Answer.NO, Verb.DENY), (Answer.NONE, Verb.DENY)]
)
def test_what_was_said_to_an_agent_before_is_not_asked_again(
    asked: Asked, said: Answer, verb: Verb
) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        permit = asked.permit("7/0/1")
        permit.open(OPEN)
        asked.prompts.answer(1, said)
        assert asked.remembered == [said]
        heir = asked.permit("7/0/1")
        heir.open(OPEN, said)
        assert asked.verbs[-1] is verb
        assert asked.prompts.open == []

    run(test())


def test_what_policy_takes_back_is_not_remembered(asked: Asked) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        permit = asked.permit("7/0/1")
        permit.open(OPEN)
        asked.prompts.answer(1, Answer.ONCE)
        asked.place.use(ASK.replace("ask", "allow"))
        permit.follow()
        assert asked.remembered == [Answer.ONCE, None]

    run(test())


def test_stream_that_nobody_answered_is_asked_about_when_it_is_used_again(asked: Asked) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        permit = asked.permit("7/0/1")
        permit.open(OPEN)
        await later(31)
        permit.follow()
        assert asked.prompts.open == []
        await later(11)
        permit.follow()
        assert asked.prompts.open == []
        permit.use_again()
        assert [prompt.number for prompt in asked.prompts.open] == [2]

    run(test())


def test_stream_that_was_refused_is_not_asked_about_when_it_is_used_again(asked: Asked) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        permit = asked.permit("7/0/1")
        permit.open(OPEN)
        asked.prompts.answer(1, Answer.NO)
        await later(11)
        permit.use_again()
        assert asked.prompts.open == []
        assert asked.verbs == [Verb.ASK, Verb.DENY]

    run(test())


def test_answer_for_a_time_holds_at_once_and_is_written_down(asked: Asked) -> None:
    async def test() -> None:
        asked.place.use(ASK)
        asked.permit("7/0/1").open(OPEN)
        asked.prompts.answer(1, Answer.FOR, 60)
        assert asked.verbs[-1] is Verb.ALLOW
        assert asked.written == [(WORK, CAPTURE, Answer.FOR, 60)]

    run(test())


def test_changed_limits_of_the_same_verb_are_applied(asked: Asked) -> None:
    asked.place.use("version: 1\nrules:\n  - {guest: work, capture: allow}\n")
    permit = asked.permit("7/0/1")
    permit.open(OPEN)
    asked.place.use("version: 1\nrules:\n  - {guest: work, capture: allow, max-volume: 50%}\n")
    permit.follow()
    asked.place.use("version: 1\nrules:\n  - {guest: work, capture: allow, rates: [44100]}\n")
    permit.follow()
    assert asked.verbs == [Verb.ALLOW, Verb.ALLOW, Verb.DENY]
    assert asked.applied[1].options.max_volume_percent == 50
    assert asked.applied[2].reason == "rate 48000 Hz, the rule allows 44100"


def test_no_more_streams_than_the_rule_says(asked: Asked) -> None:
    asked.place.use("version: 1\nrules:\n  - {guest: work, capture: allow, max-streams: 1}\n")
    first, second = asked.permit("7/0/1"), asked.permit("7/0/2")
    first.admit(OPEN)
    first.open(OPEN)
    with pytest.raises(AccessDenied, match="1 streams are open already, the rule allows 1"):
        second.admit(OPEN)
    assert asked.place.trail.kinds()[-1] is EventKind.LIMIT_HIT
    first.close()
    second.admit(OPEN)


def test_lost_trail_silences_what_was_allowed(asked: Asked) -> None:
    asked.place.use(ASK.replace("ask", "allow"))
    asked.place.trail.is_broken = True
    asked.permit("7/0/1").open(OPEN)
    assert asked.verbs == [Verb.DENY]
    assert asked.applied[0].reason == "the audit trail cannot be written"


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
