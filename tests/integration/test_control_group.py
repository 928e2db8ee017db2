"""Who may talk with the agent: real users and groups, none of them root. And an agent that is not.

The tests become other users with setpriv, for which they must be root's; run as somebody else they
are skipped: sudo .venv/bin/python -m pytest tests/integration/test_control_group.py.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.agents import BIN, PATIENT, Dom0, Guest, run
from tests.support.local_machine import LocalMachine
from tests.support.public_copy import public_python
from tests.support.pulse_server import PulseServer

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="becomes other users: needs root")

GROUP = "audio"
# Debian has both; nobody is in no group but its own.
NOBODY = pwd.getpwnam("nobody")
ASK = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
    client.sendall(sys.argv[2].encode() + b"\\n")
    print(client.makefile().readline().strip())
except PermissionError:
    print('"not let in"')
"""
CROWD = """
import socket, sys
crowd = [socket.socket(socket.AF_UNIX) for _ in range(40)]
for client in crowd:
    client.settimeout(10)
    client.connect(sys.argv[1])
stayed = 0
for client in crowd:
    try:
        client.sendall(b'{"version": 1, "do": "status"}\\n')
        stayed += bool(client.recv(1))
    except OSError:
        pass
print(stayed, "stayed", flush=True)
sys.stdin.read()
"""
STATUS = '{"version": 1, "do": "status"}'


def become(user: pwd.struct_passwd, *groups: str, gid: int | None = None) -> list[str]:
    """The command that runs what follows it as this user, also in these groups."""
    numbers = [str(grp.getgrnam(group).gr_gid) for group in groups]
    also = f"--groups={','.join(numbers)}" if groups else "--clear-groups"
    primary = user.pw_gid if gid is None else gid
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={primary}", also]


def said(prefix: Sequence[str], control: Path, request: str = STATUS) -> Any:
    command = [*prefix, "/usr/bin/python3", "-c", ASK, str(control), request]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return json.loads(ended.stdout)


@pytest.fixture
def place() -> Iterator[Path]:
    """Where everybody may go, as in /run; pytest's own directories are its user's alone."""
    with tempfile.TemporaryDirectory(prefix="xensnd-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "xen").mkdir(mode=0o755)
        yield Path(name)


@pytest.fixture
def open_machine(place: Path) -> Iterator[LocalMachine]:
    with LocalMachine(place / "xen") as machine:
        yield machine


@pytest.fixture
def start(
    place: Path, open_machine: LocalMachine, pulse: PulseServer
) -> Iterator[Callable[..., Dom0]]:
    """`start("--option", user=NOBODY)`: the agent."""
    with ExitStack() as stack:

        def begin(*options: str, user: pwd.struct_passwd | None = None) -> Dom0:
            command = [str(BIN / "xensnd-dom0")]
            if user:
                command = [*become(user), *public_python("-m", "agent_dom0.cli")]
            dom0 = Dom0(
                place / "agent",
                open_machine.url,
                pulse.address,
                options=[PATIENT, *options],
                command=command,
            )
            stack.enter_context(dom0)
            return dom0

        yield begin


@pytest.mark.parametrize(
    "member",
    [become(NOBODY, GROUP), become(NOBODY, gid=grp.getgrnam(GROUP).gr_gid)],
    ids=["one of its groups", "its first group"],
)
def test_member_of_the_group_may_see_and_change(
    start: Callable[..., Dom0], open_machine: LocalMachine, member: Sequence[str]
) -> None:
    dom0 = start(f"--control-group={GROUP}")
    work = Guest(open_machine, "work")
    dom0.await_event("device_made", guest="work")
    assert said(member, dom0.control)["ok"]
    muted = said(member, dom0.control, '{"version": 1, "do": "mute", "guest": "work"}')
    assert muted == {"ok": True, "changed": 0}
    event = dom0.await_event("volume_set", guest="work")
    assert event["XENSND_BY"].startswith(f"uid {NOBODY.pw_uid}, process ")
    work.destroy()


def test_others_are_kept_out_by_the_socket_and_refused_if_it_lets_them_in(
    start: Callable[..., Dom0],
) -> None:
    dom0 = start(f"--control-group={GROUP}")
    status = dom0.control.stat()
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert (status.st_uid, status.st_gid) == (0, grp.getgrnam(GROUP).gr_gid)
    assert said(become(NOBODY), dom0.control) == "not let in"
    dom0.control.chmod(0o666)
    for stranger in (become(NOBODY), become(NOBODY, "video")):
        assert said(stranger, dom0.control) == {
            "ok": False,
            "error": f"only root, the agent's own user and the group {GROUP} may use this socket",
        }


def test_without_a_group_even_its_members_are_refused(start: Callable[..., Dom0]) -> None:
    dom0 = start()
    assert said(become(NOBODY, GROUP), dom0.control) == "not let in"


def test_member_that_takes_every_place_leaves_others_theirs(start: Callable[..., Dom0]) -> None:
    dom0 = start(f"--control-group={GROUP}")
    command = [*become(NOBODY, GROUP), "/usr/bin/python3", "-c", CROWD, str(dom0.control)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"32 stayed\n"
        assert dom0.ask("status")["ok"]
        crowd.communicate()


def test_person_in_the_group_uses_the_command(start: Callable[..., Dom0]) -> None:
    dom0 = start(f"--control-group={GROUP}")
    command = [*become(NOBODY, GROUP), *public_python("-m", "policy.cli.main")]
    asked = [f"--control={dom0.control}", "status"]
    ended = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("agent: ")


def test_agent_that_is_not_root_serves_its_user_and_root_and_no_others(
    place: Path, start: Callable[..., Dom0], open_machine: LocalMachine
) -> None:
    runtime = place / "xen" / "dom0"
    for directory in (runtime, place / "agent"):
        directory.mkdir(mode=0o755)
        os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
    (place / "agent/dom0.log").touch()
    for socket in [path for path in (place / "xen").rglob("*") if path.is_socket()]:
        socket.chmod(0o666)
        socket.parent.chmod(0o755)
    dom0 = start(user=NOBODY)
    work = Guest(open_machine, "work")
    dom0.await_event("device_made", guest="work")
    assert dom0.control.stat().st_uid == NOBODY.pw_uid
    assert said(become(NOBODY), dom0.control)["ok"]
    assert dom0.ask("status")["ok"]
    dom0.control.chmod(0o666)
    assert not said(become(pwd.getpwnam("daemon")), dom0.control)["ok"]
    work.destroy()


@pytest.mark.parametrize(
    ("mode", "owner", "problem"),
    [
        (0o777, 0, "mode 0777, so others could change it (fix with: chmod go-w "),
        (0o775, 0, "mode 0775, so others could change it (fix with: chmod go-w "),
        (0o755, NOBODY.pw_uid, "owned by uid 65534, not by root, so others could change it"),
    ],
)
def test_runtime_directory_that_others_could_change_is_refused_at_the_start(
    tmp_path: Path, machine: LocalMachine, mode: int, owner: int, problem: str
) -> None:
    runtime = machine.directory / "dom0"
    runtime.mkdir(exist_ok=True)
    dom0 = Dom0(tmp_path / "dom0", machine.url, "unix:/nowhere")
    runtime.chmod(mode)
    os.chown(runtime, owner, -1)
    try:
        ended = run("xensnd-dom0", *dom0.options)
    finally:
        runtime.chmod(0o755)
        os.chown(runtime, 0, -1)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"xensnd-dom0: {runtime}: {problem}")
    assert len(ended.stderr.splitlines()) == 1
