"""Temporary grants: a policy file in the runtime directory that programs alone write.

Each grant is one rule on one line, with an end. The newest comes first. The file is written anew
from what it says, so comments in it are lost; the next reboot clears it away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from policy.edit import atomic
from policy.edit.conflicts import Reach, Subject, Wish
from policy.language import files
from policy.language.identities import NAMES_ALONE, Identities
from policy.language.loader import GRANTS_FILE, parse
from policy.model import Direction, Options, Rule, Verb
from policy.owners import give_to_owner_of
from policy.text.places import file_error
from xensnd.errors import UsageError

PATIENCE_SECONDS = 0.2  # of the agent, which has sound to serve; an edit takes some milliseconds

_HEAD = """\
# Temporary grants, asked before all other rules. xensnd-policy and xensnd-dom0 write this file, and
# keep no comments. To take one away: xensnd-policy deny-capture GUEST.
version: 1
rules:"""


def read(runtime: Path | None) -> tuple[Rule, ...]:
    """The grants, also those whose time is over. Raises PolicyError, and nothing else."""
    path = None if runtime is None else runtime / GRANTS_FILE
    if path is None or not files.is_there(path):
        return ()
    return parse(files.read(path), path, are_grants=True)


def written(grants: Sequence[Rule]) -> bytes:
    """A grants file of these."""
    lines = [f"  - {{{grant.text}}}" for grant in grants]
    return ("\n".join([_HEAD, *lines] if lines else [f"{_HEAD} []"]) + "\n").encode()


def new(wish: Wish, runtime: Path, options: Options, starts: datetime, ends: datetime) -> Rule:
    """What the wish comes to: times are the whole seconds of this machine's clocks."""
    silent = Rule(wish.subject.guest, None, None, runtime / GRANTS_FILE, 0, 0, options)
    begins, over = (each.replace(microsecond=0).astimezone() for each in (starts, ends))
    return replace(_saying(silent, wish.direction, wish.verb), starts=begins, ends=over)


def revised(
    grants: Sequence[Rule], wish: Wish, now: datetime, identities: Identities = NAMES_ALONE
) -> list[Rule]:
    """Without those that are over, and without what the wish replaces: another word for guests
    that it is about, and any for the very same."""
    kept: list[Rule] = []
    for grant in grants:
        covered = Subject.of(grant.guest, identities).reached_by(wish.subject.guest) is Reach.ALL
        is_same = grant.guest == wish.subject.guest
        replaced = is_same or (covered and grant.verb(wish.direction) is not wish.verb)
        rest = _saying(grant, wish.direction, None) if replaced else grant
        if not grant.is_over(now) and (rest.playback or rest.capture):
            kept.append(rest)
    return kept


def opposing(grants: Sequence[Rule], wish: Wish) -> list[Rule]:
    """Those that say otherwise for some of whom the wish is about."""
    return [
        grant
        for grant in grants
        if grant.verb(wish.direction) not in (None, wish.verb)
        and wish.subject.reached_by(grant.guest) is not Reach.NONE
    ]


def take(runtime: Path, rule: Rule, stream: str) -> bool:
    """From now on a `once` grant is for this stream alone. False: another was faster, or it went.

    Raises PolicyError if it cannot be written: then the stream must not go live.
    """

    def taken(grants: Sequence[Rule]) -> list[Rule]:
        return [
            replace(grant, taken_by=stream) if grant.said == rule.said else grant
            for grant in grants
        ]

    return rule.taken_by is None and _rewritten(runtime, taken)


def release(runtime: Path, stream: str) -> bool:
    """The stream has ended: what it had taken is used up. False: it had taken nothing."""
    return _rewritten(runtime, lambda grants: [each for each in grants if each.taken_by != stream])


def release_others(runtime: Path, streams: Collection[str]) -> bool:
    """As release(), for all streams but these: for an agent that starts."""
    alive = (None, *streams)
    return _rewritten(runtime, lambda grants: [each for each in grants if each.taken_by in alive])


def end_capture(runtime: Path, guest: str) -> bool:
    """What lets this guest alone record ends. False: nothing does."""

    def ended(grants: Sequence[Rule]) -> list[Rule]:
        kept = (
            _saying(grant, Direction.CAPTURE, None)
            if grant.guest == guest and grant.capture is Verb.ALLOW
            else grant
            for grant in grants
        )
        return [grant for grant in kept if grant.playback or grant.capture]

    return _rewritten(runtime, ended)


@contextmanager
def locked(runtime: Path | None, patience_seconds: float | None = None) -> Iterator[bool]:
    """Held, nobody else changes the grants. False: there is no directory, so there are none."""
    if runtime is None or not files.is_there(runtime):
        yield False
        return
    with atomic.locked(runtime / GRANTS_FILE, patience_seconds):
        yield True


def make_directory(runtime: Path) -> None:
    """Never writable by others on the way, whatever the umask; somebody may be faster."""
    missing = [path for path in (runtime, *runtime.parents) if not files.is_there(path)]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o755)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(fd, 0o755)
                give_to_owner_of(path.parent, fd)
            finally:
                os.close(fd)


def _saying(grant: Rule, direction: Direction, verb: Verb | None) -> Rule:
    if direction is Direction.PLAYBACK:
        return replace(grant, playback=verb)
    return replace(grant, capture=verb)


def _rewritten(runtime: Path, change: Callable[[Sequence[Rule]], list[Rule]]) -> bool:
    path = runtime / GRANTS_FILE
    if not files.is_there(path):
        return False
    try:
        with locked(runtime, PATIENCE_SECONDS):
            before = read(runtime)
            after = change(before)
            if [grant.said for grant in before] == [grant.said for grant in after]:
                return False
            atomic.replace(path, written(after))
            return True
    except OSError as error:
        raise file_error(path, f"cannot be written: {error.strerror}") from None
    except UsageError as error:  # somebody else holds the lock, or the disk is not safe
        raise file_error(path, f"cannot be written: {error}") from None
