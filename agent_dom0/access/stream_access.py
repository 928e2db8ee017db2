"""Whether one open stream may sound: policy says, or the person whom policy wants to be asked.

Whatever is not allowed stays on its clock, in silence; only a rule that says so refuses to open.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from agent_dom0.audio.guest_volume import Shared
from agent_dom0.bounds import complaint
from agent_dom0.events import EventKind, Priority, decision_event, guest_event
from agent_dom0.guest import Guest
from agent_dom0.services import Services
from policy.model import Decision, OnDeny, Options, Verb
from xensnd.control.answers import LASTING, Answer
from xensnd.errors import AccessDenied
from xensnd.sndif.packets import Open
from xensnd.sndif.store_fields import Direction

LIMIT_SAID_SECONDS = 1.0
LIMITS_SAID_MAX = 64

_YES = (Answer.ONCE, Answer.FOR, Answer.ALWAYS)


class Permit:
    """`stream` names it, also for an agent that takes it over: grants for one stream say it.

    `apply` is called with each decision whose verb or limits differ from the one before, and
    `remember` with what the person has said of the stream that is open, for the next agent.
    """

    def __init__(
        self,
        services: Services,
        guest: Guest,
        shared: Shared,
        direction: Direction,
        stream: str,
        apply: Callable[[Decision], None],
        remember: Callable[[Answer | None], None],
    ) -> None:
        self.decision: Decision | None = None
        self.stream = stream
        self._services = services
        self._guest = guest
        self._shared = shared
        self._direction = direction
        self._apply = apply
        self._remember = remember
        self._request: Open | None = None  # None: no stream is open
        self._said: Answer | None = None  # by the person, of the stream that is open
        self._is_asked = False
        self._has_taken = False
        self._limits_said: dict[str, float] = {}  # when

    @property
    def options(self) -> Options:
        """The limits that hold now, whether a stream is open or not."""
        if self.decision is not None:
            return self.decision.options
        return self._policy_says().options

    def admit(self, request: Open) -> None:
        """AccessDenied: the stream is not to be opened at all."""
        decision = self._policy_says()
        options = decision.options
        wrong = complaint(request, options)
        count, most = self._shared.open_streams[self._direction], options.max_streams
        if wrong is None and most is not None and count >= most:
            wrong = f"{count} streams are open already, the rule allows {most}"
        if wrong is not None:
            self.say_limit(f"refused: {wrong}")
            raise AccessDenied(wrong)
        if options.on_deny is OnDeny.SILENCE:
            return
        if decision.verb is Verb.ASK:
            why_not = self._services.prompts.why_not(self._guest.name, self._direction)
            if why_not is None:
                return
            decision = Decision(Verb.DENY, decision.rule, f"not asked: {why_not}")
        if decision.verb is Verb.DENY:
            self._record(decision)
            raise AccessDenied(decision.reason)

    def open(self, request: Open, said: Answer | None = None) -> None:
        """`said`: what the person has told an agent before us of this stream."""
        self._request = request
        self._said = said
        self._shared.open_streams[self._direction] += 1
        self._enter(self._decide(request))

    def use_again(self) -> None:
        """The guest starts the stream anew. Where nobody was there to answer, they may be now."""
        if self._said is Answer.NONE:
            self._say(None)
            self.follow()

    def follow(self) -> None:
        """Policy, the time, the person or the audit trail may say otherwise now."""
        if self._request is None:
            return
        decision, before = self._decide(self._request), self.decision
        if before is None or (decision.verb, decision.options) != (before.verb, before.options):
            self._enter(decision)
        else:
            self.decision = decision  # by another rule, perhaps

    def close(self) -> None:
        """The stream has ended."""
        if self._request is None:
            return
        self._shared.open_streams[self._direction] -= 1
        self.leave()
        if self._has_taken:
            self._services.permission.release(self.stream)
        self._request = self.decision = self._said = None
        self._has_taken = False

    def leave(self) -> None:
        """The stream goes on, for the next agent."""
        if self._is_asked:
            self._is_asked = False
            self._services.prompts.withdraw(self._guest.name, self._direction)

    def say_limit(self, text: str) -> None:
        """A guest that runs into its limits all the time does not fill the audit trail."""
        now = time.monotonic()
        if now - self._limits_said.get(text, -math.inf) < LIMIT_SAID_SECONDS:
            return
        if len(self._limits_said) >= LIMITS_SAID_MAX:
            self._limits_said.clear()
        self._limits_said[text] = now
        event = guest_event(
            EventKind.LIMIT_HIT,
            self._guest.name,
            self._guest.domid,
            f"{self._direction} {text}",
            Priority.NOTICE,
        )
        event.fields["XENSND_DIRECTION"] = self._direction.value
        self._services.record(event)

    def _policy_says(self) -> Decision:
        return self._services.permission.decide(self._guest, self._direction, self.stream)

    def _decide(self, request: Open) -> Decision:
        decision = self._services.permission.take(self._guest, self._direction, self.stream)
        if decision.rule is not None and decision.rule.taken_by == self.stream:
            self._has_taken = True
        wrong = complaint(request, decision.options)
        if decision.verb is not Verb.DENY and wrong is not None:
            decision = Decision(Verb.DENY, decision.rule, wrong)
        if decision.verb is Verb.ASK:
            return self._ask(decision)
        self.leave()
        if decision.verb is Verb.ALLOW or not self._policy_asks:
            self._say(None)
        return decision

    @property
    def _policy_asks(self) -> bool:
        """Also while something else denies it: what the person has said is not forgotten then."""
        return self._services.permission.verb(self._guest, self._direction) is Verb.ASK

    def _say(self, answer: Answer | None) -> None:
        if answer is not self._said:
            self._said = answer
            self._remember(answer)

    def _ask(self, decision: Decision) -> Decision:
        """What the person has said. While nothing is said, still Verb.ASK: silence."""
        if self._said in _YES:
            return Decision(Verb.ALLOW, decision.rule, f"asked for, and allowed: {self._said}")
        if self._said is not None:
            return Decision(Verb.DENY, decision.rule, f"asked for, and not allowed: {self._said}")
        if not self._is_asked:
            why_not = self._services.prompts.ask(
                self._guest.name, self._guest.domid, self._direction, self._answered
            )
            self._is_asked = why_not is None
            if why_not is not None:
                self.say_limit(f"not asked about: {why_not}")
        return decision

    def _answered(self, answer: Answer, seconds: float) -> None:
        """It holds at once for this stream. What is to last is written down meanwhile; should
        that fail, it was for this stream alone."""
        self._is_asked = False
        self._say(answer)
        self.follow()
        if answer in LASTING:
            self._services.write_down(self._guest, self._direction, answer, seconds)

    def _enter(self, decision: Decision) -> None:
        """And says so in the audit trail, without which nobody records."""
        if not self._record(decision) and self._direction is Direction.CAPTURE:
            decision = Decision(Verb.DENY, None, "the audit trail cannot be written")
        self.decision = decision
        self._apply(decision)

    def _record(self, decision: Decision) -> bool:
        event = decision_event(self._guest.name, self._guest.domid, self._direction, decision)
        return self._services.record(event)
