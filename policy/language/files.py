"""Reading policy files: which names are policy files, and whether their owner and mode are safe.

A file is checked after it is opened, so it cannot be exchanged between the check and the reading.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path

from policy.owners import is_trusted
from policy.text.locations import file_error, location_at

MAX_OCTETS = 1 << 20

_POLICY_NAME = re.compile(r"[0-9]{2}-[A-Za-z0-9][A-Za-z0-9._-]*\.yaml", re.ASCII)
_LOOKS_LIKE_ONE = re.compile(r".*\.ya?ml", re.IGNORECASE | re.DOTALL)
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def require_trusted_directory(path: Path) -> None:
    """Raises PolicyError if a user whom we do not trust could put files into the directory."""
    _require_trusted(path.stat(), path)


def names_in(directory: Path) -> list[str]:
    """The names in a directory that are policy files or look like them, in no order."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = "create it, or name another with --policy"
        raise file_error(directory, "no such policy directory", hint) from None
    except OSError as error:
        raise file_error(directory, f"cannot be read: {error.strerror}") from error
    try:
        _require_trusted(os.fstat(fd), directory)
        names = os.listdir(fd)
    except OSError as error:
        raise file_error(directory, f"cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)
    return [name for name in names if _LOOKS_LIKE_ONE.fullmatch(name) and name[0] != "."]


def exists(path: Path) -> bool:
    """Return whether the path exists, if only as a broken link. Raises PolicyError if that is
    unknown."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise file_error(path, f"cannot be read: {error.strerror}") from error
    return True


def read(path: Path) -> bytes:
    """A policy file's octets. Raises PolicyError for a bad name, kind, owner, mode or size."""
    if not _POLICY_NAME.fullmatch(path.name):
        hint = "rename it, such as 50-name.yaml, or append .off to disable it"
        raise file_error(
            path, "its name is not NN-name.yaml, so it has no place in the order", hint
        )
    return read_trusted(path)


def read_trusted(path: Path) -> bytes:
    """A file's octets. Raises PolicyError for a bad kind, owner, mode or size."""
    try:
        octets = _read(path)
    except FileNotFoundError:
        hint = "remove the link, or try again"
        raise file_error(path, "a broken link, or just removed", hint) from None
    except OSError as error:
        raise file_error(path, f"cannot be read: {error.strerror}") from error
    if len(octets) > MAX_OCTETS:
        raise file_error(path, f"larger than {MAX_OCTETS} octets", "split it, or use globs")
    return octets


def _read(path: Path) -> bytes:
    # O_NONBLOCK: should it be a FIFO, do not wait for a writer
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise file_error(path, "not a regular file", "remove or rename it")
        _require_trusted(status, path)
        with open(fd, "rb", closefd=False) as file:
            return file.read(MAX_OCTETS + 1)
    finally:
        os.close(fd)


def decode(octets: bytes, path: Path) -> str:
    """The octets as text. Raises PolicyError with the location of the first that is not UTF-8."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode("utf-8")
        octet = octets[error.start]
        message = f"octet 0x{octet:02X} is not UTF-8"
        location = location_at(len(before), before, path)
        raise location.error(message, "save the file as UTF-8") from None


def _require_trusted(status: os.stat_result, path: Path) -> None:
    user = os.geteuid()
    name = shlex.quote(str(path))
    if not is_trusted(status.st_uid):
        who = "root" if user == 0 else f"root or uid {user}"
        message = f"owned by uid {status.st_uid}, not by {who}, so others could change it"
        raise file_error(path, message, f"fix with: chown root {name}")
    if status.st_mode & _WRITABLE_BY_OTHERS:
        message = f"mode {stat.S_IMODE(status.st_mode):04o}, so others could change it"
        raise file_error(path, message, f"fix with: chmod go-w {name}")
