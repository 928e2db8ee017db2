"""What a confined process cannot do any more: each attempt is made in a process of its own."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import mmap
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_dom0.supervisor.confine import confine

NEEDED, OTHER = 0x0004_4504, 0x0018_4700  # commands of Xen's devices: notify, and map a grant
# Of system calls on x86, and what they get here.
PTRACE, UNSHARE, IO_URING_SETUP, PIDFD_GETFD = 101, 272, 425, 438


def _has_landlock() -> bool:
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)) > 0


needs_landlock = pytest.mark.skipif(not _has_landlock(), reason="the kernel has no Landlock")
needs_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86_64's calls")


def confined(
    directory: Path,
    attempt: Callable[[], object],
    *,
    network: bool = False,
    read: list[Path] | None = None,
) -> str:
    """What the attempt ends with in a confined process: `done`, or the error's name."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            confine([directory], [NEEDED], network=network, read=read)
            attempt()
            said = "done"
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    _, status = os.waitpid(pid, 0)
    return said if status == 0 else signal.Signals(os.WTERMSIG(status)).name


def call(number: int, *arguments: int) -> Callable[[], None]:
    def attempt() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "refused")

    return attempt


def ioctl(command: int) -> Callable[[], object]:
    return lambda: fcntl.ioctl(0, command)


def thread() -> None:
    ran = threading.Event()
    threading.Thread(target=ran.set).start()
    assert ran.wait(10)


def anonymous_memory() -> None:
    mmap.mmap(-1, 4096).close()
    os.close(os.memfd_create("x"))


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
        lambda: subprocess.run(["true"], check=False),
        os.fork,
        lambda: socket.socket(socket.AF_INET),
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        lambda: os.kill(os.getppid(), 0),
        lambda: os.kill(0, 0),
        ioctl(OTHER),
        ioctl(0x5412),  # TIOCSTI
    ],
    ids=["execve", "program", "fork", "inet", "netlink", "kill", "group", "map", "tiocsti"],
)
def test_what_no_agent_needs_is_refused(tmp_path: Path, attempt: Callable[[], object]) -> None:
    assert confined(tmp_path, attempt) == "EPERM"


@needs_x86
@pytest.mark.parametrize("number", [PTRACE, UNSHARE, IO_URING_SETUP, PIDFD_GETFD])
def test_what_goes_past_a_filter_is_refused(tmp_path: Path, number: int) -> None:
    assert confined(tmp_path, call(number, 0, 0, 0, 0)) == "EPERM"


@needs_x86
def test_system_calls_of_another_abi_end_the_process(tmp_path: Path) -> None:
    assert confined(tmp_path, call(0x4000_0000 + 39)) == "SIGSYS"


@pytest.mark.parametrize(
    "attempt",
    [
        thread,
        anonymous_memory,
        lambda: socket.socket(socket.AF_UNIX).close(),
        socket.socketpair,
        lambda: os.kill(os.getpid(), 0),
        lambda: Path("/etc/passwd").read_text(),
        lambda: Path("/dev/null").write_text("x"),
        lambda: Path("/dev/urandom").open("rb").close(),
    ],
    ids=["thread", "memory", "unix", "pair", "itself", "read", "null", "urandom"],
)
def test_what_an_agent_needs_goes_on(tmp_path: Path, attempt: Callable[[], object]) -> None:
    assert confined(tmp_path, attempt) == "done"


def test_ioctl_that_is_needed_reaches_the_kernel(tmp_path: Path) -> None:
    assert confined(tmp_path, ioctl(NEEDED)) in {"ENOTTY", "EINVAL", "EBADF"}


def test_network_is_for_a_server_behind_it(tmp_path: Path) -> None:
    connect = lambda: socket.socket(socket.AF_INET).close()  # noqa: E731
    assert confined(tmp_path, connect, network=True) == "done"


@needs_landlock
def test_files_are_written_below_the_agents_directories_alone(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "file").write_text("kept")

    def replace() -> None:
        (own / "new").write_text("x")
        (own / "new").rename(own / "file")
        (own / "file").unlink()

    assert confined(own, replace) == "done"
    file, directory = other / "file", other / "directory"
    for attempt in (
        lambda: directory.with_name("new").write_text("x"),
        lambda: file.open("a"),
        file.unlink,
        directory.mkdir,
        lambda: os.symlink("/", own / "link"),
    ):
        assert confined(own, attempt) == "EACCES"
    assert file.read_text() == "kept"
    assert confined(own, file.read_text) == "done"


@needs_landlock
def test_devices_and_memory_of_others_are_not_opened(tmp_path: Path) -> None:
    for path in ("/dev/tty", "/dev/full", f"/proc/{os.getpid()}/mem"):
        assert confined(tmp_path, functools.partial(os.open, path, os.O_RDWR)) == "EACCES"


@needs_landlock
def test_directory_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    assert confined(tmp_path / "a" / "b", (tmp_path / "a").mkdir) == "done"


@needs_landlock
def test_process_that_may_read_some_files_reads_no_others(tmp_path: Path) -> None:
    may, may_not = tmp_path / "may", tmp_path / "may-not"
    for file in (may, may_not):
        file.write_text("x")
    written = tmp_path / "written"
    written.mkdir()
    assert confined(written, may.read_text, read=[may]) == "done"
    assert confined(written, may_not.read_text, read=[may]) == "EACCES"
