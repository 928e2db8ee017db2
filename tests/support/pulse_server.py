"""A private PulseAudio: a null sink, ears on its monitor, a silent source, sounds to tell apart."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pulsectl

from tests.support.daemon import Daemon
from tests.support.raw_frontend import eventually
from tests.support.urgency import Urgency, give_way, urgent

LOOK_SECONDS = 0.03
SINK = "speakers"
SOURCE = "line_in"


def faketime() -> str:
    """The library that gives a process a clock of its own."""
    name = "faketime/libfaketime.so.1"
    return str(
        next(each for where in ("lib/*", "lib64") for each in Path("/usr").glob(f"{where}/{name}"))
    )


class PulseServer(Daemon):
    """`with PulseServer(directory) as pulse:`; may be stopped, killed and started again inside.

    `norewinds`: an idle null sink renders two seconds ahead, and new streams would wait for that.
    `speed`: how fast its clock runs beside that of the others. `has_source`: without it, the only
    source is the sink's monitor.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rate_hz: int = 48000,
        sample_format: str = "s16le",
        channels: int = 2,
        modules: tuple[str, ...] = (),
        speed: float = 1,
        has_source: bool = True,
    ) -> None:
        super().__init__("pulseaudio", directory / "log")
        self.directory = directory
        # Not the command `faketime`, which would stay between us and the server.
        self._clock = {} if speed == 1 else {"LD_PRELOAD": faketime(), "FAKETIME": f"+0 x{speed}"}
        self.address = f"unix:{directory}/native"
        self._modules = (
            f"module-native-protocol-unix socket={directory}/native auth-anonymous=1",
            f"module-null-sink sink_name={SINK} norewinds=1 rate={rate_hz} "
            f"format={sample_format} channels={channels}",
            *([f"module-null-source source_name={SOURCE}"] if has_source else []),
            *modules,
        )

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.directory)
        return {
            **os.environ,
            "HOME": home,
            "XDG_RUNTIME_DIR": home,
            "XDG_CONFIG_HOME": home,
            "PULSE_RUNTIME_PATH": home,
            "PULSE_STATE_PATH": home,
            "PULSE_SERVER": self.address,
        }

    def start(self) -> None:
        configuration = self.directory / "pulse"
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "daemon.conf").write_text(
            # By itself, it would hold up what sounds beside tests that give way. And it would be
            # killed if it ever was real-time for 200 ms.
            f"realtime-priority = {Urgency.SOUNDING if give_way() else Urgency.SERVER:d}\n"
            f"high-priority = {'no' if give_way() else 'yes'}\n"
            "rlimit-rttime = -1\n"
        )
        (self.directory / "native").unlink(missing_ok=True)
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
        command += ["--use-pid-file=no"]
        command += [f"--load={module}" for module in self._modules]
        self.launch_until_notified(
            command, {**self.environment, **self._clock}, stdin=subprocess.DEVNULL
        )
        assert self.process is not None
        urgent(self.process, Urgency.SERVER)  # not before: when it starts it makes itself less so

    @contextmanager
    def mixer(self) -> Iterator[Any]:
        try:
            mixer = pulsectl.Pulse("test", server=self.address)
        except pulsectl.PulseError:
            self.say_if_ended()
            raise
        with mixer:
            yield mixer

    @contextmanager
    def sink(
        self, name: str, *, rate_hz: int = 48000, sample_format: str = "s16le", channels: int = 2
    ) -> Iterator[str]:
        """One more null sink, for as long as the block lasts."""
        sound = f"rate={rate_hz} format={sample_format} channels={channels}"
        with self._module("module-null-sink", f"sink_name={name} norewinds=1 {sound}"):
            yield name

    @contextmanager
    def _module(self, name: str, arguments: str) -> Iterator[None]:
        with self.mixer() as mixer:
            module = mixer.module_load(name, arguments)
        try:
            yield
        finally:
            with self.mixer() as mixer:
                mixer.module_unload(module)

    @contextmanager
    def default_sink(
        self, name: str, *, rate_hz: int = 48000, sample_format: str = "s16le", channels: int = 2
    ) -> Iterator[str]:
        """One more null sink, where streams go that ask for none."""
        with self.sink(name, rate_hz=rate_hz, sample_format=sample_format, channels=channels):
            with self.mixer() as mixer:
                mixer.sink_default_set(name)
            yield name
            with self.mixer() as mixer:
                mixer.sink_default_set(SINK)

    @contextmanager
    def microphone(
        self,
        octets: bytes,
        *,
        rate_hz: int = 48000,
        sample_format: str = "s16le",
        channels: int = 2,
    ) -> Iterator[None]:
        """The default source gives these octets, from a moment on. Then silence."""
        with (
            self.sink("voice", rate_hz=rate_hz, sample_format=sample_format, channels=channels),
            self.source("microphone", master="voice.monitor"),
        ):
            with self.mixer() as mixer:
                before = mixer.server_info().default_source_name
                mixer.source_default_set("microphone")
            command = ["pacat", "--raw", "--device=voice", "--latency-msec=500"]
            command += [f"--format={sample_format}", f"--rate={rate_hz}", f"--channels={channels}"]
            with (
                subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE) as speaking,
                self.listening(device="microphone") as ears,
            ):
                urgent(speaking, Urgency.SERVER)
                feeder = feed(speaking, [octets])
                try:
                    ears.listen_until(lambda heard: heard.strip(b"\0\x80"))
                    yield
                finally:
                    speaking.kill()
                    feeder.join()
            with self.mixer() as mixer:
                mixer.source_default_set(before)

    @contextmanager
    def source(self, name: str, *, master: str) -> Iterator[str]:
        """A source that is no monitor and gives what another one gives, octet for octet."""
        with self._module("module-remap-source", f"source_name={name} master={master} remix=no"):
            yield name

    @contextmanager
    def listening(self, *options: str, device: str = f"{SINK}.monitor") -> Iterator[Ears]:
        """Hears what the sink plays, from before the block begins."""
        ears = Ears(self, device, options)
        try:
            yield ears
        finally:
            ears.stop()


