"""What every device and stream of the agent shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent_dom0.access.policy_state import Permission
from agent_dom0.access.prompts import Prompts
from agent_dom0.events import Event
from agent_dom0.guest import Guest
from agent_dom0.parameters import Limits
from xensnd.control.answers import Answer
from xensnd.core import Engine
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Transport


@dataclass(frozen=True, slots=True)
class Services:
    transport: Transport
    engine: Engine
    permission: Permission
    prompts: Prompts
    record: Callable[[Event], bool]
    limits: Limits
    serve: Callable[[Callable[[], None]], None]  # calls what serves guests' requests
    write_down: Callable[[Guest, Direction, Answer, float], None]  # an answer that is to last
