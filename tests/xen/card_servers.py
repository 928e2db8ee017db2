"""Audio servers of a guest that play on the stock driver's card, as a desktop's do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.xen.dom0 import pulse_environment
from tests.xen.lab import XenGuest, wait_until
from tests.xen.peer import Peer
from tests.xen.remote import Process

READY_SECONDS = 40

# What a desktop has, and a guest of the lab has not: udevd writes that file once it has seen the
# card, and WirePlumber does not start without logind's directories.
LOGIND = tuple(f"/run/systemd/{each}" for each in ("seats", "sessions", "users", "machines"))
UDEV = "/run/udev/data"
UDEV_KNOWS_THE_CARD = (f"{UDEV}/+sound:card0", b"E:SOUND_INITIALIZED=1\n")

# PipeWire writes no further ahead than this and a quantum, which must be more than dom0 queues:
# the lab's 400 ms. In a virtual machine that it recognizes, WirePlumber's own headroom is 171 ms.
HEADROOM_FRAMES = 24576
QUANTUM_FRAMES_MAX = 2048
# WirePlumber would also begin an application's next sound at the volume that another case left.
RULES = f"""\
stream_defaults.enabled = false
table.insert(alsa_monitor.rules, {{
  matches = {{{{{{"node.name", "matches", "alsa_output.*"}}}}}},
  apply_properties = {{["api.alsa.headroom"] = {HEADROOM_FRAMES}}},
}})
"""


@dataclass(frozen=True)
class CardServer:
    """An audio server that runs, and its one sink. `ahead_frames` are written before the position
    reaches them, and never changed again."""

    guest: XenGuest
    directory: str
    sink: str
    ahead_frames: int
    log: Callable[[], str]

    @property
    def address(self) -> str:
        return f"unix:{self.directory}/pulse/native"

    def pactl(self, *arguments: str) -> str:
        return self.guest.run("pactl", f"--server={self.address}", *arguments).output

    @contextmanager
    def player(self) -> Iterator[Peer]:
        """An application: see player_inside.py."""
        env = {"PULSE_SERVER": self.address}
        with Peer(self.guest, "tests.xen.player_inside", env=env) as player:
            yield player


@contextmanager
def pulseaudio_on_card(guest: XenGuest, *, timer: bool) -> Iterator[CardServer]:
    """`timer`: it looks when its buffer is nearly empty, rather than at each period."""
    directory = "/run/desktop-pulse"
    guest.do("mkdir", "-p", f"{directory}/pulse")
    command = (
        *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
        # Linux kills real-time threads that take 200 ms, as emulated ones may.
        *("--realtime=no", "--log-level=info"),
        f"--load=module-native-protocol-unix socket={directory}/pulse/native auth-anonymous=1",
        "--load=module-alsa-sink device=hw:0,0 sink_name=card rate=48000 format=s16le channels=2 "
        f"tsched={int(timer)}",
    )
    with guest.start(*command, env=pulse_environment(directory)) as server:
        yield _ready(CardServer(guest, directory, "card", 0, lambda: server.errors))


@contextmanager
def pipewire_on_card(guest: XenGuest) -> Iterator[CardServer]:
    """As it is on a desktop: the session manager finds the card, and makes its nodes."""
    directory = "/run/desktop-pipewire"
    bus = f"unix:path={directory}/bus"
    env = {"HOME": directory, "XDG_RUNTIME_DIR": directory, "DBUS_SESSION_BUS_ADDRESS": bus}
    rules = f"{directory}/.config/wireplumber/main.lua.d"
    guest.do("mkdir", "-p", rules, UDEV, *LOGIND)
    guest.write_file(f"{rules}/51-lab.lua", RULES.encode())
    guest.write_file(*UDEV_KNOWS_THE_CARD)
    parts: list[Process] = []
    commands = (
        ("dbus-daemon", "--session", f"--address={bus}", "--nofork", "--nopidfile"),
        ("pipewire",),
        ("wireplumber",),
        ("pipewire-pulse",),
    )
    with ExitStack() as stack:
        for command in commands:
            parts.append(stack.enter_context(guest.start(*command, env=env)))
            if command == ("pipewire",):
                guest.do("sh", "-c", f"until [ -S {directory}/pipewire-0 ]; do sleep 0.1; done")
        server = CardServer(
            guest,
            directory,
            "alsa_output",
            HEADROOM_FRAMES + QUANTUM_FRAMES_MAX,
            lambda: "\n".join(f"{part.name}: {part.errors}" for part in parts),
        )
        yield _ready(server)


def _ready(server: CardServer) -> CardServer:
    wait_until(
        lambda: server.sink in server.pactl("list", "short", "sinks"),
        READY_SECONDS,
        lambda: f"it has no sink: {server.log()}",
        every=0.5,
    )
    return server
