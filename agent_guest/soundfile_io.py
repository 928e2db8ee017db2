"""Files of samples: WAV through libsndfile, and raw samples on standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agent_guest.pcm import SampleSpec
from xensnd.errors import UsageError
from xensnd.sndif.formats import SampleFormat

# As libsndfile reads and writes samples: 24 bits are the upper part of 32.
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
class SampleReader:
    """Where samples come from. `read(octets)` returns at most that many octets, in whole frames,
    and none at the end of the file."""

    spec: SampleSpec
    read: Callable[[int], Awaitable[bytes]]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class SampleWriter:
    """Where samples go. `write` takes whole frames, and may raise OSError or UsageError."""

    write: Callable[[bytes], None]
    close: Callable[[], None]


def open_reader(name: str, raw: SampleSpec) -> SampleReader:
    """Opens a WAV file, or standard input for `-`, whose samples are as `raw` says."""
    if name == "-":
        return SampleReader(raw, _whole_frames(sys.stdin.fileno(), raw.frame_octets), lambda: None)
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
    spec = SampleSpec(sample_format, file.samplerate, file.channels)

    async def read(octets: int) -> bytes:
        return bytes(file.buffer_read(octets // spec.frame_octets, dtype=dtype))

    return SampleReader(spec, read, file.close)


def open_writer(name: str, spec: SampleSpec) -> SampleWriter:
    """Creates or replaces a WAV file, or opens standard output for `-`."""
    if name == "-":
        output = sys.stdout.buffer

        def write_raw(data: bytes) -> None:
            try:
                output.write(data)
                output.flush()
            except BrokenPipeError:  # the reader has enough
                raise
            except OSError as error:
                raise UsageError(f"standard output: {error.strerror}; make room there") from None

        return SampleWriter(write_raw, lambda: None)
    library = _library()
    if spec.sample_format not in _SUBTYPE_OF_FORMAT:
        raise UsageError(f"{name}: WAV files hold no {spec.sample_format.wire_name}; use '-'")
    dtype, subtype = _SUBTYPE_OF_FORMAT[spec.sample_format]
    try:
        file = library.SoundFile(
            name, "w", spec.rate_hz, spec.channels, subtype=subtype, format="WAV"
        )
    except (OSError, library.LibsndfileError) as error:
        reason = _open_reason(name, os.O_WRONLY | os.O_CREAT, error)
        raise UsageError(f"{name}: {reason}; give a path that can be written") from None

    def write(data: bytes) -> None:
        if spec.sample_format is SampleFormat.S24_LE:
            data = _upper_24_bits(data)
        try:
            file.buffer_write(data, dtype=dtype)
        except (OSError, library.LibsndfileError) as error:
            raise UsageError(f"{name}: {_reason(error)}; what was written before is kept") from None

    return SampleWriter(write, file.close)


def _upper_24_bits(data: bytes) -> bytes:
    """Returns S24_LE samples, the lower 24 of 32 bits, as the upper 24, which libsndfile wants."""
    samples = bytearray(len(data))
    for place in range(3):
        samples[place + 1 :: 4] = data[place::4]
    return bytes(samples)


def _whole_frames(fd: int, frame_octets: int) -> Callable[[int], Awaitable[bytes]]:
    """Returns a function that reads what has arrived, in whole frames. A part of a frame at the
    very end is dropped."""
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
        return  # a regular file is always readable
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)


def _open_reason(name: str, flags: int, error: Exception) -> str:
    """Returns why a file cannot be opened. libsndfile itself does not say what the system says."""
    try:
        os.close(os.open(name, flags | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as refused:
        return refused.strerror or str(refused)
    return _reason(error)


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).rstrip(".")
