"""Sound files: WAV through libsndfile, and raw samples on standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agent_guest.pcm import Sound
from xensnd.errors import UsageError
from xensnd.sndif.formats import SampleFormat

# How libsndfile hands samples over, and takes them: 24 bits travel in the upper part of 32.
_FORMAT_OF_SUBTYPE = {
    "PCM_U8": ("int16", SampleFormat.S16_LE),
    "PCM_S8": ("int16", SampleFormat.S16_LE),
    "PCM_16": ("int16", SampleFormat.S16_LE),
    "PCM_24": ("int32", SampleFormat.S32_LE),
    "PCM_32": ("int32", SampleFormat.S32_LE),
    "FLOAT": ("float32", SampleFormat.F32_LE),
    "DOUBLE": ("float32", SampleFormat.F32_LE),
}
_SUBTYPE_OF_FORMAT = {
    SampleFormat.S16_LE: ("int16", "PCM_16"),
    SampleFormat.S24_LE: ("int32", "PCM_24"),
    SampleFormat.S32_LE: ("int32", "PCM_32"),
    SampleFormat.F32_LE: ("float32", "FLOAT"),
}


def _library() -> Any:
    try:
        import soundfile  # noqa: PLC0415  (only WAV files need it)
    except (ImportError, OSError) as error:
        raise UsageError(
            f"WAV files need python3-soundfile ({error}); or use raw samples on '-'"
        ) from None
    return soundfile


@dataclass(frozen=True, slots=True)
class Source:
    """Where samples come from. `read(octets)` gives up to so many whole frames, none at the end;
    while it waits for them, everything else goes on."""

    sound: Sound
    read: Callable[[int], Awaitable[bytes]]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sink:
    """Where samples go. `write` may raise OSError."""

    write: Callable[[bytes], None]
    close: Callable[[], None]


def open_source(name: str, raw: Sound) -> Source:
    """A WAV file, or `-`: raw samples, which are as `raw` says."""
    if name == "-":
        return Source(raw, _whole_frames(sys.stdin.fileno(), raw.frame_octets), lambda: None)
    library = _library()
    try:
        file = library.SoundFile(name)
    except (OSError, library.LibsndfileError) as error:
        reason = _open_reason(name, os.O_RDONLY, error)
        raise UsageError(f"{name}: {reason}; give a WAV file, or raw samples on '-'") from None
    if file.subtype not in _FORMAT_OF_SUBTYPE:
        file.close()
        raise UsageError(
            f"{name}: samples of {file.subtype}, which cannot be played bit by bit; "
            "convert it to 16, 24 or 32 bit, or float"
        )
    dtype, sample_format = _FORMAT_OF_SUBTYPE[file.subtype]
    sound = Sound(sample_format, file.samplerate, file.channels)

    async def read(octets: int) -> bytes:
        return bytes(file.buffer_read(octets // sound.frame_octets, dtype=dtype))

    return Source(sound, read, file.close)


def open_sink(name: str, sound: Sound) -> Sink:
    """A WAV file, made or replaced; or `-`: raw samples."""
    if name == "-":
        output = sys.stdout.buffer

        def write_raw(data: bytes) -> None:
            try:
                output.write(data)
                output.flush()
            except BrokenPipeError:  # who read it has enough
                raise
            except OSError as error:
                raise UsageError(f"standard output: {error.strerror}; make room there") from None

        return Sink(write_raw, lambda: None)
    library = _library()
    if sound.sample_format not in _SUBTYPE_OF_FORMAT:
        raise UsageError(f"{name}: WAV files hold no {sound.sample_format.wire_name}; use '-'")
    dtype, subtype = _SUBTYPE_OF_FORMAT[sound.sample_format]
    try:
        file = library.SoundFile(
            name, "w", sound.rate_hz, sound.channels, subtype=subtype, format="WAV"
        )
    except (OSError, library.LibsndfileError) as error:
        reason = _open_reason(name, os.O_WRONLY | os.O_CREAT, error)
        raise UsageError(f"{name}: {reason}; give a place that can be written") from None

    def write(data: bytes) -> None:
        if sound.sample_format is SampleFormat.S24_LE:
            data = _upper_24_bits(data)
        try:
            file.buffer_write(data, dtype=dtype)
        except (OSError, library.LibsndfileError) as error:
            raise UsageError(f"{name}: {_reason(error)}; what came before is kept") from None

    return Sink(write, file.close)


def _upper_24_bits(data: bytes) -> bytes:
    """S24_LE has its 24 bits in the lower part of 32, libsndfile wants them in the upper one."""
    samples = bytearray(len(data))
    for place in range(3):
        samples[place + 1 :: 4] = data[place::4]
    return bytes(samples)


def _whole_frames(fd: int, frame_octets: int) -> Callable[[int], Awaitable[bytes]]:
    """Reads what has arrived, in whole frames; a part of one at the very end is dropped."""
    rest = b""

    async def read(octets: int) -> bytes:
        nonlocal rest
        while True:
            await _readable(fd)
            data = os.read(fd, octets)
            if not data:
                return b""
            data = rest + data
            whole = len(data) - len(data) % frame_octets
            rest = data[whole:]
            if whole:
                return data[:whole]

    return read


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(fd, readable.set)
    except PermissionError:
        return  # a regular file makes nobody wait
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)


def _open_reason(name: str, flags: int, error: Exception) -> str:
    """Of what the system refuses, libsndfile says no more than that."""
    try:
        os.close(os.open(name, flags | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as refused:
        return refused.strerror or str(refused)
    return _reason(error)


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).rstrip(".")
