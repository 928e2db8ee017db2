"""One stream's volume: what the guest, a person and policy want of it, and what the server has."""

from __future__ import annotations

import struct

import pytest

from agent_dom0.audio.guest_volume import SILENCE_MILLI_DB, GuestVolume
from agent_dom0.audio.mixer import AudioDevice, Mixer, MixerState, MixerStream
from agent_dom0.audio.server_stream import why_refused
from agent_dom0.audio.stream_volume import StreamVolume, milli_db_of, volume_of
from policy.model import NO_OPTIONS, Options
from xensnd.sndif.packets import GetVolume, Mute, SetVolume, Unmute
from xensnd.sndif.store_fields import Direction

MICROPHONE = AudioDevice(1, "microphone", "Microphone", is_monitor=False)
MONITOR = AudioDevice(2, "speakers.monitor", "Monitor of Speakers", is_monitor=True)


class Guest:
    """A stereo stream of a guest: what it asks, and what the server is ordered to do."""

    def __init__(self, settings: GuestVolume | None = None) -> None:
        self.buffer = bytearray(64)
        self.stream_volume = StreamVolume(2, settings or GuestVolume(), self._peek, self._poke)
        self.told: list[MixerState] = []
        self.stream = MixerStream(Mixer(None, lambda: None), Direction.PLAYBACK, 7, self._tell)

    def _peek(self, offset: int, octets: int) -> bytes:
        return bytes(self.buffer[offset : offset + octets])

    def _poke(self, offset: int, octets: bytes) -> None:
        self.buffer[offset : offset + len(octets)] = octets

    def _tell(self, state: MixerState) -> None:
        self.told.append(state)
        self.stream_volume.update(state)

    def set_volume(self, left: int, right: int) -> None:
        self.buffer[:8] = struct.pack("<ii", left, right)
        self.stream_volume.serve(SetVolume(0, 8))

    def mute(self, *marked: int) -> None:
        self.buffer[:2] = bytes(marked)
        self.stream_volume.serve(Mute(0, 2))

    def unmute(self, *marked: int) -> None:
        self.buffer[:2] = bytes(marked)
        self.stream_volume.serve(Unmute(0, 2))

    @property
    def volume(self) -> tuple[int, ...]:
        """The answer to GET_VOLUME."""
        self.stream_volume.serve(GetVolume(0, 8))
        return struct.unpack("<ii", self.buffer[:8])

    def seen(self, *volume: float, is_muted: bool = False, orders: int | None = None) -> None:
        """The server tells, after so many orders or after all."""
        serial = self.stream.orders if orders is None else orders
        self.stream.report(MixerState(volume, is_muted), serial)


@pytest.mark.parametrize(
    ("milli_db", "volume"), [(0, 1.0), (-60_000, 0.1), (-6_000, 0.794328), (-200_000, 0.0)]
)
def test_the_servers_scale_is_cubic(milli_db: int, volume: float) -> None:
    assert volume_of(milli_db) == pytest.approx(volume, abs=1e-6)
    assert milli_db_of(volume_of(milli_db)) == milli_db


def test_no_volume_is_less_than_silence() -> None:
    assert milli_db_of(0.0) == milli_db_of(1e-9) == SILENCE_MILLI_DB
    assert volume_of(-300_000) == 0.0


def test_nothing_is_ordered_before_somebody_has_said_something() -> None:
    guest = Guest()
    assert guest.stream_volume.wanted_volume is None
    assert guest.stream_volume.wanted_mute is None
    guest.stream_volume.attach(guest.stream)
    assert guest.stream.volume_order is None
    assert guest.stream.mute_order is None


def test_what_was_said_before_the_stream_is_at_the_server_is_how_it_begins() -> None:
    guest = Guest(GuestVolume(percent=50, is_muted=True))
    guest.set_volume(-60_000, 0)
    assert guest.stream_volume.wanted_volume == pytest.approx((0.1, 0.5), abs=1e-4)
    assert guest.stream_volume.wanted_mute is True


def test_channel_that_is_muted_alone_has_no_volume_and_all_of_them_mute_the_stream() -> None:
    guest = Guest()
    guest.stream_volume.attach(guest.stream)
    guest.mute(1, 0)
    assert guest.stream.volume_order == (0.0, 1.0)
    assert guest.stream.mute_order is False
    guest.mute(0, 1)
    assert guest.stream.volume_order == (1.0, 1.0)
    assert guest.stream.mute_order is True
    guest.unmute(1, 0)
    assert guest.stream.volume_order == (1.0, 0.0)
    assert guest.volume == (0, 0)


def test_nobody_is_louder_than_the_person_or_the_policy_says() -> None:
    settings = GuestVolume(percent=80)
    guest = Guest(settings)
    guest.stream_volume.attach(guest.stream)
    guest.set_volume(6_000, 0)
    assert guest.stream.volume_order == pytest.approx((0.8, 0.8), abs=1e-4)
    guest.stream_volume.set_cap(50)
    assert guest.stream.cap == 0.5
    settings.percent = 100
    guest.stream_volume.apply_settings()
    assert guest.stream.volume_order == (0.5, 0.5)


def test_guest_is_told_what_it_has_set_before_the_server_has_done_it() -> None:
    guest = Guest()
    guest.stream_volume.attach(guest.stream)
    guest.seen(0.1, 0.1)
    guest.set_volume(-6_000, -3_000)
    assert guest.volume == (-6_000, -3_000)


def test_what_was_seen_before_the_last_order_does_not_count() -> None:
    guest = Guest()
    guest.stream_volume.attach(guest.stream)
    before = guest.stream.orders
    guest.set_volume(-6_000, -6_000)
    guest.seen(0.1, 0.1, orders=before)
    assert guest.volume == (-6_000, -6_000)
    guest.seen(0.1, 0.2)
    assert guest.volume == (-60_000, milli_db_of(0.2))
    assert guest.stream_volume.shown == (20, False)


def test_stream_that_has_ended_is_told_nothing() -> None:
    guest = Guest()
    guest.stream.end()
    guest.seen(0.1, 0.1)
    assert guest.told == []


@pytest.mark.parametrize(
    ("source", "options", "refused"),
    [
        (MICROPHONE, NO_OPTIONS, None),
        (MONITOR, NO_OPTIONS, "is a monitor, which records what others play"),
        (MICROPHONE, Options(device="microphone"), None),
        (MICROPHONE, Options(device="headset"), "is not headset, the device of the rule"),
        (MONITOR, Options(device=MONITOR.name), "is a monitor, which records what others play"),
        (MONITOR, Options(device=MONITOR.name, allows_monitor=True), None),
        (
            MONITOR,
            Options(device="other.monitor", allows_monitor=True),
            "is not other.monitor, the device of the rule",
        ),
    ],
)
def test_source_is_recorded_if_it_is_the_rules_and_no_monitor_or_one_that_is_allowed(
    source: AudioDevice, options: Options, refused: str | None
) -> None:
    assert why_refused(source, options) == refused
