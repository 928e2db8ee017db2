"""The guest's PipeWire, by its own protocol: the sink and the source are nodes of this process, and
drive the graph by dom0's clock."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Self

from agent_guest.devices import SINK, SOURCE, SPEC, GuestDevices
from agent_guest.pcm import Pcm
from xensnd.core import PIPEWIRE, AudioClient, AudioStreamConfig, ClientState, Engine, GraphDevice
from xensnd.errors import AudioUnavailable
from xensnd.sndif.store_fields import Direction

log = logging.getLogger("xensnd-guest")

# Above those of sound cards: as long as a person chooses no other, ours are the defaults. The
# source is above the sink, whose monitor is a source, too.
DEFAULT_PRIORITY = {Direction.PLAYBACK: 3000, Direction.CAPTURE: 3100}
# Below those of sound cards: if an application connects our node with one, that has to drive.
DRIVER_PRIORITY = 500


class PipeWireDevices(GuestDevices):
    def __init__(self, address: str, engine: Engine, latency_usec: int) -> None:
        """`address`: see AudioClient. A cycle of the graph is at most `latency_usec` long."""
        super().__init__()
        self._address = address
        self._engine = engine
        self._latency_frames = latency_usec * SPEC.rate_hz // 1_000_000
        self._cycle_frames = _power_of_two(self._latency_frames)
        self._client: AudioClient | None = None
        self._devices: dict[Direction, GraphDevice] = {}
        self._attached: dict[Direction, tuple[Pcm, int]] = {}

    def __enter__(self) -> Self:
        self._client = AudioClient(
            self._engine,
            self._address,
            {"application.name": "xensnd", "application.id": "xensnd.guest"},
        )
        try:
            for direction in Direction:
                self._devices[direction] = self._make(direction)
            self._require_server()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        for device in self._devices.values():
            device.close()
        self._devices.clear()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _make(self, direction: Direction) -> GraphDevice:
        assert self._client is not None  # noqa: S101
        is_sink = direction is Direction.PLAYBACK
        return GraphDevice(
            self._client,
            AudioStreamConfig(
                playback=not is_sink,
                name="Xen" if is_sink else "Xen microphone",
                pulse_format=SPEC.sample_format.pulse_name or "",
                rate_hz=SPEC.rate_hz,
                channels=SPEC.channels,
                latency_usec=self._cycle_frames * 1_000_000 // SPEC.rate_hz,
                any_source=True,
                properties={
                    "node.name": SINK if is_sink else SOURCE,
                    "node.force-quantum": str(self._cycle_frames),
                    "priority.session": str(DEFAULT_PRIORITY[direction]),
                    "priority.driver": str(DRIVER_PRIORITY),
                },
            ),
        )

    def is_wanted(self, direction: Direction) -> bool:
        self._require_server()
        return self._devices[direction].is_used

    def _require_server(self) -> None:
        assert self._client is not None  # noqa: S101
        if self._client.state is ClientState.FAILED:
            where = self._address.removeprefix(PIPEWIRE) or "of this session"
            raise AudioUnavailable(f"PipeWire {where}: {self._client.error}")

    def poll(self) -> None:
        if self._client is None:
            return
        if self._client.state is ClientState.FAILED:
            self.lost.set()
        elif any(device.error is not None for device in self._devices.values()):
            self.device_lost.set()
        self.changed.set()

    def restore_devices(self) -> None:
        self.device_lost.clear()
        self._require_server()
        for direction, device in self._devices.items():
            if device.error is None:
                continue
            log.warning(
                "somebody removed %s; making it again",
                SINK if direction is Direction.PLAYBACK else SOURCE,
            )
            attached = self._attached.get(direction)
            if attached is not None:
                attached[0].detach_audio()
            device.close()
            self._devices[direction] = self._make(direction)
            if attached is not None:
                self.attach(*attached)

    def target_frames(self, direction: Direction, least_frames: int) -> int:
        # Either side may be late by a part of what it was given.
        late_frames = max(self._latency_frames // 3, least_frames // 12)
        if direction is Direction.PLAYBACK:
            # dom0 takes pieces of a quarter of its least buffer, and may do so just before a cycle.
            return least_frames // 4 + self._cycle_frames + late_frames
        return least_frames // 4 + late_frames

    def attach(self, pcm: Pcm, target_fill_octets: int) -> None:
        direction = pcm.config.direction
        pcm.attach_device(self._devices[direction], target_fill_octets)
        self._attached[direction] = pcm, target_fill_octets

    def detach(self, pcm: Pcm) -> None:
        self._attached.pop(pcm.config.direction, None)
        pcm.detach_audio()


def _power_of_two(frames: int) -> int:
    """The largest one that is not more, as PipeWire wants it."""
    return 1 << max(frames, 32).bit_length() - 1
