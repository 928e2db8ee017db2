"""What an agent gives up before it meets a guest's octets, for all of its life.

Landlock: it opens no device, writes only below its own directories, and looks into no process
outside. A filter of system calls: see xensnd/core/src/confine.h. So a guest that takes the agent
over gets neither XenStore's device, nor a program, nor another process.
"""

from __future__ import annotations

import ctypes
import logging
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from xensnd.core import filter_system_calls

log = logging.getLogger("xensnd-dom0")

# linux/landlock.h. The numbers of the calls are the same on all machines.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_ALL_OF_VERSION_1 = (1 << 13) - 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK = 16, 32, 128, 256, 512
_READ = _READ_FILE | _READ_DIR
_USE = _READ_FILE | _WRITE_FILE
_CHANGE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK

_PR_SET_NO_NEW_PRIVS = 38
_DEVICES = [Path("/dev", name) for name in ("null", "zero", "random", "urandom")]
# What libpulse and libpipewire read to connect, besides a cookie.
LIBPULSE_READS = [
    *(Path("/", name) for name in ("usr", "lib", "lib64")),
    *(
        Path("/etc", name)
        for name in ("pulse", "pipewire", "machine-id", "passwd", "nsswitch.conf")
    ),
]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (libpulse's, if it has no memfd)

_libc = ctypes.CDLL(None, use_errno=True)


def confine(
    written: Sequence[Path],
    ioctls: Sequence[int],
    *,
    network: bool,
    read: Sequence[Path] | None = None,
) -> None:
    """Give it up. There may be no other thread yet. Where the kernel cannot do a part of it, a line
    in the log says so. `read`: below these alone files are read; None: below all but /dev."""
    try:
        _restrict_files([*map(_nearest, written), _SHARED_MEMORY], read)
    except OSError as error:
        log.warning("the agent may open all files of its user: Landlock: %s", error.strerror)
    try:
        filter_system_calls(ioctls, network=network)
    except OSError as error:
        log.warning("the agent may ask all of the kernel: %s", error.strerror)


def _nearest(directory: Path) -> Path:
    """Return the directory, or what it would be in once it is made."""
    while not directory.exists():
        directory = directory.parent
    return directory


def _restrict_files(directories: Sequence[Path], read: Sequence[Path] | None) -> None:
    """Change these directories, and read these, or all but devices."""
    _call(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)  # is it there?
    handled = struct.pack("=Q", _ALL_OF_VERSION_1)
    ruleset = _call(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    try:
        for path in _roots() if read is None else read:
            _allow(ruleset, path, _READ if path.is_dir() else _READ_FILE)
        for path in directories:
            _allow(ruleset, path, _CHANGE)
        for path in _DEVICES:
            _allow(ruleset, path, _USE)
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _roots() -> list[Path]:
    return [path for path in Path("/").iterdir() if path.is_dir() and path != Path("/dev")]


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it is not there, or not for us: nothing to allow
    try:
        rule = struct.pack("=Qi", access, fd)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
