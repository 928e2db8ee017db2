"""Temporary grants: a policy file in the runtime directory that only programs write.

Each grant is a rule with an end, on one line; the newest is the first. The file is written from its
rules, so comments in it are lost. A reboot removes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from policy.edit import atomic
from policy.edit.conflicts import EditRequest, Overlap, Subject
from policy.language import files
from policy.language.identities import NAMES_ALONE, Identities
from policy.language.loader import parse
from policy.model import Direction, Options, Rule, Verb
from policy.owners import give_to_owner_of
from policy.paths import GRANTS_FILE
from policy.text.locations import file_error
from xensnd.errors import UsageError

PATIENCE_SECONDS = 0.2  # short, as the agent must serve sound; an edit takes some milliseconds

_HEAD = """\
# Temporary grants, which come before all other rules. xensnd-policy and xensnd-dom0 write this file
# and keep no comments. To revoke a grant: xensnd-policy deny-capture GUEST.
version: 1
rules:"""


def read(runtime: Path | None) -> tuple[Rule, ...]:
    """The grants, also those that have ended. Raises only PolicyError."""
    path = None if runtime is None else runtime / GRANTS_FILE
    if path is None or not files.exists(path):
        return ()
    return parse(files.read(path), path, are_grants=True)


def to_octets(grants: Sequence[Rule]) -> bytes:
    """The content of a file with these grants."""
    lines = [f"  - {{{grant.text}}}" for grant in grants]
    return ("\n".join([_HEAD, *lines] if lines else [f"{_HEAD} []"]) + "\n").encode()


def new_grant(
    request: EditRequest, runtime: Path, options: Options, starts: datetime, ends: datetime
) -> Rule:
    """The grant for a request. Its times are local and in whole seconds."""
    no_verb = Rule(request.subject.guest, None, None, runtime / GRANTS_FILE, 0, 0, options)
    starts, ends = (each.replace(microsecond=0).astimezone() for each in (starts, ends))
    return replace(_with_verb(no_verb, request.direction, request.verb), starts=starts, ends=ends)


def without_replaced(
    grants: Sequence[Rule],
    request: EditRequest,
    now: datetime,
    identities: Identities = NAMES_ALONE,
) -> list[Rule]:
    """The grants without those that have ended, and without those that the request replaces.

    It replaces, for its direction, the grants of the same pattern, and the grants with another verb
    all of whose guests it is about.
    """
    kept: list[Rule] = []
    for grant in grants:
        overlap = Subject.of(grant.guest, identities).overlap_with(request.subject.guest)
        opposes = overlap is Overlap.ALL and grant.verb(request.direction) is not request.verb
        is_replaced = opposes or grant.guest == request.subject.guest
        rest = _with_verb(grant, request.direction, None) if is_replaced else grant
        if not grant.has_ended_at(now) and (rest.playback or rest.capture):
            kept.append(rest)
    return kept


def opposing(grants: Sequence[Rule], request: EditRequest) -> list[Rule]:
    """The grants that have another verb for some of the request's guests."""
    return [
        grant
        for grant in grants
        if grant.verb(request.direction) not in (None, request.verb)
        and request.subject.overlap_with(grant.guest) is not Overlap.NONE
    ]


def take(runtime: Path, rule: Rule, stream: str) -> bool:
    """Reserve a `once` grant for this stream. Returns False if the grant is gone or taken.

    Raises PolicyError if the file cannot be written; then the stream must not go live.
    """

    def with_stream(grants: Sequence[Rule]) -> list[Rule]:
        return [
            replace(grant, taken_by=stream) if grant.fields == rule.fields else grant
            for grant in grants
        ]

    return rule.taken_by is None and _rewrite(runtime, with_stream)


def release(runtime: Path, stream: str) -> bool:
    """Remove the grants of a stream that has ended. Returns False if it had none."""
    return _rewrite(runtime, lambda grants: [each for each in grants if each.taken_by != stream])


def release_others(runtime: Path, streams: Collection[str]) -> bool:
    """Remove the grants of all streams but these, when the agent starts."""
    alive = (None, *streams)
    return _rewrite(runtime, lambda grants: [each for each in grants if each.taken_by in alive])


def end_capture(runtime: Path, guest: str) -> bool:
    """Remove the grants that let only this guest record. Returns False if there are none."""

    def without_capture(grants: Sequence[Rule]) -> list[Rule]:
        kept = (
            _with_verb(grant, Direction.CAPTURE, None)
            if grant.guest == guest and grant.capture is Verb.ALLOW
            else grant
            for grant in grants
        )
        return [grant for grant in kept if grant.playback or grant.capture]

    return _rewrite(runtime, without_capture)


@contextmanager
def locked(runtime: Path | None, patience_seconds: float | None = None) -> Iterator[bool]:
    """Holds the lock of the grants. Yields False if there is no directory, and so no grants."""
    if runtime is None or not files.exists(runtime):
        yield False
        return
    with atomic.locked(runtime / GRANTS_FILE, patience_seconds):
        yield True


def make_directory(runtime: Path) -> None:
    """Make the directory and its parents. Others can never write to them, whatever the umask is.

    Another program may make them at the same time.
    """
    missing = [path for path in (runtime, *runtime.parents) if not files.exists(path)]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o755)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(fd, 0o755)
                give_to_owner_of(path.parent, fd)
            finally:
                os.close(fd)


def _with_verb(grant: Rule, direction: Direction, verb: Verb | None) -> Rule:
    if direction is Direction.PLAYBACK:
        return replace(grant, playback=verb)
    return replace(grant, capture=verb)


def _rewrite(runtime: Path, change: Callable[[Sequence[Rule]], list[Rule]]) -> bool:
    """Writes the changed grants. Returns False if nothing changed."""
    path = runtime / GRANTS_FILE
    if not files.exists(path):
        return False
    try:
        with locked(runtime, PATIENCE_SECONDS):
            before = read(runtime)
            after = change(before)
            if [grant.fields for grant in before] == [grant.fields for grant in after]:
                return False
            atomic.replace(path, to_octets(after))
            return True
    except OSError as error:
        raise file_error(path, f"cannot be written: {error.strerror}") from None
    except UsageError as error:  # another program holds the lock, or the disk is not synced
        raise file_error(path, f"cannot be written: {error}") from None
