"""Which files are policy, and whether they may be trusted: checked when open, then read."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path

from policy.owners import is_trusted
from policy.text.places import file_error, place_of

MAX_OCTETS = 1 << 20

_POLICY_NAME = re.compile(r"[0-9]{2}-[A-Za-z0-9][A-Za-z0-9._-]*\.yaml", re.ASCII)
_LOOKS_LIKE_ONE = re.compile(r".*\.ya?ml", re.IGNORECASE | re.DOTALL)
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def require_trusted_directory(path: Path) -> None:
    """PolicyError: somebody else than root and ourselves could put files into it."""
    _check_trust(path.stat(), path)


def names_in(directory: Path) -> list[str]:
    """The names in a policy directory that are policy or look like it, unsorted."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = "create it, or name another with --policy"
        raise file_error(directory, "no such policy directory", hint) from None
    except OSError as error:
        raise file_error(directory, f"cannot be read: {error.strerror}") from None
    try:
        _check_trust(os.fstat(fd), directory)
        names = os.listdir(fd)
    except OSError as error:
        raise file_error(directory, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    return [name for name in names if _LOOKS_LIKE_ONE.fullmatch(name) and name[0] != "."]


def is_there(path: Path) -> bool:
    """Is there anything of this name, if only a link to nothing?"""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise file_error(path, f"cannot be read: {error.strerror}") from None
    return True


def read(path: Path) -> bytes:
    """A policy file's octets, if its name, kind, owner, mode and size are what they should be."""
    if not _POLICY_NAME.fullmatch(path.name):
        hint = "rename it, such as 50-name.yaml, or end its name in .off"
        raise file_error(path, "its name is not NN-name.yaml, so its place is not known", hint)
    return read_trusted(path)


def read_trusted(path: Path) -> bytes:
    """A file's octets, if its kind, owner, mode and size are what they should be."""
    try:
        octets = _read(path)
    except FileNotFoundError:
        raise file_error(path, "a link to nothing, or just removed", "remove the link") from None
    except OSError as error:
        raise file_error(path, f"cannot be read: {error.strerror}") from None
    if len(octets) > MAX_OCTETS:
        hint = "split it, or use globs"
        raise file_error(path, f"larger than {MAX_OCTETS} octets", hint)
    return octets


def _read(path: Path) -> bytes:
    # without waiting for a writer, should it be a FIFO
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise file_error(path, "not a regular file", "remove or rename it")
        _check_trust(status, path)
        with open(fd, "rb", closefd=False) as file:
            return file.read(MAX_OCTETS + 1)
    finally:
        os.close(fd)


def decoded(octets: bytes, path: Path) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode("utf-8")
        place = place_of(len(before), before, path)
        octet = octets[error.start]
        raise place.error(f"octet 0x{octet:02X} is not UTF-8", "save the file as UTF-8") from None


def _check_trust(status: os.stat_result, path: Path) -> None:
    user = os.geteuid()
    name = shlex.quote(str(path))
    if not is_trusted(status.st_uid):
        who = "root" if user == 0 else f"root or uid {user}"
        message = f"owned by uid {status.st_uid}, not by {who}, so others could change it"
        raise file_error(path, message, f"mend with: chown root {name}")
    if status.st_mode & _WRITABLE_BY_OTHERS:
        message = f"mode {stat.S_IMODE(status.st_mode):04o}, so others could change it"
        raise file_error(path, message, f"mend with: chmod go-w {name}")
