"""One stream of the guest's card: its pages, its control requests, and the samples of files."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xensnd.core import (
    AudioClient,
    AudioStreamConfig,
    Engine,
    FrontendStats,
    FrontendStream,
    PcmParameters,
    build_directory,
)
from xensnd.errors import AccessDenied, RemoteProtocolError, TransportLost
from xensnd.sndif.formats import SampleFormat, format_mask
from xensnd.sndif.layout import PAGE_OCTETS, buffer_pages, directory_pages
from xensnd.sndif.packets import (
    Close,
    GetVolume,
    HwParamQuery,
    Mute,
    Open,
    Request,
    Response,
    SetVolume,
    Status,
    Trigger,
    TriggerRequest,
    Unmute,
    decode_response,
    decode_volumes,
    encode_mutes,
    encode_request,
    encode_volumes,
    operation_of,
)
from xensnd.sndif.params import HwParams, Interval
from xensnd.sndif.store_fields import Direction, StreamConfig, StreamRings
from xensnd.transport.interface import Pages, Transport

# Linux gives up after as long.
REQUEST_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Sound:
    """What samples are, wherever they come from."""

    sample_format: SampleFormat
    rate_hz: int
    channels: int

    @property
    def frame_octets(self) -> int:
        return self.sample_format.frame_octets(self.channels)

    def __str__(self) -> str:
        return f"{self.sample_format.wire_name}, {self.rate_hz} Hz, {self.channels} channels"


@dataclass(frozen=True, slots=True)
class BufferSize:
    buffer_frames: int
    period_frames: int


class Pcm:
    def __init__(
        self,
        transport: Transport,
        engine: Engine,
        backend_domid: int,
        name: str,
        config: StreamConfig,
    ) -> None:
        self.name = name
        self.config = config
        self._transport = transport
        self._backend_domid = backend_domid
        self._pages = transport.share_pages(backend_domid, 2)
        self._requests = transport.allocate_channel(backend_domid)
        self._events = transport.allocate_channel(backend_domid)
        self.rings = StreamRings(
            ring_ref=self._pages.refs[0],
            event_channel=self._requests.port,
            evt_ring_ref=self._pages.refs[1],
            evt_event_channel=self._events.port,
        )
        self._core = FrontendStream(
            engine,
            playback=config.direction is Direction.PLAYBACK,
            ring_address=self._pages.address,
            event_address=self._pages.address + PAGE_OCTETS,
            requests=self._requests.fds,
            events=self._events.fds,
        )
        self._buffer_octets = 0
        self._buffer: list[Pages] = []  # the data pages, then the directory's
        self._woken = asyncio.Event()
        self._response: Response | None = None
        self._released = False
        self._last: FrontendStats | None = None
        self.refused = asyncio.Event()
        """Set when dom0 has refused samples of the open stream."""
        self.audio_lost = asyncio.Event()
        """Set when the guest's audio server has ended the stream that attach_audio() made."""

    # Negotiating and opening

    async def query(self, sound: Sound, buffer_frames: Interval) -> HwParams:
        """What the backend allows of this; RemoteProtocolError if nothing."""
        answer = await self._ask(
            HwParamQuery(
                HwParams(
                    formats=format_mask([sound.sample_format]),
                    rates=Interval(sound.rate_hz, sound.rate_hz),
                    channels=Interval(sound.channels, sound.channels),
                    buffer_frames=buffer_frames,
                    period_frames=Interval(1, buffer_frames.maximum),
                )
            )
        )
        assert answer.params is not None  # noqa: S101  (decode_response sees to it)
        return answer.params

    async def open(self, sound: Sound, size: BufferSize) -> None:
        octets = size.buffer_frames * sound.frame_octets
        period = size.period_frames * sound.frame_octets
        self._buffer_octets = octets
        self.refused.clear()
        count = buffer_pages(octets)
        data = self._transport.share_pages(self._backend_domid, count)
        self._buffer = [data]
        directory = self._transport.share_pages(self._backend_domid, directory_pages(count))
        self._buffer.append(directory)
        addresses = range(directory.address, directory.address + directory.octets, PAGE_OCTETS)
        build_directory(addresses, directory.refs, data.refs)
        self._core.open_pcm(
            PcmParameters(
                rate_hz=sound.rate_hz,
                frame_octets=sound.frame_octets,
                buffer_octets=octets,
                period_octets=period,
                silence_octet=sound.sample_format.silence[0],
            ),
            data.address,
        )
        await self._ask(
            Open(
                rate_hz=sound.rate_hz,
                sample_format=sound.sample_format,
                channels=sound.channels,
                buffer_octets=octets,
                period_octets=period,
                directory_ref=directory.refs[0],
            )
        )

    async def start(self) -> None:
        await self._ask(TriggerRequest(Trigger.START))
        self._core.set_running(True)

    async def stop(self) -> None:
        """What is not heard yet is forgotten. To go on, close() and open() again: the position
        is that of the next lap then."""
        self._require_card()
        self._core.set_running(False)
        await self._ask(TriggerRequest(Trigger.STOP))

    async def close(self) -> None:
        if self._released or not self._buffer:
            return
        self.detach_audio()
        self._core.close_pcm()
        await self._ask(Close())
        self._free_buffer()
        self.refused.clear()

    # Volume

    async def set_volume(self, milli_db: Sequence[int]) -> None:
        """Each channel's, in 0.001 dB, at most 0."""
        await self._ask(SetVolume(*self._put(encode_volumes(milli_db))))

    async def volume(self, channels: int) -> tuple[int, ...]:
        offset, octets = self._put(encode_volumes((0,) * channels))
        await self._ask(GetVolume(offset, octets))
        address = self._buffer[0].address + offset
        return decode_volumes(ctypes.string_at(address, octets), channels)

    async def mute(self, channels: Sequence[bool]) -> None:
        """Mutes the channels that are marked; the others stay as they are."""
        await self._ask(Mute(*self._put(encode_mutes(channels))))

    async def unmute(self, channels: Sequence[bool]) -> None:
        await self._ask(Unmute(*self._put(encode_mutes(channels))))

    def _put(self, values: bytes) -> tuple[int, int]:
        """Offset and octets of where they lie now."""
        offset = self._core.scratch(len(values))
        if offset is None:
            raise RemoteProtocolError("no room for volumes among the samples, try again")
        ctypes.memmove(self._buffer[0].address + offset, values, len(values))
        return offset, len(values)

    # Samples

    def write(self, data: memoryview) -> int:
        """Octets taken: as many as there is room for."""
        self._require_card()
        return self._core.write(data)

    def read(self, octets: int) -> bytes:
        self._require_card()
        return self._core.read(octets)

    async def await_room(self, octets: int, seconds: float) -> None:
        """Until so many can be written. TransportLost: for so long nothing has moved at all."""
        most = self._buffer_octets - octets
        await self._await(
            lambda: self._core.await_room(octets), lambda now: now.fill_octets <= most, seconds
        )

    async def await_fill(self, octets: int, seconds: float) -> None:
        """Until so many are written and not heard, or captured and not read."""
        await self._await(
            lambda: self._core.await_fill(octets), lambda now: now.fill_octets >= octets, seconds
        )

    async def await_position(self, position_octets: int, seconds: float) -> None:
        """Until so many have been heard."""
        await self._await(
            lambda: self._core.await_position(position_octets),
            lambda now: now.position_octets >= position_octets,
            seconds,
        )

    async def _await(
        self, arm: Callable[[], None], done: Callable[[FrontendStats], bool], seconds: float
    ) -> None:
        while not done(before := self.stats()):
            self._require_card()
            self._woken.clear()
            arm()
            try:
                async with asyncio.timeout(seconds):  # wait_for() may swallow a cancellation
                    await self._woken.wait()
            except TimeoutError:
                if self.stats() == before:
                    raise TransportLost("dom0 does not move on; is its agent well?") from None
            self._require_card()

    def stats(self) -> FrontendStats:
        """Of the open stream; once the connection has ended, as they were then."""
        return self._last if self._last is not None else self._core.stats()

    # The guest's audio server

    def attach_audio(
        self, client: AudioClient, config: AudioStreamConfig, target_fill_octets: int
    ) -> None:
        """Joins the open stream with one at the guest's audio server. AudioUnavailable: that
        server can have no such stream."""
        self._core.attach_audio(client, config, target_fill_octets=target_fill_octets)
        self._poll_audio()

    def detach_audio(self) -> None:
        if not self._released:
            self._core.detach_audio()
        self.audio_lost.clear()

    @property
    def audio_error(self) -> str | None:
        """Why the stream at the guest's audio server has ended, in that server's words."""
        return None if self._released else self._core.audio_error

    def _poll_audio(self) -> None:
        if self._core.audio_error is not None:
            self.audio_lost.set()

    # Requests

    def _require_card(self) -> None:
        if self._released:
            raise TransportLost("dom0 has left")

    async def _ask(self, request: Request) -> Response:
        self._require_card()
        self._response = None
        self._woken.clear()
        self._core.request(encode_request(0, request))
        what = operation_of(request).name
        deadline = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_SECONDS
        while self._response is None:
            remaining = deadline - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(remaining, 0)):
                    await self._woken.wait()
            except TimeoutError:
                raise TransportLost(f"dom0 does not answer {what}") from None
            self._require_card()
            self._woken.clear()
        return _accepted(what, self._response)

    def poll(self) -> None:
        """Takes note of what has happened in the engine."""
        if self._released:
            return
        self._poll_audio()
        packet = self._core.response()
        if packet is not None:
            self._response = decode_response(packet)
        if self._buffer and self._core.stats().refused:
            self.refused.set()
        self._woken.set()

    def _free_buffer(self) -> None:
        for pages in self._buffer:
            pages.close()
        self._buffer = []

    def release(self) -> None:
        """The connection ends: everything of it goes, and who waits is told."""
        if self._released:
            return
        self._released = True
        self._last = self._core.stats()
        self._core.close()
        self._requests.close()
        self._events.close()
        self._free_buffer()
        self._pages.close()
        self._woken.set()


def _accepted(what: str, response: Response) -> Response:
    if response.status == Status.OK:
        return response
    if response.status == Status.EACCES:
        raise AccessDenied(f"dom0's policy refuses {what}; there: xensnd-policy explain GUEST")
    status = response.status.name if isinstance(response.status, Status) else response.status
    raise RemoteProtocolError(f"dom0 answers {what} with {status}; its journal says why")