class HasMixer(Protocol):
    def mixer(self) -> AbstractContextManager[Any]: ...


@contextmanager
def sink_input(pulse: HasMixer, name: str) -> Iterator[Callable[[], Any]]:
    """The guest's sink input, asked for anew at each call."""
    with pulse.mixer() as mixer:

        def now() -> Any:
            inputs = mixer.sink_input_list()
            return next((i for i in inputs if i.proplist["application.name"] == name), None)

        assert eventually(now)
        yield now


class Listener:
    """Raw octets that a process gives on its standard output. Heard all the time, whether a test
    looks or not."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._heard = bytearray()
        self._ended = False
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        while octets := os.read(self.process.stdout.fileno(), 1 << 16):
            with self._more:
                self._heard += octets
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    @property
    def heard(self) -> bytes:
        with self._more:
            return bytes(self._heard)

    def listen_until(self, enough: Callable[[bytes], Any], seconds: float = 20) -> bytes:
        """Until `enough(heard)`, or the time is over; what was heard by then."""
        deadline = time.monotonic() + seconds
        while True:
            heard = self.heard
            if enough(heard) or self._ended or time.monotonic() >= deadline:
                return heard
            with self._more:
                # Not for each little bit that comes: to look costs time that others need.
                until = min(time.monotonic() + LOOK_SECONDS, deadline)
                while not self._ended and (remaining := until - time.monotonic()) > 0:
                    self._more.wait(remaining)

    def hears(self, played: bytes, seconds: float = 5) -> bool:
        """Whether exactly these octets come, after silence or anything else."""
        return played in self.listen_until(
            lambda heard: len(heard) >= len(played) and played in heard, seconds
        )

    def stop(self) -> int:
        """Ends the process. Its exit status."""
        with self.process:
            self.process.terminate()
            self._thread.join()
        return self.process.returncode


class Ears(Listener):
    """What a source gives, in the source's own format."""

    def __init__(self, pulse: PulseServer, device: str, options: tuple[str, ...]) -> None:
        command = ["parec", "--raw", "--fix-format", "--fix-rate", "--fix-channels"]
        command += [f"--device={device}", "--latency-msec=20", *options]
        super().__init__(
            subprocess.Popen(
                command,
                env=pulse.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        )
        urgent(self.process, Urgency.SERVER)
        self.listen_until(lambda heard: len(heard) > 0)


def feed(process: subprocess.Popen[bytes], sounds: Iterable[bytes]) -> threading.Thread:
    """Writes them to a process's standard input, as fast as that takes them, and closes that."""
    assert process.stdin is not None
    stdin = process.stdin

    def write() -> None:
        with suppress(BrokenPipeError), stdin:
            for octets in sounds:
                stdin.write(octets)

    thread = threading.Thread(target=write, name="feeder", daemon=True)
    thread.start()
    return thread


# Sounds


def noise(seconds: float, *, rate_hz: int = 48000, frame_octets: int = 4, seed: int = 1) -> bytes:
    """Octets of any integer format, none of them 0: silence is none of it, each part is found
    again at one place."""
    octets = Random(seed).randbytes(round(seconds * rate_hz) * frame_octets)
    return octets.replace(b"\0", b"\1")


def on_left(samples: bytes) -> bytes:
    """Mono S16 as the left channel of stereo. Two guests, one on each side, can be told apart
    in what a sink mixes of them, to the last octet."""
    return _interleaved(samples, bytes(len(samples)))


def on_right(samples: bytes) -> bytes:
    return _interleaved(bytes(len(samples)), samples)


def left_of(frames: bytes) -> bytes:
    """The left channel of stereo S16; a part of a frame at the end is left out."""
    return memoryview(frames[: len(frames) // 4 * 4]).cast("H")[::2].tobytes()


def right_of(frames: bytes) -> bytes:
    return memoryview(frames[: len(frames) // 4 * 4]).cast("H")[1::2].tobytes()


def _interleaved(left: bytes, right: bytes) -> bytes:
    frames = array("H", bytes(2 * len(left)))
    frames[::2], frames[1::2] = array("H", left), array("H", right)
    return frames.tobytes()


def write_wav(
    path: Path,
    octets: bytes,
    *,
    rate_hz: int = 48000,
    channels: int = 2,
    bits: int = 16,
    is_float: bool = False,
) -> Path:
    """By hand, so that what reads it in the guest is not what wrote it."""
    frame_octets = channels * bits // 8
    form = struct.pack(
        "<HHIIHH",
        3 if is_float else 1,
        channels,
        rate_hz,
        rate_hz * frame_octets,
        frame_octets,
        bits,
    )
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
        for name, body in ((b"fmt ", form), (b"data", octets))
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def difference(played: bytes, heard: bytes) -> str:
    """Where what was heard leaves what was played: for people who look for the reason."""
    start = heard.find(played[:64])
    if start < 0:
        silent = not heard.strip(b"\0")
        return f"its start is nowhere in {len(heard)} octets{', all of them silence' * silent}"
    for at, (one, other) in enumerate(zip(played, heard[start:], strict=False)):
        if one != other:
            rest = heard[start + at :]
            gap = len(rest) - len(rest.lstrip(b"\0"))
            again = heard.find(played[at : at + 64])
            return (
                f"from octet {start} on it is the same for {at} of {len(played)}; then {gap} "
                f"octets are 0; it goes on after {again - start - at if again >= 0 else '?'}: "
                f"{played[at : at + 16].hex(' ')} is {rest[:16].hex(' ')}"
            )
    return f"from octet {start} on it is the same, but ends after {len(heard) - start}"
