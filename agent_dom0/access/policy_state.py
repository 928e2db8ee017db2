"""May this guest play, may it record, now? Policy, and what fails closed around it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent_dom0.access.grant_events import GrantEvents
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.audit import AuditTrail
from agent_dom0.events import Event, EventKind, Priority
from agent_dom0.guest import RunningGuest
from policy.edit import editor, grants
from policy.engine import decide, gives_device, next_change
from policy.language import identities
from policy.language.loader import load
from policy.model import Decision, Direction, GuestIdentity, Policy, Verb
from policy.paths import PolicyPaths
from xensnd.errors import PolicyError

log = logging.getLogger("xensnd-dom0")


class PolicyState:
    """Answers from the policy files as they were at the last load(), and from the clock.

    A bad policy denies all capture until it is good again; playback stays on the last good one.
    A lost audit trail denies capture too. `withheld` says why a guest may not record, whatever
    policy says: the platform's word.
    """

    def __init__(
        self,
        sources: PolicyPaths,
        trail: AuditTrail,
        queue: DecisionQueue,
        withheld: Callable[[RunningGuest], str | None] = lambda _guest: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.sources = sources
        self._trail = trail
        self._queue = queue
        self._withheld = withheld
        self._now = now
        self._policy = Policy(rules=(), files=())
        self._identities: identities.Identities = identities.NAMES_ALONE
        self._problem: PolicyError | None = None
        self._grants = GrantEvents()
        self._ended: set[str] = set()  # streams whose grants are not, or may not be, released

    @property
    def problem(self) -> str | None:
        return None if self._problem is None else str(self._problem)

    @property
    def rules(self) -> int:
        return len(self._policy.rules)

    def load(self) -> None:
        """Reads the files again. Every stream is decided anew if they say something else now."""
        before = self._what_holds
        self._read_files()
        if self._what_holds != before:
            self._queue.reconsider(Reason.POLICY)

    @property
    def _what_holds(self) -> tuple[object, ...]:
        return self.problem, self._policy.rules, self._identities

    def _read_files(self) -> None:
        try:
            self._identities = identities.load(self.sources.tags_file)
            self._policy = load(self.sources.directories, runtime=self.sources.runtime)
        except PolicyError as problem:
            self._problem = problem
            self._trail.append(
                Event(
                    EventKind.POLICY_REJECTED,
                    f"{problem}; capture is denied, playback stays as it was",
                    Priority.ERROR,
                    {"XENSND_PROBLEM": str(problem)},
                )
            )
            return
        self._problem = None
        self._trail.append(
            Event(
                EventKind.POLICY_LOADED,
                f"policy of {self.rules} rules from {len(self._policy.files)} files",
                fields={"XENSND_RULES": self.rules},
            )
        )
        self.follow_time()
        self._ended &= {rule.taken_by for rule in self._policy.rules if rule.taken_by}

    def follow_time(self) -> None:
        """Tells the audit trail which grants have begun and ended."""
        for event in self._grants.follow(self._policy, self._now(), self._ended):
            self._trail.append(event)

    def next_change(self) -> timedelta | None:
        """How long until a rule begins or ends to hold; None: no time will come that changes it."""
        now = self._now()
        instant = next_change(self._policy, now)
        return None if instant is None else instant - now

    def decide(
        self, guest: RunningGuest, direction: Direction, stream: str | None = None
    ) -> Decision:
        if direction is Direction.CAPTURE:
            if self._problem is not None:
                return Decision(Verb.DENY, None, f"bad policy: {self._problem}")
            if self._trail.is_lost:
                return Decision(Verb.DENY, None, "the audit trail cannot be written")
            if guest.shares_name:
                return Decision(Verb.DENY, None, f"another guest named {guest.name} runs")
            if (withheld := self._withheld(guest)) is not None:
                return Decision(Verb.DENY, None, withheld)
        if stream in self._ended:
            stream = None  # of an earlier stream in the same place: that grant is used up
        return decide(self._policy, self._known(guest), direction, self._now(), stream)

    def verb(self, guest: RunningGuest, direction: Direction) -> Verb:
        """What the last good policy says, whatever else denies it now."""
        return decide(self._policy, self._known(guest), direction, self._now()).verb

    def gives_device(self, guest: RunningGuest) -> bool:
        return bool(gives_device(self._policy, self._known(guest), self._now()))

    def _known(self, guest: RunningGuest) -> GuestIdentity:
        """What is not known stays None: a rule that goes by it then gives nothing."""
        known = self._identities.guest(guest.name, guest.uuid or None)
        return known if known.label is not None else replace(known, label=guest.label or None)

    # Grants for one stream

    def take(self, guest: RunningGuest, direction: Direction, stream: str) -> Decision:
        """The decision, once whatever is for one stream alone is this stream's."""
        decision = self.decide(guest, direction, stream)
        if not decision.must_be_taken:
            return decision
        if self.sources.runtime is None or decision.rule is None or stream in self._ended:
            return Decision(Verb.DENY, decision.rule, "the grant cannot be taken")
        try:
            grants.take(self.sources.runtime, decision.rule, stream)
        except PolicyError as error:
            return Decision(Verb.DENY, decision.rule, str(error))
        self.load()  # taken by this stream, or by another that was faster
        decision = self.decide(guest, direction, stream)
        if decision.must_be_taken:
            return Decision(Verb.DENY, decision.rule, "the grant was taken meanwhile")
        return decision

    def release(self, stream: str) -> None:
        """It has ended: what it had taken is used up."""
        self._ended.add(stream)
        self._rewrite(lambda runtime: grants.release(runtime, stream))

    def release_others(self, streams: Collection[str]) -> None:
        """For an agent that starts: these streams are all that there are."""
        self._rewrite(lambda runtime: grants.release_others(runtime, streams))

    def end_grants(self, guest: str) -> bool:
        """Of the grants for it alone, none lets it record any more. False: not written yet."""
        return self._rewrite(lambda runtime: grants.end_capture(runtime, guest))

    def _rewrite(self, change: Callable[[Path], bool]) -> bool:
        """False: it could not be written, and whoever asks sees to it that nobody gains by that."""
        if self.sources.runtime is None:
            return True
        try:
            if change(self.sources.runtime):
                self.load()
        except PolicyError as error:
            log.warning("%s; a grant that is used up stays there, and nobody gets it", error)
            return False
        return True

    # What the person said, written down. Both may wait for another editor: call them in a thread.

    def write_grant(
        self, guest: str, direction: Direction, seconds: float, verb: Verb = Verb.ALLOW
    ) -> None:
        """AccessDenied or UsageError: nothing was changed."""
        context = self._edit_context()
        ends = context.now + timedelta(seconds=seconds)
        editor.grant(context, guest, direction, verb, ends)

    def write_rule(self, guest: str, direction: Direction, verb: Verb) -> None:
        """AccessDenied or UsageError: nothing was changed."""
        editor.set_verb(self._edit_context(), guest, direction, verb)

    def _edit_context(self) -> editor.EditContext:
        return editor.EditContext(self.sources, self._identities, self._now())
