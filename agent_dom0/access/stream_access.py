"""Whether one stream may sound: policy says, or the person whom policy wants to be asked.

Whatever is not allowed stays on its clock, in silence; only a rule that says so refuses to open.
Whether the stream is open, and what was decided last, is the stream's to know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent_dom0.access.policy_state import PolicyState
from agent_dom0.access.prompts import NotAsked, Prompts
from agent_dom0.guest import RunningGuest
from agent_dom0.parameters import complaint
from agent_dom0.stream_audit import StreamAudit
from policy.model import Decision, Direction, OnDeny, Options, Verb
from xensnd.control.answers import Answer
from xensnd.errors import AccessDenied
from xensnd.sndif.packets import Open

_YES = (Answer.ONCE, Answer.FOR, Answer.ALWAYS)


class StreamOwner(Protocol):
    """The guest whose stream it is."""

    @property
    def guest(self) -> RunningGuest: ...

    def open_streams(self, direction: Direction) -> int:
        """How many it has open now."""


class StreamAccess:
    """`stream` names it, also for an agent that takes it over: grants for one stream say it.

    `silence` is called as soon as the stream may not sound, before anything else. `remember` is
    called with what the person has said of the stream that is open, for the next agent.
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
        self._name = owner.guest.name  # of which the question and the answer are
        self._answer: Answer | None = None  # the person's, of the stream that is open
        self._question: int | None = None  # that is open
        self._has_taken = False  # a grant for one stream

    @property
    def options(self) -> Options:
        """The limits that hold now, whether a stream is open or not."""
        return self._policy_says().options

    def admit(self, request: Open) -> None:
        """AccessDenied: the stream is not to be opened at all."""
        decision = self._policy_says()
        options = decision.options
        wrong = complaint(request, options)
        count, most = self._owner.open_streams(self._direction), options.max_streams
        if wrong is None and most is not None and count >= most:
            wrong = f"{count} streams are open already, the rule allows {most}"
        if wrong is not None:
            self._audit.tell_limit(f"refused: {wrong}")
            raise AccessDenied(wrong)
        if options.on_deny is OnDeny.SILENCE:
            return
        if decision.verb is Verb.ASK:
            why_not = self._prompts.why_not(self._owner.guest.name, self._direction)
            if why_not is None:
                return
            decision = Decision(Verb.DENY, decision.rule, f"not asked: {why_not}")
        if decision.verb is Verb.DENY:
            self._audit.tell_decision(decision)
            raise AccessDenied(decision.reason)

    def open(self, request: Open, answer: Answer | None = None) -> Decision:
        """Returns what holds. `answer`: what the person has told an agent before us of it."""
        self._name, self._answer = self._owner.guest.name, answer
        return self._audited(self._decide(request))

    def follow(self, request: Open, held: Decision, *, starts: bool = False) -> Decision:
        """Returns what holds now, in place of `held`. `starts`: the guest begins to use the stream;
        where nobody was there to answer, they may be now."""
        if starts and self._answer is Answer.NONE:
            self._set_answer(None)
        is_renamed = self._follow_name()
        decision = self._decide(request)
        is_same = (decision.verb, decision.options) == (held.verb, held.options)
        if is_same and not is_renamed:
            return decision  # by another rule, perhaps
        return self._audited(decision)

    def close(self, *, goes_on: bool = False) -> None:
        """The stream has ended. `goes_on`: not for the guest, and another agent takes it over."""
        self._withdraw_question()
        if self._has_taken and not goes_on:
            self._policy.release(self._stream)
        self._answer = None
        self._has_taken = False

    def _policy_says(self) -> Decision:
        return self._policy.decide(self._owner.guest, self._direction, self._stream)

    def _follow_name(self) -> bool:
        """Whether the guest has another name: what was asked and said about that does not hold."""
        name = self._owner.guest.name
        if self._name == name:
            return False
        self._name = name
        self._withdraw_question()
        self._set_answer(None)
        return True

    def _decide(self, request: Open) -> Decision:
        decision = self._policy.take(self._owner.guest, self._direction, self._stream)
        if decision.rule is not None and decision.rule.taken_by == self._stream:
            self._has_taken = True
        wrong = complaint(request, decision.options)
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
        """Also while something else denies it: what the person has said is not forgotten then."""
        return self._policy.verb(self._owner.guest, self._direction) is Verb.ASK

    def _set_answer(self, answer: Answer | None) -> None:
        if answer is not self._answer:
            self._answer = answer
            self._remember(answer)

    def _ask(self, decision: Decision) -> Decision:
        """Returns what the person has said. While nothing is said, still Verb.ASK: silence."""
        if self._answer in _YES:
            return Decision(Verb.ALLOW, decision.rule, f"asked for, and allowed: {self._answer}")
        if self._answer is not None:
            return Decision(Verb.DENY, decision.rule, f"asked for, and not allowed: {self._answer}")
        if self._question is None:
            guest = self._owner.guest
            try:
                self._question = self._prompts.ask(
                    guest.name,
                    guest.domid,
                    self._direction,
                    self._answered,
                    decision.options.device,
                )
            except NotAsked as why_not:
                self._audit.tell_limit(f"not asked about: {why_not}")
        return decision

    def _answered(self, answer: Answer) -> None:
        """All streams are decided anew after that."""
        self._question = None
        self._set_answer(answer)

    def _withdraw_question(self) -> None:
        if self._question is not None:
            self._prompts.withdraw(self._question)
            self._question = None

    def _audited(self, decision: Decision) -> Decision:
        """Without the audit trail nobody records. Writing it may take a while: silence first."""
        if decision.verb is not Verb.ALLOW:
            self._silence()
        if not self._audit.tell_decision(decision) and self._direction is Direction.CAPTURE:
            return Decision(Verb.DENY, None, "the audit trail cannot be written")
        return decision
