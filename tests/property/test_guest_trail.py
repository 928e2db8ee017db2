"""A guest's budget of the trail, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_dom0.events import Event, EventKind
from policy.model import Verb
from tests.unit.fake_clock import later
from tests.unit.test_dom0_guest_trail import (
    REPEATABLE_RECORDS,
    SUMMARY,
    Guests,
    decided,
    opened,
    refused,
    with_guests,
)

EVENTS = st.one_of(
    st.builds(opened),
    st.sampled_from([refused("one"), refused("another")]),
    st.sampled_from([decided(verb, said) for verb in Verb for said in ("a", "b")]),
)


@settings(max_examples=50)
@given(st.lists(st.tuples(EVENTS, st.sampled_from([0, 0, 0, 0.1, 2.0])), max_size=400))
def test_each_event_is_told_once_and_nobody_records_by_a_decision_that_is_not_the_last_written(
    history: list[tuple[Event, float]],
) -> None:
    @with_guests
    async def told(guests: Guests) -> None:
        guests.use_up()
        for event, seconds in history:
            if event.fields.get("XENSND_DECISION") in (None, "deny"):
                assert guests.evil.append(event)
            elif guests.evil.permit(event) is None:
                assert guests.texts(EventKind.DECISION)[-1] == event.text
            await later(seconds)
        guests.evil.close()
        records = len(guests.sink.events) - len(guests.records(SUMMARY))
        assert records + guests.counts.total() == REPEATABLE_RECORDS + len(history)

    told()
