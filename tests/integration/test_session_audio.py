"""packaging/systemd/audio/: an audio server of one person lets the agent in, who is another user,
and goes on where it may not make that socket."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipewire_server import PipeWireServer
from tests.support.pulse_server import PulseServer
from tests.support.raw_frontend import eventually

AUDIO = Path(__file__).parents[2] / "packaging/systemd" / "audio"
DIRECTORY = "/run/xensnd-session"
AGENT = pwd.getpwnam("daemon")  # some user who is there on any machine
STRANGER_UID = 4242

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users: needs root")


@pytest.fixture
def directory() -> Iterator[Path]:
    """As tmpfiles.d makes it, where all may look."""
    with tempfile.TemporaryDirectory(prefix="session-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def pulse_module(directory: Path) -> str:
    lines = (AUDIO / "xensnd.pa").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("load-module ")]
    group = grp.getgrgid(AGENT.pw_gid).gr_name
    module = line.removeprefix("load-module ").replace(DIRECTORY, str(directory))
    return module.replace("auth-group=xensnd", f"auth-group={group}")


def configure_pipewire(home: Path, directory: Path) -> None:
    fragments = home / ".config/pipewire/pipewire-pulse.conf.d"
    fragments.mkdir(parents=True)
    text = (AUDIO / "50-xensnd.conf").read_text().replace(DIRECTORY, str(directory))
    (fragments / "50-xensnd.conf").write_text(text)


def is_let_in(directory: Path, uid: int, gid: int) -> bool:
    asked = subprocess.run(
        [
            *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
            *("env", "HOME=/", "pactl", f"--server=unix:{directory}/native", "info"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return "Default Sink: " in asked.stdout


def test_pulseaudio_lets_the_agent_in_and_no_stranger(tmp_path: Path, directory: Path) -> None:
    with PulseServer(tmp_path, modules=(pulse_module(directory),)):
        assert is_let_in(directory, AGENT.pw_uid, AGENT.pw_gid)
        assert not is_let_in(directory, STRANGER_UID, STRANGER_UID)


def test_pulseaudio_goes_on_where_the_directory_is_not_there(
    tmp_path: Path, directory: Path
) -> None:
    """As /etc/pulse/default.pa takes it in: what fails in the snippet alone is no reason to end."""
    snippet = (AUDIO / "xensnd.pa").read_text().replace(DIRECTORY, f"{directory}/gone")
    script = tmp_path / "default.pa"
    script.write_text(
        f".fail\nload-module module-native-protocol-unix socket={directory}/own auth-anonymous=1\n"
        f"{snippet}\nload-module module-null-sink sink_name=after\n"
    )
    home = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    server = subprocess.Popen(
        ["pulseaudio", "-n", f"--file={script}", "--daemonize=no", "--use-pid-file=no"],
        env=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sinks = ["pactl", f"--server=unix:{directory}/own", "list", "short", "sinks"]
    try:
        assert eventually(
            lambda: b"after" in subprocess.run(sinks, capture_output=True, check=False).stdout
        )
    finally:
        server.terminate()
        server.wait()


def test_pipewire_lets_in_whom_the_directory_does(tmp_path: Path, directory: Path) -> None:
    configure_pipewire(tmp_path, directory)
    with PipeWireServer(tmp_path):
        directory.chmod(0o750)
        os.chown(directory, -1, AGENT.pw_gid)
        assert is_let_in(directory, AGENT.pw_uid, AGENT.pw_gid)
        assert not is_let_in(directory, STRANGER_UID, STRANGER_UID)


def test_pipewire_goes_on_where_the_directory_is_not_there(tmp_path: Path, directory: Path) -> None:
    configure_pipewire(tmp_path, directory / "gone")
    with PipeWireServer(tmp_path):
        pass  # it answers on its own socket
