"""What every device and stream of the agent shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xensnd.core import Engine
from xensnd.sndif.store_fields import Direction
from xensnd.transport.interface import Transport

from .events import Event
from .guests import Guest
from .limits import Limits
from .permission import Permission
from .prompts import Answer, Prompts


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
