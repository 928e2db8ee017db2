"""Whether one stream may sound: policy decides, or a person if policy says `ask`.

A stream that is not allowed runs on its clock, in silence. OPEN is refused only if a rule says so.
This module does not keep whether the stream is open, nor the last decision: Stream does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import NotAsked, Prompts
from agent_dom0.guest import RunningGuest
from agent_dom0.parameters import Limits, SoundParameters, complaint, limits_within
from agent_dom0.stream_audit import StreamAudit
from policy.model import Decision, Direction, OnDeny, Options, Verb
from xensnd.control.answers import Answer
from xensnd.errors import AccessDenied
from xensnd.sndif.layout import PAGE_OCTETS, buffer_pages

_YES = (Answer.ONCE, Answer.FOR, Answer.ALWAYS)


class StreamOwner(Protocol):
    """The guest whose stream it is."""

    @property
    def guest(self) -> RunningGuest: ...

    @property
    def budget_percent(self) -> int:
        """How much of the usual budget it has."""

    def open_streams(self, direction: Direction) -> int:
        """Return how many it has open now."""

    def mapped_octets(self, direction: Direction) -> int:
        """Return how large the buffers of those are, in whole pages."""


class StreamAccess:
    """Decides about one stream. `stream` is its id, which a grant for one stream names; it stays
    the same when another agent takes the stream over.

    `silence` is called first, as soon as the stream may not sound. `remember` is called with the
    person's answer about the open stream, which the next agent needs.
    """

    def __init__(
        self,
        stream: str,
        owner: StreamOwner,
        direction: Direction,
        policy: PolicyState,
        prompts: Prompts,
        audit: StreamAudit,
        silence: Callable[[], None],
        remember: Callable[[Answer | None], None],
    ) -> None:
        self._stream = stream
        self._owner = owner
        self._direction = direction
        self._policy = policy
        self._prompts = prompts
        self._audit = audit
        self._silence = silence
        self._remember = remember
        self._name = owner.guest.name  # the question and the answer are about this name
        self._answer: Answer | None = None  # the person's, about the open stream
        self._question: int | None = None  # the open one
        self._has_taken = False  # a grant for one stream

    @property
    def options(self) -> Options:
        """Return the limits that apply now, whether a stream is open or not."""
        return self._policy_says().options

    @property
    def is_denied(self) -> bool:
        """Whether policy, or what fails closed around it, denies the stream now."""
        return self._policy_says().verb is Verb.DENY

    def admit(self, parameters: SoundParameters) -> None:
        """Check whether the stream may be opened. AccessDenied: it may not, not even in silence."""
        decision = self._policy_says()
        options = decision.options
        wrong = complaint(parameters, options) or self._too_much(parameters, options)
        if wrong is not None:
            self._audit.tell_limit(f"refused: {wrong}")
            raise AccessDenied(wrong)
        if options.on_deny is OnDeny.SILENCE:
            return
        if decision.verb is Verb.ASK:
            owner = self._owner
            why_not = self._prompts.why_not(owner.guest.name, self._direction, owner.budget_percent)
            if why_not is None:
                return
            decision = Decision(Verb.DENY, decision.rule, f"the person was not asked: {why_not}")
        if decision.verb is Verb.DENY:
            self._audit.tell_decision(decision)
            raise AccessDenied(decision.reason)

    def open(self, parameters: SoundParameters, answer: Answer | None = None) -> Decision:
        """Return the decision. `answer`: what the person has answered an earlier agent about it."""
        self._name, self._answer = self._owner.guest.name, answer
        return self._audited(self._decide(parameters))

    def follow(
        self, parameters: SoundParameters, held: Decision, *, starts: bool = False
    ) -> Decision:
        """Return the new decision in place of `held`.

        `starts`: the guest begins to use the stream. If nobody answered before, ask again."""
        if starts and self._answer is Answer.NONE:
            self._set_answer(None)
        is_renamed = self._follow_name()
        decision = self._decide(parameters)
        is_same = (decision.verb, decision.options) == (held.verb, held.options)
        if is_same and not is_renamed:
            return decision  # by another rule, perhaps
        return self._audited(decision, by_guest=starts)

    def close(self, *, goes_on: bool = False) -> None:
        """Forget the stream, which has ended. `goes_on`: another agent takes it over."""
        self._withdraw_question()
        if self._has_taken and not goes_on:
            self._policy.release(self._stream)
        self._answer = None
        self._has_taken = False

    def _too_much(self, parameters: SoundParameters, options: Options) -> str | None:
        """Return what the guest would have too much of with this stream; None: nothing."""
        count, most = self._owner.open_streams(self._direction), options.max_streams
        if most is not None and count >= most:
            return f"{count} streams are open already, the rule allows {most}"
        new_octets = buffer_pages(parameters.buffer_octets) * PAGE_OCTETS
        octets = self._owner.mapped_octets(self._direction) + new_octets
        allowed = limits_within(Limits(), options).max_memory_octets
        if octets > allowed:
            return f"buffers of {octets} octets in all, the guest may have {allowed} (max-memory)"
        return None

    def _policy_says(self) -> Decision:
        return self._policy.decide(self._owner.guest, self._direction, self._stream)

    def _follow_name(self) -> bool:
        """Return whether the guest has a new name. Then the old question and answer are dropped."""
        name = self._owner.guest.name
        if self._name == name:
            return False
        self._name = name
        self._withdraw_question()
        self._set_answer(None)
        return True

    def _decide(self, parameters: SoundParameters) -> Decision:
        decision = self._policy.take(self._owner.guest, self._direction, self._stream)
        if decision.rule is not None and decision.rule.taken_by == self._stream:
            self._has_taken = True
        wrong = complaint(parameters, decision.options)
        if decision.verb is not Verb.DENY and wrong is not None:
            decision = Decision(Verb.DENY, decision.rule, wrong)
        if decision.verb is Verb.ASK:
            return self._ask(decision)
        self._withdraw_question()
        if decision.verb is Verb.ALLOW or not self._policy_asks:
            self._set_answer(None)
        return decision

    @property
    def _policy_asks(self) -> bool:
        """Whether policy says `ask`, even if something else denies now. Then the answer is kept."""
        return self._policy.verb(self._owner.guest, self._direction) is Verb.ASK

    def _set_answer(self, answer: Answer | None) -> None:
        if answer is not self._answer:
            self._answer = answer
            self._remember(answer)

    def _ask(self, decision: Decision) -> Decision:
        """Return the decision by the person's answer; until there is one, Verb.ASK: silence."""
        if self._answer in _YES:
            return Decision(Verb.ALLOW, decision.rule, f"the person answered: {self._answer}")
        if self._answer is not None:
            reason = (
                "nobody answered"
                if self._answer is Answer.NONE
                else f"the person answered: {self._answer}"
            )
            return Decision(Verb.DENY, decision.rule, reason)
        if self._question is None:
            guest = self._owner.guest
            try:
                self._question = self._prompts.ask(
                    guest.name,
                    guest.domid,
                    self._direction,
                    self._answered,
                    decision.options.device,
                    self._owner.budget_percent,
                )
            except NotAsked as why_not:
                self._audit.tell_limit(f"stays silent, and no question is asked: {why_not}")
        return decision

    def _answered(self, answer: Answer) -> None:
        """Keep the answer. All streams are decided again after that."""
        self._question = None
        self._set_answer(answer)

    def _withdraw_question(self) -> None:
        if self._question is not None:
            self._prompts.withdraw(self._question)
            self._question = None

    def _audited(self, decision: Decision, *, by_guest: bool = True) -> Decision:
        """Audit the decision and return it; deny a capture that cannot be audited. Writing may take
        a while, so a stream that is not allowed is silenced first."""
        if decision.verb is not Verb.ALLOW:
            self._silence()
        why_not = self._audit.tell_decision(decision, by_guest=by_guest)
        if why_not is not None and self._direction is Direction.CAPTURE:
            return Decision(Verb.DENY, None, why_not)
        return decision
