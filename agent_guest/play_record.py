"""Playing and recording files. Samples go over the ring unchanged; nothing is resampled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from agent_guest.card import Card, NoCardError
from agent_guest.pcm import BackendBroken, BufferSize, Pcm, SampleSpec
from agent_guest.soundfile_io import SampleReader, SampleWriter
from xensnd.backoff import BackOff
from xensnd.errors import TransportLost, UsageError
from xensnd.sndif.params import Interval
from xensnd.sndif.store_fields import Direction

BUFFER_SECONDS = 0.2
PLAYED_PERIODS = 4
# When recording is denied, our reader gets silence within 50 ms: it is read in shorter pieces.
RECORDED_PERIODS = 8
# If nothing moves for this long, something is wrong in dom0.
STANDSTILL_SECONDS = 10.0
CHUNK_OCTETS = 1 << 16
# How long to wait for a card that was lost: a guest that is restored takes some seconds.
BACK_WITHIN_SECONDS = 30.0
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 1.0

log = logging.getLogger("xensnd-guest")


async def choose_size(pcm: Pcm, spec: SampleSpec, periods: int) -> BufferSize:
    """Returns a buffer of about BUFFER_SECONDS, as the backend allows. UsageError: the card does
    not take such samples."""
    config = pcm.config
    if spec.sample_format not in config.formats:
        names = ", ".join(f.wire_name for f in config.formats)
        raise UsageError(
            f"this card's {config.direction} does not take "
            f"{spec.sample_format.wire_name}, but {names}"
        )
    if not config.allows_rate(spec.rate_hz):
        rates = ", ".join(map(str, config.rates)) or str(config.rate_range)
        raise UsageError(f"this card does not take {spec.rate_hz} Hz, but {rates}; resample first")
    if not config.channels.contains(spec.channels):
        raise UsageError(f"this card takes {config.channels} channels, not {spec.channels}")
    limit = config.buffer_octets // spec.frame_octets
    allowed = await pcm.query(spec, Interval(1, limit))
    wanted = int(BUFFER_SECONDS * spec.rate_hz)
    frames = min(max(wanted, allowed.buffer_frames.minimum), allowed.buffer_frames.maximum)
    period = max(frames // periods, allowed.period_frames.minimum)
    period = min(period, allowed.period_frames.maximum)
    return BufferSize(frames - frames % max(period, 1) or frames, period)


class Player:
    """Plays a file to its end, on one card after another if need be: what was written but not
    heard when a card was lost is written again to the next one."""

    def __init__(self, reader: SampleReader, volume_db: float | None = None) -> None:
        self._reader = reader
        self._volume_db = volume_db  # for dom0's mixer
        self._at_end = False
        self._heard = 0  # octets of the present card's stream
        self._unheard = bytearray()  # was read, and is not known to be heard

    async def run(self, card: Card) -> None:
        """Returns when the last octet was heard. TransportLost, BackendBroken: go on with another
        card."""
        pcm = card.stream(Direction.PLAYBACK)
        spec = self._reader.spec
        size = await choose_size(pcm, spec, PLAYED_PERIODS)
        await pcm.open(spec, size)
        try:
            if self._volume_db is not None:
                await pcm.set_volume([round(self._volume_db * 1000)] * spec.channels)
            await self._write_all(pcm, size.buffer_frames // 2 * spec.frame_octets)
        finally:
            self._note_heard(pcm)
        await pcm.close()

    async def _write_all(self, pcm: Pcm, half_octets: int) -> None:
        self._heard = written = 0  # octets of this stream; those between are in `_unheard`
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
                raise TransportLost("dom0 no longer knows this stream")
        if written and not is_started:
            await pcm.start()
        if written:
            await pcm.await_position(written, STANDSTILL_SECONDS)
            await pcm.stop()

    def _note_heard(self, pcm: Pcm) -> None:
        """Drops what need not be written again."""
        heard = pcm.stats().position_octets
        del self._unheard[: heard - self._heard]
        self._heard = heard

    async def _fetch(self, written: int) -> bool:
        """Return whether something is left to be written. Reads more of the file if nothing is
        left."""
        if written < len(self._unheard):
            return True
        data = b"" if self._at_end else await self._reader.read(CHUNK_OCTETS)
        self._at_end = not data
        self._unheard += data
        return bool(data)


class Recorder:
    """Records a number of frames, on one card after another if need be."""

    def __init__(self, writer: SampleWriter, spec: SampleSpec, frames: int) -> None:
        self._writer = writer
        self._spec = spec
        self._wanted_octets = frames * spec.frame_octets
        self.lost_octets = 0
        """Octets that were captured but not read in time."""

    async def run(self, card: Card) -> None:
        pcm = card.stream(Direction.CAPTURE)
        size = await choose_size(pcm, self._spec, RECORDED_PERIODS)
        await pcm.open(self._spec, size)
        await pcm.start()
        piece = size.buffer_frames // RECORDED_PERIODS * self._spec.frame_octets
        while self._wanted_octets:
            await pcm.await_fill(min(piece, self._wanted_octets), STANDSTILL_SECONDS)
            data = pcm.read(self._wanted_octets)
            self._writer.write(data)
            self._wanted_octets -= len(data)
            if pcm.stats().refused:
                raise TransportLost("dom0 no longer knows this stream")
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
    logged = ""
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
                logged = ""
            if now > deadline:
                raise
            if str(error) != logged:
                log.warning("%s; going on as soon as it is back", error)
                logged = str(error)
            await back_off.wait()
