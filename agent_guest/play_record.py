"""Playing and recording files: every octet goes over the ring as it stands, none is resampled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from agent_guest.card import Card, NoCardError
from agent_guest.pcm import BackendBroken, BufferSize, Pcm, Sound
from agent_guest.soundfile_io import Sink, Source
from xensnd.backoff import BackOff
from xensnd.errors import TransportLost, UsageError
from xensnd.sndif.params import Interval
from xensnd.sndif.store_fields import Direction

BUFFER_SECONDS = 0.2
PLAYED_PERIODS = 4
# What is denied falls silent for whoever reads us within 50 ms, so pieces are shorter.
RECORDED_PERIODS = 8
# Nothing moved for so long: something is wrong at the other end.
STANDSTILL_SECONDS = 10.0
CHUNK_OCTETS = 1 << 16
# A card that was lost is waited for so long: a guest that is restored takes some seconds.
BACK_WITHIN_SECONDS = 30.0
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 1.0

log = logging.getLogger("xensnd-guest")


async def choose_size(pcm: Pcm, sound: Sound, periods: int) -> BufferSize:
    """A buffer of about BUFFER_SECONDS, within what the backend allows."""
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
    wanted = int(BUFFER_SECONDS * sound.rate_hz)
    frames = min(max(wanted, able.buffer_frames.minimum), able.buffer_frames.maximum)
    period = min(max(frames // periods, able.period_frames.minimum), able.period_frames.maximum)
    return BufferSize(frames - frames % max(period, 1) or frames, period)


class Player:
    """Plays a source to its end, on one card after another if need be: what was written and not
    heard when a card was lost is written again to the next."""

    def __init__(self, source: Source, volume_db: float | None = None) -> None:
        self._source = source
        self._volume_db = volume_db  # for dom0's mixer to mind
        self._at_end = False
        self._heard = 0  # of the present card's stream, in octets
        self._unheard = bytearray()  # what was read and is not known to be heard

    async def run(self, card: Card) -> None:
        """Until the last octet was heard. TransportLost: go on with another card."""
        pcm = card.stream(Direction.PLAYBACK)
        sound = self._source.sound
        size = await choose_size(pcm, sound, PLAYED_PERIODS)
        await pcm.open(sound, size)
        try:
            if self._volume_db is not None:
                await pcm.set_volume([round(self._volume_db * 1000)] * sound.channels)
            await self._write_all(pcm, size.buffer_frames // 2 * sound.frame_octets)
        finally:
            self._note_heard(pcm)
        await pcm.close()

    async def _write_all(self, pcm: Pcm, half_octets: int) -> None:
        self._heard = written = 0  # of this stream; what lies between is in `_unheard`
        is_started = False
        while await self._fetch(written - self._heard):
            taken = pcm.write(memoryview(self._unheard)[written - self._heard :])
            written += taken
            left = len(self._unheard) - (written - self._heard)
            if left and not is_started:
                await pcm.start()
                is_started = True
            if left:
                await pcm.await_room(min(half_octets, left), STANDSTILL_SECONDS)
            self._note_heard(pcm)
            if pcm.stats().refused:
                raise TransportLost("dom0 does not know this stream any more")
        if written and not is_started:
            await pcm.start()
        if written:
            await pcm.await_position(written, STANDSTILL_SECONDS)
            await pcm.stop()

    def _note_heard(self, pcm: Pcm) -> None:
        """Forgets what need not be written again."""
        heard = pcm.stats().position_octets
        del self._unheard[: heard - self._heard]
        self._heard = heard

    async def _fetch(self, written: int) -> bool:
        """Whether something is to be written: behind what was, or else from the source."""
        if written < len(self._unheard):
            return True
        data = b"" if self._at_end else await self._source.read(CHUNK_OCTETS)
        self._at_end = not data
        self._unheard += data
        return bool(data)


class Recorder:
    """Records so many frames; while a card is lost, nothing."""

    def __init__(self, sink: Sink, sound: Sound, frames: int) -> None:
        self._sink = sink
        self._sound = sound
        self._wanted = frames * sound.frame_octets
        self.lost_octets = 0
        """What we were too late for."""

    async def run(self, card: Card) -> None:
        pcm = card.stream(Direction.CAPTURE)
        size = await choose_size(pcm, self._sound, RECORDED_PERIODS)
        await pcm.open(self._sound, size)
        await pcm.start()
        piece = size.buffer_frames // RECORDED_PERIODS * self._sound.frame_octets
        while self._wanted:
            await pcm.await_fill(min(piece, self._wanted), STANDSTILL_SECONDS)
            data = pcm.read(self._wanted)
            self._sink.write(data)
            self._wanted -= len(data)
            if pcm.stats().refused:
                raise TransportLost("dom0 does not know this stream any more")
        self.lost_octets += pcm.stats().lost_octets
        await pcm.stop()
        await pcm.close()


async def run_with_reconnect(
    job: Player | Recorder, connect: Callable[[], AbstractAsyncContextManager[Card]]
) -> None:
    """Runs the job to its end, on one card after another if need be.

    A card that is not there at first is an error. One that is lost later is waited for; after
    BACK_WITHIN_SECONDS, what was wrong last is raised.
    """
    back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
    loop = asyncio.get_running_loop()
    deadline: float | None = None
    while True:
        connected_at = loop.time()
        try:
            async with connect() as card:
                connected_at = loop.time()
                await job.run(card)
            return
        except (NoCardError, TransportLost, BackendBroken) as error:
            if isinstance(error, NoCardError) and deadline is None:
                raise
            now = loop.time()
            if deadline is None or now - connected_at > BACK_WITHIN_SECONDS:
                deadline = now + BACK_WITHIN_SECONDS
                back_off.reset()
            if now > deadline:
                raise
            log.warning("%s; going on as soon as it is back", error)
            await back_off.wait()
