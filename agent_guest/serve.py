"""`xensnd-guest serve`: joins the guest's audio server with the guest's card while both are there,
and again when they are back.

A stream is open only while an application uses it, so dom0 sees who plays and who records.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from contextlib import closing

from agent_guest.card import Card, NoCardError
from agent_guest.devices import SPEC, GuestDevices
from agent_guest.find_server import open_devices
from agent_guest.pcm import BackendBroken, BufferSize, Pcm
from xensnd.backoff import BackOff
from xensnd.core import Engine
from xensnd.errors import AccessDenied, AudioUnavailable, RemoteProtocolError, TransportLost
from xensnd.sndif.params import Interval
from xensnd.sndif.store_fields import Direction
from xensnd.transport.factory import open_transport
from xensnd.transport.interface import Transport

log = logging.getLogger("xensnd-guest")

BUFFER_SECONDS = 0.1
PERIOD_SECONDS = 0.005
# A stream stays open for this long: after one application often comes the next.
LINGER_SECONDS = 2.0
RETRY_FIRST_SECONDS = 0.1
RETRY_LAST_SECONDS = 5.0


async def serve(url: str, domain: str | None, server: str | None, latency_usec: int) -> None:
    """Serves until it is cancelled. `latency_usec`: how much sound the guest's server may hold
    back."""
    with closing(open_transport(url, domain)) as transport, closing(Engine()) as engine:
        await _Service(transport, engine, server, latency_usec).run()


class _Trouble:
    """Something that is tried again, less and less often. Each problem is logged once."""

    def __init__(self) -> None:
        self._back_off = BackOff(RETRY_FIRST_SECONDS, RETRY_LAST_SECONDS)
        self._logged = ""

    def log(self, problem: object) -> None:
        if str(problem) != self._logged:
            log.warning("%s", problem)
        self._logged = str(problem)

    def next_seconds(self) -> float:
        return self._back_off.next_seconds()

    async def wait(self, problem: object) -> None:
        """Logs the problem, and sleeps until the next try."""
        self.log(problem)
        await self._back_off.wait()

    def is_over(self, what: str | None = None) -> None:
        """Log that it works again; `what` is named if its trouble was logged."""
        if what is not None and self._logged:
            log.warning("%s is back", what)
        self._back_off.reset()
        self._logged = ""


class _Service:
    """Connects with the audio server and the card, and connects again what was lost."""

    def __init__(
        self, transport: Transport, engine: Engine, address: str | None, latency_usec: int
    ) -> None:
        self._transport = transport
        self._engine = engine
        self._address = address
        self._latency_usec = latency_usec
        self._card_trouble = _Trouble()
        self._server_trouble = _Trouble()
        self._has_said_ready = False

    async def run(self) -> None:
        while True:
            try:
                with open_devices(self._address, self._engine, self._latency_usec) as server:
                    self._server_trouble.is_over("the audio server")
                    await self._serve_cards(server)
            except AudioUnavailable as error:
                await self._server_trouble.wait(_retrying(error))

    async def _serve_cards(self, server: GuestDevices) -> None:
        """Serves one card after another, until the audio server is lost: AudioUnavailable."""
        while True:
            try:
                async with Card(self._transport, self._engine, server.poll) as card:
                    self._card_trouble.is_over("the sound card")
                    self._say_ready()
                    try:
                        await self._serve(card, server)
                    except BackendBroken as error:  # leaving a broken backend may take seconds
                        self._card_trouble.log(_retrying(error))
                        raise
            except (NoCardError, TransportLost, RemoteProtocolError) as error:
                server.poll()
                if server.lost.is_set():
                    raise AudioUnavailable("the audio server has gone") from None
                await self._card_trouble.wait(_retrying(error))

    def _say_ready(self) -> None:
        if not self._has_said_ready:
            print("xensnd-guest: ready", flush=True)
            self._has_said_ready = True

    async def _serve(self, card: Card, server: GuestDevices) -> None:
        """Joins the card with the audio server until one of them is lost: TransportLost or
        AudioUnavailable."""
        bridges = [
            Bridge(card.stream(direction), server, self._latency_usec) for direction in Direction
        ]
        events = [server.changed, server.device_lost, server.lost, card.lost]
        events += [event for bridge in bridges for event in bridge.events]
        try:
            while True:
                if card.lost.is_set():
                    raise card.why_lost
                if server.lost.is_set():
                    raise AudioUnavailable("the audio server has gone")
                if server.device_lost.is_set():
                    server.restore_devices()
                server.changed.clear()
                waits = [await bridge.follow() for bridge in bridges]
                await _any_of(*events, seconds=min(filter(None, waits), default=None))
        finally:
            for bridge in bridges:
                await bridge.abandon()


class Bridge:
    """One direction between the card and the audio server."""

    def __init__(self, pcm: Pcm, server: GuestDevices, latency_usec: int) -> None:
        self._pcm = pcm
        self._server = server
        self._latency_frames = latency_usec * SPEC.rate_hz // 1_000_000
        self._direction = pcm.config.direction
        self._target_fill_octets = 0
        self._is_open = False
        self._idle_since: float | None = None
        self._trouble = _Trouble()
        self._attached_at = 0.0
        self._attach_again_at: float | None = None

    @property
    def events(self) -> Sequence[asyncio.Event]:
        """Return the events after which follow() has something to do."""
        return self._pcm.refused, self._pcm.audio_lost

    async def follow(self) -> float | None:
        """Opens the stream while an application uses it, and repairs it. Returns the seconds
        after which to call again, or None: at the next event."""
        if self._is_open and self._pcm.refused.is_set():
            await self._close()  # dom0's agent is another one, which does not know our stream
        if self._server.is_wanted(self._direction):
            self._idle_since = None
            if not self._is_open:
                await self._open()
        elif self._is_open:
            now = asyncio.get_running_loop().time()
            self._idle_since = self._idle_since or now
            rest = self._idle_since + LINGER_SECONDS - now
            if rest > 0 and not self._pcm.audio_lost.is_set():
                return rest
            await self._close()
        return self._follow_audio() if self._is_open else None

    async def _open(self) -> None:
        pcm = self._pcm
        try:
            size, min_frames = await self._choose_size()
            await pcm.open(SPEC, size)
        except AccessDenied as error:
            log.warning("%s: %s", self._direction, error)
            return
        self._is_open = True
        target_frames = self._server.target_frames(self._direction, min_frames)
        self._target_fill_octets = target_frames * SPEC.frame_octets
        await pcm.start()
        self._attach()
        log.info("%s opened: %s", self._direction, SPEC)

    # The stream at the audio server

    def _attach(self) -> None:
        self._attached_at = asyncio.get_running_loop().time()
        self._server.attach(self._pcm, self._target_fill_octets)

    def _follow_audio(self) -> float | None:
        """Attaches again what the audio server has ended. Returns as follow() does."""
        now = asyncio.get_running_loop().time()
        if self._pcm.audio_lost.is_set():
            if now - self._attached_at > RETRY_LAST_SECONDS:
                self._trouble.is_over()
            self._trouble.log(
                f"{self._direction}: the audio server ended the stream: {self._pcm.audio_error}; "
                "connecting it again"
            )
            self._server.detach(self._pcm)
            self._attach_again_at = now + self._trouble.next_seconds()
        if self._attach_again_at is None:
            return None
        if self._attach_again_at > now:
            return self._attach_again_at - now
        self._attach_again_at = None
        self._attach()
        return None

    async def _close(self) -> None:
        self._is_open = False
        self._idle_since = self._attach_again_at = None
        stats = self._pcm.stats()
        self._server.detach(self._pcm)
        log.info(
            "%s closed: %d octets, %d lost; %d Hz to follow dom0's clock, %d ms in the ring",
            self._direction,
            stats.moved_octets,
            stats.lost_octets,
            stats.rate_hz,
            stats.fill_octets * 1000 // SPEC.frame_octets // SPEC.rate_hz,
        )
        await self._pcm.stop()
        await self._pcm.close()

    async def _choose_size(self) -> tuple[BufferSize, int]:
        """The buffer, and the least frames of one that dom0 takes."""
        limit = self._pcm.config.buffer_octets // SPEC.frame_octets
        able = await self._pcm.query(SPEC, Interval(1, limit))
        least = able.buffer_frames.minimum
        period = max(int(PERIOD_SECONDS * SPEC.rate_hz), able.period_frames.minimum)
        wanted = max(int(BUFFER_SECONDS * SPEC.rate_hz), least + 2 * self._latency_frames)
        frames = min(wanted, able.buffer_frames.maximum)
        return BufferSize(frames - frames % period, period), least

    async def abandon(self) -> None:
        """Closes the stream if its card is still there."""
        if not self._is_open:
            return
        with contextlib.suppress(TransportLost, RemoteProtocolError):
            await self._close()


def _retrying(error: Exception) -> str:
    return f"{error}; trying again until it is back"


async def _any_of(*events: asyncio.Event, seconds: float | None) -> None:
    """Returns when one of the events is set, or after so many seconds."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
