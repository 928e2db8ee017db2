"""Follows what qubes are, and keeps it in a file for policy: class, label, template, tags.

Changes come as events (admin.Events). So they are there at once, and nothing is asked while nothing
changes. While qubesd does not answer, nobody can change anything through it: what is known stands
for a restart of qubesd. After that the file goes, and nothing is known.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent_dom0.qubes.admin import AdminApi, AdminCallRefused, QubesEvent
from xensnd.backoff import BackOff
from xensnd.files import replace_file

log = logging.getLogger("xensnd-qubes")

_T = TypeVar("_T")

GRACE_SECONDS = 10.0  # qubesd is restarted within that
RETRY_FIRST_SECONDS = 0.2
RETRY_LAST_SECONDS = 5.0
SETTLE_SECONDS = 0.01  # one change causes several events
CALLS_AT_ONCE = 4
FILE_MODE = 0o644
_REFUSED_MAX = 64  # that are said

_CHANGES = ("domain-add", "domain-delete", "property-", "domain-tag-", "domain-pre-start")
_WITHOUT_TEMPLATE = ("TemplateVM", "StandaloneVM", "RemoteVM")
_HEAD = "# Written by xensnd-qubes, from what qubesd says.\nversion: 1\n"


@dataclass(frozen=True, slots=True)
class Qube:
    """What qubesd says of a qube. None: it is not known."""

    qube_class: str
    label: str | None
    template: str | None  # of a disposable, the qube of which it is one; "": none
    tags: tuple[str, ...] | None


def text_of(qubes: Mapping[str, Qube]) -> str:
    """Return the file with these qubes. What is not known of one is left out."""
    if not qubes:
        return f"{_HEAD}guests: []\n"
    entries = [f"  - {{{_entry(name, qubes)}}}\n" for name in sorted(qubes)]
    return f"{_HEAD}guests:\n{''.join(entries)}"


def _entry(name: str, qubes: Mapping[str, Qube]) -> str:
    qube = qubes[name]
    template = qube.template
    dispvm_of: str | None = ""
    if qube.qube_class == "DispVM":
        dispvm_of = qube.template
        base = qubes.get(dispvm_of) if dispvm_of else None
        template = base.template if base is not None else None
    words = {
        "guest": name,
        "class": qube.qube_class,
        "label": qube.label,
        "template": template,
        "dispvm-of": dispvm_of,
    }
    # Quoted, so that no name is a number or a boolean.
    fields = [f"{key}: '{word}'" for key, word in words.items() if word is not None]
    if qube.tags is not None:
        fields.append("tags: [" + ", ".join(f"'{tag}'" for tag in sorted(qube.tags)) + "]")
    return ", ".join(fields)


class IdentityFollower:
    """Keeps `path` as qubesd says, until it is cancelled. The directory must be there."""

    def __init__(self, api: AdminApi, path: Path, grace_seconds: float = GRACE_SECONDS) -> None:
        self._api = api
        self._path = path
        self._grace_seconds = grace_seconds
        self._qubes: dict[str, Qube] = {}
        self._all_are_stale = True
        self._stale: set[str] = set()
        self._has_changed = asyncio.Event()
        self._end: asyncio.TimerHandle | None = None  # of what is known
        self._problem: str | None = None  # what was said last
        self._refused: set[str] = set()  # what was said already
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)

    async def run(self) -> None:
        back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._forget_soon()
        while True:
            try:
                async with self._api.events() as events, asyncio.TaskGroup() as tasks:
                    self._all_are_stale = True
                    self._has_changed.set()
                    tasks.create_task(self._keep(back_off))
                    async for event in events:
                        self._note(event)
            except OSError as error:
                self._tell_lost(error)
            except ExceptionGroup as errors:
                lost, other = errors.split(OSError)
                if other is not None or lost is None:
                    raise
                self._tell_lost(lost.exceptions[0])
            self._forget_soon()
            await back_off.wait()

    def _note(self, event: QubesEvent) -> None:
        if event.qube and event.name.startswith(_CHANGES):
            self._stale.add(event.qube)
            self._has_changed.set()

    async def _keep(self, back_off: BackOff) -> None:
        """Read again what has changed, and write it. AdminApiLost."""
        while True:
            await self._has_changed.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._has_changed.clear()
            await self._read()
            replace_file(
                self._path,
                text_of(self._qubes).encode(),
                prepare=lambda fd: os.fchmod(fd, FILE_MODE),
                is_synced=False,
            )
            self._tell_found()
            back_off.reset()

    async def _read(self) -> None:
        stale, self._stale = self._stale, set()
        is_first, self._all_are_stale = self._all_are_stale, False
        classes = await self._api.qubes()
        if is_first:
            stale = set(classes)
        names = [name for name in classes if name in stale or name not in self._qubes]
        read = await asyncio.gather(*(self._qube(name, classes[name]) for name in names))
        kept = {name: qube for name, qube in self._qubes.items() if name in classes}
        self._qubes = kept | dict(zip(names, read, strict=True))

    async def _qube(self, name: str, qube_class: str) -> Qube:
        async with self._calls:
            label = await self._if_known(self._api.label(name))
            tags = await self._if_known(self._api.tags(name))
            template: str | None = ""
            if qube_class not in _WITHOUT_TEMPLATE:
                template = await self._if_known(self._api.template(name))
        return Qube(qube_class, label, template, None if tags is None else tuple(tags))

    async def _if_known(self, call: Awaitable[_T]) -> _T | None:
        try:
            return await call
        except AdminCallRefused as error:
            if (text := str(error)) not in self._refused and len(self._refused) < _REFUSED_MAX:
                self._refused.add(text)
                log.warning("%s; rules that compare it allow this qube nothing", text)
            return None

    # Whether qubesd answers

    def _tell_lost(self, error: BaseException) -> None:
        problem = str(error) or "it does not answer"
        if problem != self._problem:
            self._problem = problem
            log.warning("qubesd: %s; it is tried again", problem)

    def _tell_found(self) -> None:
        if self._problem is not None:
            log.info("qubesd answers again")
            self._problem = None
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _forget_soon(self) -> None:
        if self._end is None:
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(self._grace_seconds, self._forget)

    def _forget(self) -> None:
        """Say that nothing is known: what is older may have changed meanwhile."""
        self._qubes = {}
        with suppress(FileNotFoundError):
            self._path.unlink()
            log.warning("what qubes are is not known any more; rules for it allow nothing")
