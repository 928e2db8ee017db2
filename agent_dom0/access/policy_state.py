"""Whether a guest may play and record now: policy, and the reasons to deny when something fails."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent_dom0.access.grant_events import GrantEvents
from agent_dom0.access.reconsider import DecisionQueue, Reason
from agent_dom0.audit import NOT_WRITTEN, AuditTrail
from agent_dom0.events import Event, EventKind, Priority
from agent_dom0.guest import RunningGuest
from policy.edit import editor, grants
from policy.engine import decide, gives_device, next_change
from policy.language import identities, platform
from policy.language.loader import load
from policy.model import Decision, Direction, GuestIdentity, Options, Policy, Verb
from policy.paths import PolicyPaths
from xensnd.errors import PolicyError

log = logging.getLogger("xensnd-dom0")

# These pass by themselves, without a change of the files.
_LACKS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class PolicyState:
    """Decides by the policy files as they were at the last load(), and by the clock.

    A bad policy denies all capture until it is good again; playback follows the last good one. A
    lost audit trail denies capture too. `withheld` returns why the platform does not let a guest
    record, whatever policy says.
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
        self._platform_is_missing = False  # as audited last
        self._grants = GrantEvents()
        self._ended: set[str] = (
            set()
        )  # streams that have ended, whose grants may not be released yet

    @property
    def problem(self) -> str | None:
        return None if self._problem is None else str(self._problem)

    @property
    def lacks_resources(self) -> bool:
        """Whether the files could not be read for want of file descriptors or memory. Then load()
        is to be called again."""
        why = self._problem and self._problem.__cause__
        return isinstance(why, MemoryError) or (isinstance(why, OSError) and why.errno in _LACKS)

    @property
    def rules(self) -> int:
        return len(self._policy.rules)

    def load(self, *, is_routine: bool = False) -> None:
        """Read the files again. If the rules have changed, every stream is decided again. What is
        read as a matter of routine is audited only if something has changed."""
        before = self._what_holds
        self._read_files()
        if not is_routine or self._what_holds != before:
            self._audit_files()
        if self._what_holds != before:
            self._queue.reconsider(Reason.POLICY)

    @property
    def _what_holds(self) -> tuple[object, ...]:
        return self.problem, self._policy.rules, self._identities

    def _read_files(self) -> None:
        try:
            self._identities, self._policy = self._loaded()
        except PolicyError as problem:
            self._problem = problem
        else:
            self._problem = None

    def _audit_files(self) -> None:
        problem = self._problem
        if problem is not None:
            self._trail.append(
                Event(
                    EventKind.POLICY_REJECTED,
                    f"{problem}; capture is denied, playback follows the last good policy",
                    Priority.ERROR,
                    {"XENSND_PROBLEM": str(problem)},
                )
            )
            return
        self._trail.append(
            Event(
                EventKind.POLICY_LOADED,
                f"policy read: {self.rules} rules from {len(self._policy.files)} files",
                fields={"XENSND_RULES": self.rules},
            )
        )
        self._audit_platform()
        self.follow_time()
        self._ended &= {rule.taken_by for rule in self._policy.rules if rule.taken_by}

    def _audit_platform(self) -> None:
        """Audit that nothing is known of qubes but their names, or that it is known again."""
        known = self._identities
        is_missing = isinstance(known, platform.PlatformAndSite) and known.is_missing
        if is_missing is self._platform_is_missing:
            return
        self._platform_is_missing = is_missing
        if is_missing:
            text = (
                f"{self.sources.platform} is missing, does xensnd-qubes run? Labels, tags, classes "
                "and templates of qubes are not known; rules for them allow nothing"
            )
            event = Event(EventKind.IDENTITIES_LOST, text, Priority.WARNING)
        else:
            text = "labels, tags, classes and templates of qubes are known"
            event = Event(EventKind.IDENTITIES_FOUND, text, Priority.NOTICE)
        self._trail.append(event)

    def _loaded(self) -> tuple[identities.Identities, Policy]:
        """Return what the files say now. PolicyError: they say nothing that can be used."""
        try:
            return platform.load(self.sources), load(
                self.sources.directories, runtime=self.sources.runtime
            )
        except (OSError, MemoryError) as error:
            raise PolicyError(f"the policy cannot be read: {error or 'no memory'}") from error

    def follow_time(self) -> None:
        """Audit the grants that have begun and ended."""
        for event in self._grants.follow(self._policy, self._now(), self._ended):
            self._trail.append(event)

    def next_change(self) -> timedelta | None:
        """Return the time until a rule begins or ends to apply; None: there is no such time."""
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
                return Decision(Verb.DENY, None, NOT_WRITTEN)
            if guest.shares_name:
                return Decision(
                    Verb.DENY, None, f"another running guest is named {guest.name} as well"
                )
            if (withheld := self._withheld(guest)) is not None:
                return Decision(Verb.DENY, None, withheld)
        if stream in self._ended:
            stream = None  # an earlier stream had this id, and has used that grant
        return decide(self._policy, self.known(guest), direction, self._now(), stream)

    def verb(self, guest: RunningGuest, direction: Direction) -> Verb:
        """Return what the last good policy says, whatever else denies it now."""
        return decide(self._policy, self.known(guest), direction, self._now()).verb

    def limits(self, guest: RunningGuest, direction: Direction) -> Options:
        """Return those that the last good policy sets."""
        return decide(self._policy, self.known(guest), direction, self._now()).options

    def gives_device(self, guest: RunningGuest) -> bool:
        return bool(gives_device(self._policy, self.known(guest), self._now()))

    def known(self, guest: RunningGuest) -> GuestIdentity:
        """Return the guest's identity. A rule never allows anything by a part that is None."""
        known = self._identities.guest(guest.name, guest.uuid or None)
        return known if known.label is not None else replace(known, label=guest.label or None)

    # Grants for one stream

    def take(self, guest: RunningGuest, direction: Direction, stream: str) -> Decision:
        """Return the decision, after this stream has taken a grant for one stream, if any."""
        decision = self.decide(guest, direction, stream)
        if not decision.must_be_taken:
            return decision
        if self.sources.runtime is None or decision.rule is None or stream in self._ended:
            return Decision(Verb.DENY, decision.rule, "the grant for one stream cannot be taken")
        try:
            grants.take(self.sources.runtime, decision.rule, stream)
        except PolicyError as error:
            return Decision(Verb.DENY, decision.rule, str(error))
        self.load()  # it may be taken by this stream, or by another that was faster
        decision = self.decide(guest, direction, stream)
        if decision.must_be_taken:
            return Decision(Verb.DENY, decision.rule, "another stream has taken the grant")
        return decision

    def release(self, stream: str) -> None:
        """Remove the grants that a stream has taken, since it has ended."""
        self._ended.add(stream)
        self._rewrite(lambda runtime: grants.release(runtime, stream))

    def release_others(self, streams: Collection[str]) -> None:
        """Remove the grants of all streams but these, when an agent starts."""
        self._rewrite(lambda runtime: grants.release_others(runtime, streams))

    def end_grants(self, guest: str) -> bool:
        """End the grants for this guest alone that let it record. False: not written yet."""
        return self._rewrite(lambda runtime: grants.end_capture(runtime, guest))

    def _rewrite(self, change: Callable[[Path], bool]) -> bool:
        """Rewrite the grants. False: they could not be written; the caller must deny instead."""
        if self.sources.runtime is None:
            return True
        try:
            if change(self.sources.runtime):
                self.load()
        except PolicyError as error:
            log.warning("%s; the used grant stays in its file, but no stream gets it", error)
            return False
        return True

    # Writing what a person has answered. Both may wait for another editor: call them in a thread.

    def write_grant(
        self, guest: str, direction: Direction, seconds: float, verb: Verb = Verb.ALLOW
    ) -> None:
        """Write a grant for so long. AccessDenied or UsageError: nothing was changed."""
        context = self._edit_context()
        ends = context.now + timedelta(seconds=seconds)
        editor.grant(context, guest, direction, verb, ends)

    def write_rule(self, guest: str, direction: Direction, verb: Verb) -> None:
        """Write a rule. AccessDenied or UsageError: nothing was changed."""
        editor.set_verb(self._edit_context(), guest, direction, verb)

    def _edit_context(self) -> editor.EditContext:
        return editor.EditContext(self.sources, self._identities, self._now())
