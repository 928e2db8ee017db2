"""The guests whose sound over vchan was registered, by programs that are connected to the agent.

A guest is registered for as long as the program is connected. The runtime directory keeps who was:
the next agent serves them at once, and those whose program does not come again are dropped.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent_dom0.guest import RunningGuest
from xensnd.control.messages import DOMID_MAX
from xensnd.errors import LimitReached, UsageError
from xensnd.files import replace_file
from xensnd.text import quoted

REGISTERED_MAX = 128
# The programs come again after at most 2 s, and a machine may be slow.
RETURN_SECONDS = 15.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,62}")


@dataclass(frozen=True, slots=True)
class _Registration:
    name: str
    by: object | None  # who has registered it; None: it was with an earlier agent


class Registrations:
    """`on_change` is called after one was dropped, in a later pass of the loop."""

    def __init__(self, path: Path, on_change: Callable[[], None]) -> None:
        self._path = path
        self._on_change = on_change
        self._found: dict[int, _Registration] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.changed: set[int] = set()  # the domids that were registered or dropped, until cleared

    def begin(self) -> None:
        """Go on with what was registered with an earlier agent, until the programs come again."""
        self._found = _load(self._path)
        if self._found:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(RETURN_SECONDS, self._drop_unclaimed)

    def close(self) -> None:
        """Keep what is registered for the next agent."""
        if self._timer is not None:
            self._timer.cancel()

    def domids(self) -> set[int]:
        return set(self._found)

    def name(self, domid: int) -> str | None:
        registration = self._found.get(domid)
        return None if registration is None else registration.name

    def includes(self, guest: RunningGuest) -> bool:
        """Whether this guest is registered. Another name means that the number is another's now."""
        return self.name(guest.domid) == guest.name

    def is_held_by(self, holder: object) -> bool:
        return any(each.by is holder for each in self._found.values())

    def add(self, domid: int, name: str, by: object) -> None:
        """Register a guest, in place of what `by` had registered. Of two programs, the later one
        holds it. UsageError: this is no domain's name. LimitReached: there are too many."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"name: {quoted(name)} is no domain's; give letters, digits and _.+- (at most 63)"
            )
        if domid not in self._found and len(self._found) >= REGISTERED_MAX:
            raise LimitReached(f"{REGISTERED_MAX} guests are registered, which is the most")
        kept = {n: each for n, each in self._found.items() if each.by is not by}
        self._replace({**kept, domid: _Registration(name, by)})

    def remove(self, by: object) -> bool:
        """Drop what `by` has registered. Return whether there was anything."""
        return self._keep(lambda each: each.by is not by)

    def _drop_unclaimed(self) -> None:
        self._timer = None
        if self._keep(lambda each: each.by is not None):
            self._on_change()

    def _keep(self, is_kept: Callable[[_Registration], bool]) -> bool:
        kept = {domid: each for domid, each in self._found.items() if is_kept(each)}
        if len(kept) == len(self._found):
            return False
        self._replace(kept)
        return True

    def _replace(self, found: dict[int, _Registration]) -> None:
        before, self._found = self._found, found
        both = before.keys() | found.keys()
        self.changed |= {domid for domid in both if before.get(domid) != found.get(domid)}
        names = {str(domid): each.name for domid, each in self._found.items()}
        with suppress(OSError):  # the next agent then waits until the programs come again
            replace_file(self._path, json.dumps(names).encode(), is_synced=False)


def _load(path: Path) -> dict[int, _Registration]:
    """Return what an earlier agent has kept. It is checked, although only agents write it."""
    try:
        names = json.loads(path.read_text())
        found = {int(domid): _Registration(str(name), None) for domid, name in names.items()}
    except (OSError, ValueError, AttributeError):
        return {}
    if len(found) > REGISTERED_MAX:
        return {}
    return {
        domid: each
        for domid, each in found.items()
        if 0 < domid <= DOMID_MAX and _NAME.fullmatch(each.name)
    }
