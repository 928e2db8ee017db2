"""One stream of the guest's card: its pages, its control requests and its samples."""

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
    GraphDevice,
    PcmParameters,
    build_directory,
)
from xensnd.errors import AccessDenied, RemoteProtocolError, TransportLost, XensndError
from xensnd.sndif.formats import SampleFormat, format_mask
from xensnd.sndif.layout import PAGE_OCTETS, buffer_pages, directory_pages
from xensnd.sndif.packets import (
    Close,
    GetVolume,
    HwParamQuery,
    Mute,
    Open,
    Operation,
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
from xensnd.sndif.params import HwParams, Interval, NothingInCommon, narrow
from xensnd.sndif.store_fields import Direction, StreamConfig, StreamRings
from xensnd.transport.interface import Pages, Transport

# As long as the Linux driver waits.
REQUEST_TIMEOUT_SECONDS = 3.0


class BackendBroken(RemoteProtocolError):
    """The backend broke a rule of a stream's pages: the whole connection with it has to end."""


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """The format of samples, their rate and the number of channels."""

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
    """A stream as the frontend uses it. Of its methods, each that needs the backend raises
    TransportLost or BackendBroken once the connection has ended."""

    def __init__(
        self,
        transport: Transport,
        engine: Engine,
        backend_domid: int,
        name: str,
        config: StreamConfig,
        in_place: bool,
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
            in_place=in_place,
            ring_address=self._pages.address,
            event_address=self._pages.address + PAGE_OCTETS,
            requests=self._requests.fds,
            events=self._events.fds,
        )
        self._buffer_octets = 0
        self._buffer: list[Pages] = []  # the data pages, then the directory's
        self._woken = asyncio.Event()
        self._asked: Operation | None = None  # the control request that is under way
        self._deadline = 0.0  # of its answer
        self._response: Response | None = None
        self._end: XensndError | None = None  # why nothing more can be asked of the backend
        self._released = False
        self._last: FrontendStats | None = None
        self.refused = asyncio.Event()
        """Set when dom0 has refused samples of the open stream."""
        self.audio_lost = asyncio.Event()
        """Set when the guest's audio server has ended the stream that attach_audio() made."""

    # Negotiating and opening

    async def query(self, spec: SampleSpec, buffer_frames: Interval) -> HwParams:
        """Returns what the backend allows of this. RemoteProtocolError: it allows nothing, or what
        was not offered."""
        offered = HwParams(
            formats=format_mask([spec.sample_format]),
            rates=Interval(spec.rate_hz, spec.rate_hz),
            channels=Interval(spec.channels, spec.channels),
            buffer_frames=buffer_frames,
            period_frames=Interval(1, buffer_frames.maximum),
        )
        answer = await self._ask(HwParamQuery(offered))
        assert answer.params is not None  # noqa: S101  (a response that went well has them)
        if not _lies_within(answer.params, offered):
            raise RemoteProtocolError("dom0 answers HW_PARAM_QUERY with what was not offered")
        return answer.params

    async def open(self, spec: SampleSpec, size: BufferSize) -> None:
        octets = size.buffer_frames * spec.frame_octets
        period = size.period_frames * spec.frame_octets
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
                rate_hz=spec.rate_hz,
                frame_octets=spec.frame_octets,
                buffer_octets=octets,
                period_octets=period,
                silence_octet=spec.sample_format.silence[0],
            ),
            data.address,
        )
        await self._ask(
            Open(
                rate_hz=spec.rate_hz,
                sample_format=spec.sample_format,
                channels=spec.channels,
                buffer_octets=octets,
                period_octets=period,
                directory_ref=directory.refs[0],
            )
        )

    async def start(self) -> None:
        await self._ask(TriggerRequest(Trigger.START))
        self._core.set_running(True)

    async def stop(self) -> None:
        """Stops, and drops what was not heard yet. To go on, close() and open() again: the
        position is at the start of the next lap now."""
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
        """Sets each channel's volume, in 0.001 dB, at most 0."""
        await self._ask(SetVolume(*self._put(encode_volumes(milli_db))))

    async def volume(self, channels: int) -> tuple[int, ...]:
        """Returns each channel's volume in 0.001 dB."""
        offset, octets = self._put(encode_volumes((0,) * channels))
        await self._ask(GetVolume(offset, octets))
        address = self._buffer[0].address + offset
        return decode_volumes(ctypes.string_at(address, octets), channels)

    async def mute(self, channels: Sequence[bool]) -> None:
        """Mutes the channels that are True; the others stay as they are."""
        await self._ask(Mute(*self._put(encode_mutes(channels))))

    async def unmute(self, channels: Sequence[bool]) -> None:
        await self._ask(Unmute(*self._put(encode_mutes(channels))))

    def _put(self, values: bytes) -> tuple[int, int]:
        """Copies the values into the buffer. Returns their offset and length in octets."""
        offset = self._core.scratch(len(values))
        if offset is None:
            raise RemoteProtocolError("the buffer has no room for volumes now; try again")
        ctypes.memmove(self._buffer[0].address + offset, values, len(values))
        return offset, len(values)

    # Samples

    def write(self, data: memoryview) -> int:
        """Writes as much as there is room for, in whole frames. Returns the octets written."""
        self._require_card()
        return self._core.write(data)

    def read(self, octets: int) -> bytes:
        """Returns at most so many captured octets, in whole frames."""
        self._require_card()
        return self._core.read(octets)

    async def await_room(self, octets: int, seconds: float) -> None:
        """Waits until so many octets can be written. TransportLost: nothing has moved for so many
        seconds."""
        most = self._buffer_octets - octets
        await self._await(
            lambda: self._core.await_room(octets), lambda now: now.fill_octets <= most, seconds
        )

    async def await_fill(self, octets: int, seconds: float) -> None:
        """Waits until so many octets are written and not heard, or captured and not read."""
        await self._await(
            lambda: self._core.await_fill(octets), lambda now: now.fill_octets >= octets, seconds
        )

    async def await_position(self, position_octets: int, seconds: float) -> None:
        """Waits until so many octets have been heard."""
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
                    raise TransportLost(
                        "the stream stands still; does dom0's agent work?"
                    ) from None
            self._require_card()

    def stats(self) -> FrontendStats:
        """Returns the numbers of the open stream, or the last ones of a connection that has
        ended."""
        return self._last if self._last is not None else self._core.stats()

    # The guest's audio server

    def attach_audio(
        self, client: AudioClient, config: AudioStreamConfig, target_fill_octets: int
    ) -> None:
        """Joins the open stream with one at the guest's audio server. AudioUnavailable: that
        server can have no such stream."""
        self._core.attach_audio(client, config, target_fill_octets=target_fill_octets)
        self._poll_audio()

    def attach_device(self, device: GraphDevice, target_fill_octets: int) -> None:
        """Joins the open stream with a device of the guest's PipeWire."""
        self._core.attach_device(device, target_fill_octets=target_fill_octets)
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
        if self._end is not None:
            raise self._end

    async def _ask(self, request: Request) -> Response:
        self._require_card()
        if self._asked is not None:
            await self._answer()  # whoever asked was cancelled, and a stream has one request
        self._asked = operation_of(request)
        self._response = None
        self._deadline = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_SECONDS
        self._core.request(encode_request(0, request))
        return _accepted(operation_of(request).name, await self._answer())

    async def _answer(self) -> Response:
        """Wait for the answer to the request that is under way. If none comes, nothing more can be
        asked."""
        assert self._asked is not None  # noqa: S101
        while self._response is None:
            remaining = self._deadline - asyncio.get_running_loop().time()
            self._woken.clear()
            try:
                async with asyncio.timeout(max(remaining, 0)):
                    await self._woken.wait()
            except TimeoutError:
                self.end(TransportLost(f"dom0 does not answer {self._asked.name}"))
            self._require_card()
        self._asked = None
        return self._response

    def poll(self) -> None:
        """Checks what has happened in the engine. BackendBroken: end the connection."""
        if self._released or self._end is not None:
            return
        if self._core.is_broken:
            raise BackendBroken(f"stream {self.name}: dom0 broke the rules of its rings")
        packet = self._core.response()
        if packet is not None:
            self._response = self._decode(packet)
        self._poll_audio()
        if self._buffer and self._core.stats().refused:
            self.refused.set()
        self._woken.set()

    def _decode(self, packet: bytes) -> Response:
        try:
            response = decode_response(packet)
        except RemoteProtocolError as error:
            raise BackendBroken(f"stream {self.name}: dom0 sent a wrong answer: {error}") from None
        if self._asked is not None and response.operation != self._asked:
            raise BackendBroken(
                f"stream {self.name}: dom0 answered {self._asked.name} with operation "
                f"{int(response.operation)}"
            )
        return response

    def _free_buffer(self) -> None:
        for pages in self._buffer:
            pages.close()
        self._buffer = []

    def end(self, reason: XensndError) -> None:
        """Ends all requests to the backend: who waits for one, or makes one, gets the reason."""
        self._end = self._end or reason
        self._woken.set()

    def release(self) -> None:
        """Ends the stream, and frees all that it has shared with the backend."""
        if self._released:
            return
        self.end(TransportLost("dom0 has left"))
        self._released = True
        self._last = self._core.stats()
        self._core.close()
        self._requests.close()
        self._events.close()
        self._free_buffer()
        self._pages.close()


def _lies_within(params: HwParams, offered: HwParams) -> bool:
    try:
        return narrow(params, offered) == params
    except NothingInCommon:
        return False


def _accepted(what: str, response: Response) -> Response:
    if response.status == Status.OK:
        return response
    if response.status == Status.EACCES:
        raise AccessDenied(f"dom0's policy refuses {what}; there: xensnd-policy explain GUEST")
    status = response.status.name if isinstance(response.status, Status) else response.status
    raise RemoteProtocolError(f"dom0 answers {what} with {status}; its journal says why")
