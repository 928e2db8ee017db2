"""A private PulseAudio with one null sink, ears on its monitor, and sounds to tell apart."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import pulsectl

START_SECONDS = 20
SINK = "speakers"


class PulseServer:
    """`with PulseServer(directory) as pulse:`; may be stopped, killed and started again inside.

    `norewinds`: an idle null sink renders two seconds ahead, and new streams would wait for that.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rate_hz: int = 48000,
        sample_format: str = "s16le",
        channels: int = 2,
        modules: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.address = f"unix:{directory}/native"
        self._modules = (
            f"module-native-protocol-unix socket={directory}/native auth-anonymous=1",
            f"module-null-sink sink_name={SINK} norewinds=1 rate={rate_hz} "
            f"format={sample_format} channels={channels}",
            *modules,
        )
        self.spec_options = (
            f"--rate={rate_hz}",
            f"--format={sample_format}",
            f"--channels={channels}",
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

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
        (self.directory / "native").unlink(missing_ok=True)
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
        command += ["--use-pid-file=no", f"--log-target=file:{self.directory}/log"]
        command += [f"--load={module}" for module in self._modules]
        self._process = subprocess.Popen(
            command, env=self.environment, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                with self.mixer() as mixer:
                    if any(sink.name == SINK for sink in mixer.sink_list()):
                        return
            except pulsectl.PulseError:
                pass
            time.sleep(0.02)
        log = (self.directory / "log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"pulseaudio does not start:\n{log}")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, signum: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:
                process.send_signal(signum)
                process.send_signal(signal.SIGCONT)

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def mixer(self) -> Iterator[Any]:
        with pulsectl.Pulse("test", server=self.address) as mixer:
            yield mixer

    @contextmanager
    def sink(
        self, name: str, *, rate_hz: int = 48000, sample_format: str = "s16le", channels: int = 2
    ) -> Iterator[None]:
        """One more null sink, for as long as the block lasts."""
        arguments = f"rate={rate_hz} format={sample_format} channels={channels}"
        with self.mixer() as mixer:
            module = mixer.module_load(
                "module-null-sink", f"sink_name={name} norewinds=1 {arguments}"
            )
        try:
            yield
        finally:
            with self.mixer() as mixer:
                mixer.module_unload(module)

    def make_default(self, *, sink: str | None = None, source: str | None = None) -> None:
        """Where streams go that ask for no device."""
        with self.mixer() as mixer:
            if sink is not None:
                mixer.sink_default_set(sink)
            if source is not None:
                mixer.source_default_set(source)

    @contextmanager
    def listening(self, *options: str, device: str = f"{SINK}.monitor") -> Iterator[Ears]:
        """Hears what the sink plays, from before the block begins."""
        ears = Ears(self, device, options)
        try:
            yield ears
        finally:
            ears.stop()


class Ears:
    """What a source gives, as raw octets in the source's own format. Heard all the time, whether
    a test looks or not."""

    def __init__(self, pulse: PulseServer, device: str, options: tuple[str, ...]) -> None:
        command = ["parec", "--raw", "--fix-format", "--fix-rate", "--fix-channels"]
        command += [f"--device={device}", "--latency-msec=20", *options]
        self._process = subprocess.Popen(
            command,
            env=pulse.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._heard = bytearray()
        self._deaf = False  # the server is gone, or we stopped
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._listen, name="ears", daemon=True)
        self._thread.start()
        self.listen_until(lambda heard: len(heard) > 0)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while octets := self._process.stdout.read(1 << 16):
            with self._more:
                self._heard += octets
                self._more.notify_all()
        with self._more:
            self._deaf = True
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
            remaining = deadline - time.monotonic()
            if enough(heard) or remaining <= 0 or self._deaf:
                return heard
            with self._more:
                self._more.wait_for(
                    lambda seen=len(heard): len(self._heard) > seen or self._deaf, remaining
                )

    def hears(self, played: bytes, seconds: float = 20) -> bool:
        """Whether exactly these octets come, after silence or anything else."""
        return played in self.listen_until(
            lambda heard: len(heard) >= len(played) and played in heard, seconds
        )

    def stop(self) -> None:
        with self._process as process:
            process.terminate()
            self._thread.join()


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
        "<HHIIHH", 3 if is_float else 1, channels, rate_hz, rate_hz * frame_octets, frame_octets, bits
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
            again = heard.find(played[at : at + 64], start + at)
            return (
                f"from octet {start} on it is the same for {at} of {len(played)}; then "
                f"{gap} octets are 0; it goes on after {again - start - at if again >= 0 else '?'}"
            )
    return f"from octet {start} on it is the same, but ends after {len(heard) - start}"
