"""`xensnd-guest serve`: joins the guest's audio server with its card, for as long as both are
there, and again when they are back.

A stream is open only while an application uses it, so dom0 sees who plays and who records.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing
from dataclasses import dataclass

from agent_guest.card import Card, NoCardError
from agent_guest.pcm import BufferSize, Pcm, Sound
from agent_guest.pulse import PIPE_DEVICE, Desktop
from xensnd.core import AudioClient, AudioStreamConfig, ClientState, Engine
from xensnd.errors import AccessDenied, AudioUnavailable, RemoteProtocolError, TransportLost
from xensnd.sndif.formats import SampleFormat
from xensnd.sndif.params import Interval
from xensnd.sndif.store_fields import Direction
from xensnd.transport.factory import open_transport
from xensnd.transport.interface import Transport

log = logging.getLogger("xensnd-guest")

SOUND = Sound(SampleFormat.S16_LE, 48000, 2)

BUFFER_SECONDS = 0.1
PERIOD_SECONDS = 0.005
# An application that ends is often followed by the next.
LINGER_SECONDS = 2.0
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0
STANDSTILL_SECONDS = 10.0


async def serve(url: str, domain: str | None, server: str | None, latency_usec: int) -> None:
    """`latency_usec`: what the guest's server may keep of what goes through it, and the pieces in
    which it comes."""
    with closing(open_transport(url, domain)) as transport, closing(Engine()) as engine:
        await _Server(transport, engine, server, latency_usec).run()


@dataclass(slots=True)
class _Patience:
    """Tries again, more and more slowly, and says each trouble once."""

    seconds: float = RETRY_FIRST_SECONDS
    said: str = ""

    async def wait(self, trouble: Exception) -> None:
        if str(trouble) != self.said:
            self.said = str(trouble)
            log.warning("%s; trying again until it is back", trouble)
        await asyncio.sleep(self.seconds)
        self.seconds = min(self.seconds * 2, RETRY_LAST_SECONDS)

    def rewarded(self, what: str) -> None:
        if self.said:
            log.warning("%s is back", what)
        self.seconds, self.said = RETRY_FIRST_SECONDS, ""


class _Server:
    def __init__(
        self, transport: Transport, engine: Engine, server: str | None, latency_usec: int
    ) -> None:
        self._transport = transport
        self._engine = engine
        self._server = server
        self._latency_usec = latency_usec
        self._card_patience = _Patience()
        self._desktop_patience = _Patience()
        self._ready_said = False

    async def run(self) -> None:
        while True:
            try:
                with Desktop(self._server, SOUND.rate_hz) as desktop:
                    self._desktop_patience.rewarded("the audio server")
                    await self._join_cards(desktop)
            except AudioUnavailable as error:
                await self._desktop_patience.wait(error)

    async def _join_cards(self, desktop: Desktop) -> None:
        while True:
            try:
                async with Card(self._transport, self._engine) as card:
                    self._card_patience.rewarded("the sound card")
                    self._say_ready()
                    await self._join(card, desktop)
            except (NoCardError, TransportLost, RemoteProtocolError) as error:
                if desktop.lost.is_set():
                    raise AudioUnavailable("the audio server has left") from None
                await self._card_patience.wait(error)

    def _say_ready(self) -> None:
        if not self._ready_said:
            print("xensnd-guest: ready", flush=True)
            self._ready_said = True

    async def _join(self, card: Card, desktop: Desktop) -> None:
        """Until the card or the server is lost."""
        client = AudioClient(
            self._engine,
            self._server,
            {"application.name": "xensnd", "application.id": "xensnd.guest"},
        )
        pipes = [
            Pipe(card.stream(direction), client, self._latency_usec) for direction in Direction
        ]
        try:
            while True:
                desktop.changed.clear()
                linger = [await pipe.follow(desktop) for pipe in pipes]
                await _any_of(
                    desktop.changed,
                    card.lost,
                    *(pipe.refused for pipe in pipes),
                    seconds=max(linger, default=0) or None,
                )
                if card.lost.is_set():
                    raise TransportLost("dom0 has left")
                if desktop.lost.is_set() or client.state is ClientState.FAILED:
                    raise AudioUnavailable("the audio server has left")
        finally:
            for pipe in pipes:
                await pipe.abandon()
            client.close()


class Pipe:
    """One direction between card and audio server."""

    def __init__(self, pcm: Pcm, client: AudioClient, latency_usec: int) -> None:
        self._pcm = pcm
        self._client = client
        self._latency_usec = latency_usec
        self._latency_frames = latency_usec * SOUND.rate_hz // 1_000_000
        self._direction = pcm.config.direction
        self._is_open = False
        self._idle_since: float | None = None

    @property
    def refused(self) -> asyncio.Event:
        return self._pcm.refused

    async def follow(self, desktop: Desktop) -> float:
        """Opens and closes as applications want it. Returns seconds after which to ask again."""
        now = asyncio.get_running_loop().time()
        if self._is_open and self.refused.is_set():
            await self._close()  # dom0's agent is another one, which knows nothing of our stream
        if desktop.is_wanted(self._direction):
            self._idle_since = None
            if not self._is_open:
                await self._open()
        elif self._is_open:
            self._idle_since = self._idle_since or now
            rest = self._idle_since + LINGER_SECONDS - now
            if rest > 0:
                return rest
            await self._close()
        return 0

    async def _open(self) -> None:
        pcm = self._pcm
        try:
            size, min_frames = await self._choose_size()
            await pcm.open(SOUND, size)
        except AccessDenied as error:
            log.warning("%s: %s", self._direction, error)
            return
        self._is_open = True
        if self._direction is Direction.PLAYBACK:
            # What is written is heard a latency of dom0 later; less than that would starve it.
            frames = max(min_frames * 3 // 4, min_frames // 2 + self._latency_frames)
            target = frames * SOUND.frame_octets
            self._attach(target)
            await pcm.await_fill(target, STANDSTILL_SECONDS)
            await pcm.start()
        else:
            # Dom0's pieces are a quarter of its least buffer; half a piece more for their jitter.
            fill_frames = min_frames * 3 // 8
            await pcm.start()
            await pcm.await_fill(
                (fill_frames + self._latency_frames) * SOUND.frame_octets, STANDSTILL_SECONDS
            )
            self._attach(fill_frames * SOUND.frame_octets)
        log.info("%s opened: %s", self._direction, SOUND)

    def _attach(self, target_fill_octets: int) -> None:
        self._pcm.attach_audio(
            self._client,
            AudioStreamConfig(
                # The mirror image of dom0: what the guest plays is recorded here.
                playback=self._direction is Direction.CAPTURE,
                name=f"Xen {self._direction}",
                pulse_format=SOUND.sample_format.pulse_name or "",
                rate_hz=SOUND.rate_hz,
                channels=SOUND.channels,
                latency_usec=self._latency_usec,
                device=PIPE_DEVICE[self._direction],
                variable_rate=True,
                any_source=True,  # our own sink's monitor
                properties={"module-stream-restore.id": f"xensnd-{self._direction}"},
            ),
            target_fill_octets,
        )

    async def _close(self) -> None:
        self._is_open = False
        self._idle_since = None
        stats = self._pcm.stats()
        self._pcm.detach_audio()
        log.info(
            "%s closed: %d octets, %d lost; %d Hz followed dom0's clock, %d ms between",
            self._direction,
            stats.moved_octets,
            stats.lost_octets,
            stats.rate_hz,
            stats.fill_octets * 1000 // SOUND.frame_octets // SOUND.rate_hz,
        )
        await self._pcm.stop()
        await self._pcm.close()

    async def _choose_size(self) -> tuple[BufferSize, int]:
        """The buffer, and the least that dom0 takes."""
        limit = self._pcm.config.buffer_octets // SOUND.frame_octets
        able = await self._pcm.query(SOUND, Interval(1, limit))
        least = able.buffer_frames.minimum
        period = max(int(PERIOD_SECONDS * SOUND.rate_hz), able.period_frames.minimum)
        wanted = max(int(BUFFER_SECONDS * SOUND.rate_hz), least + 2 * self._latency_frames)
        frames = min(wanted, able.buffer_frames.maximum)
        return BufferSize(frames - frames % period, period), least

    async def abandon(self) -> None:
        if not self._is_open:
            return
        try:
            await self._close()
        except (TransportLost, RemoteProtocolError):
            return  # the card is gone, and the stream with it


async def _any_of(*events: asyncio.Event, seconds: float | None) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
