"""Playing and recording files: every octet goes over the ring as it stands, none is resampled."""

from __future__ import annotations

from xensnd.errors import RemoteProtocolError, UsageError
from xensnd.sndif.params import Interval
from xensnd.sndif.store_fields import Direction

from .card import Card
from .pcm import BufferSize, Pcm, Sound
from .soundfile_io import Sink, Source

BUFFER_SECONDS = 0.2
PERIODS = 4
# Nothing moved for so long: something is wrong at the other end.
STANDSTILL_SECONDS = 10.0
CHUNK_OCTETS = 1 << 16


async def choose_size(pcm: Pcm, sound: Sound, buffer_seconds: float = BUFFER_SECONDS) -> BufferSize:
    """A buffer of about that length, within what the backend allows."""
    config = pcm.config
    if sound.sample_format not in config.formats:
        allowed = ", ".join(f.wire_name for f in config.formats)
        raise UsageError(
            f"this card's {config.direction} takes no {sound.sample_format.wire_name}, "
            f"but {allowed}"
        )
    if not config.allows_rate(sound.rate_hz):
        allowed = ", ".join(map(str, config.rates)) or str(config.rate_range)
        raise UsageError(f"this card takes no {sound.rate_hz} Hz, but {allowed}; resample first")
    if not config.channels.contains(sound.channels):
        raise UsageError(f"this card takes {config.channels} channels, not {sound.channels}")
    limit = config.buffer_octets // sound.frame_octets
    able = await pcm.query(sound, Interval(1, limit))
    wanted = int(buffer_seconds * sound.rate_hz)
    frames = min(max(wanted, able.buffer_frames.minimum), able.buffer_frames.maximum)
    period = min(max(frames // PERIODS, able.period_frames.minimum), able.period_frames.maximum)
    return BufferSize(frames - frames % max(period, 1) or frames, period)


async def play(card: Card, source: Source, volume_db: float | None = None) -> int:
    """Until the last octet was heard. Returns octets. `volume_db` is for dom0's mixer to mind."""
    pcm = card.stream(Direction.PLAYBACK)
    sound = source.sound
    size = await choose_size(pcm, sound)
    await pcm.open(sound, size)
    if volume_db is not None:
        await pcm.set_volume([round(volume_db * 1000)] * sound.channels)
    half = size.buffer_frames // 2 * sound.frame_octets
    started = False
    total = 0
    while data := source.read(CHUNK_OCTETS):
        rest = memoryview(data)
        while rest:
            taken = pcm.write(rest)
            rest = rest[taken:]
            total += taken
            if rest and not started:
                await pcm.start()
                started = True
            if rest:
                await pcm.await_room(min(half, len(rest)), STANDSTILL_SECONDS)
        if pcm.stats().refused:
            raise RemoteProtocolError("dom0 refuses what is played; its journal says why")
    if total:
        if not started:
            await pcm.start()
        await pcm.await_position(total, STANDSTILL_SECONDS)
        await pcm.stop()
    await pcm.close()
    return total


async def record(card: Card, sink: Sink, sound: Sound, frames: int) -> int:
    """So many frames. Returns how many octets were lost because we were late."""
    pcm = card.stream(Direction.CAPTURE)
    size = await choose_size(pcm, sound)
    await pcm.open(sound, size)
    await pcm.start()
    wanted = frames * sound.frame_octets
    quarter = size.buffer_frames // 4 * sound.frame_octets
    while wanted:
        await pcm.await_fill(min(quarter, wanted), STANDSTILL_SECONDS)
        data = pcm.read(wanted)
        sink.write(data)
        wanted -= len(data)
    lost = pcm.stats().lost_octets
    await pcm.stop()
    await pcm.close()
    return lost
