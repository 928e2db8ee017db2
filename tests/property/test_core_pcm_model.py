"""Random lives of a PCM: what pcm.h promises holds after each step.

The buffer ends where memory ends, and each copy of the core is watched (checked_memory.h).
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.core_c.model_library import fenced_buffer, ffi, library

RATES_HZ = [5512, 8000, 44100, 48000, 192000]
SILENCE = 0x80

frames = st.integers(1, 400)
moments = st.one_of(st.integers(0, 2_000), st.integers(0, 60_000), st.integers(0, 5_000_000))
"""Microseconds that pass."""


class Pcm(RuleBasedStateMachine):
    """Opening, time, being told, stopping and starting: the same in both directions."""

    @initialize(
        rate_hz=st.sampled_from(RATES_HZ),
        frame=st.sampled_from([1, 2, 3, 4, 6, 8]),
        buffer_frames=st.integers(2, 300),
        data=st.data(),
    )
    def open(self, rate_hz: int, frame: int, buffer_frames: int, data: st.DataObject) -> None:
        self.lib = library()
        self.frame, self.size = frame, frame * buffer_frames
        self.rate_hz = rate_hz
        self.period = frame * data.draw(st.integers(0, buffer_frames), "period in frames")
        self.buffer = fenced_buffer().last(self.size)
        self.octets = ffi.buffer(self.buffer, self.size)
        self.octets[:] = bytes(index * 7 % 251 for index in range(self.size))
        self.pcm: Any = ffi.new("struct xn_pcm *")
        config = {
            "rate_hz": rate_hz,
            "frame_octets": frame,
            "buffer_octets": self.size,
            "period_octets": self.period,
            "silence_octet": SILENCE,
        }
        self.lib.xn_pcm_open(self.pcm, ffi.new("struct xn_pcm_config *", config), self.buffer)
        self.now_usec = 1_000_000
        self.position = self.reported = 0
        self._opened()

    @property
    def early(self) -> int:
        """By how much the end of a period may be told before it is reached: 1.25 ms, and a quarter
        of it, at most."""
        return min(self.period // 4, self.rate_hz // 800 * self.frame)

    @property
    def known(self) -> int:
        """The position, as a frontend that was told all knows it."""
        return max(int(self.pcm.position), int(self.pcm.reported))

    @property
    def past_end(self) -> int:
        """What was played or recorded past the end of a period, and may be told later."""
        raise NotImplementedError

    def _report(self, pcm: Any) -> int:
        raise NotImplementedError

    def _opened(self) -> None: ...
    def _told(self, position: int) -> None: ...
    def _stopped(self) -> None: ...

    @rule(usec=moments)
    def time_passes(self, usec: int) -> None:
        self.now_usec += usec

    @rule(events=st.integers(0, 5))
    def frontend_is_told(self, events: int) -> None:
        self.tell(events)

    def tell(self, events: int) -> None:
        while events and (position := self._due()):
            events -= 1
            assert self.pcm.reported < position <= self.pcm.position + self.early
            assert position - self.pcm.reported < self.size, "a lap looks like standing still"
            self.lib.xn_pcm_reported(self.pcm, position)
            self._told(position)

    def _due(self) -> int:
        told, end = int(self._report(self.pcm)), self.lib.xn_pcm_period_end(self.pcm)
        true = min(self.pcm.position, self.pcm.reported + self.size - self.frame)
        assert told >= end or true < end or not self.period, "a period's end is told in any case"
        assert not told or true - told <= self.past_end
        return told

    @precondition(lambda self: not self.pcm.running)
    @rule()
    def start(self) -> None:
        self.lib.xn_pcm_start(self.pcm, self.now_usec)

    @precondition(lambda self: self.pcm.running)
    @rule()
    def stop(self) -> None:
        before = self.known
        self.lib.xn_pcm_stop(self.pcm)
        assert self.pcm.position % self.size == 0
        assert self.pcm.position - before < self.size
        assert self.lib.xn_pcm_available(self.pcm) == 0
        self._stopped()

    @precondition(lambda self: self.pcm.running)
    @rule()
    def stop_and_be_told_of_it(self) -> None:
        self.stop()
        self.tell(1_000_000)
        assert self.pcm.reported == (self.pcm.position if self.period else 0)
        assert not self.pcm.report_now

    @invariant()
    def nothing_outside_the_buffer_is_touched(self) -> None:
        assert not self.lib.has_strayed()

    @invariant()
    def positions_only_grow_in_whole_frames(self) -> None:
        assert self.pcm.position >= self.position
        assert self.pcm.reported >= self.reported
        self.position, self.reported = self.pcm.position, self.pcm.reported
        assert self.position % self.frame == self.reported % self.frame == 0

    @invariant()
    def frontend_is_told_what_is_true(self) -> None:
        assert self.pcm.reported <= self.pcm.position + self.early
        if self.period == 0:
            assert self.pcm.reported == 0
            assert not self.pcm.report_now


class Playing(Pcm):
    """Audio servers that come and go."""

    @property
    def past_end(self) -> int:
        if self.size // 3 >= self.period:
            return 0
        return min(self.period // 4, self.rate_hz * 5 // 1000 * self.frame)

    def _report(self, pcm: Any) -> int:
        return int(self.lib.xn_pcm_playback_report(pcm))

    @rule(frames=frames)
    def server_takes(self, frames: int) -> None:
        octets = min(frames * self.frame, self.lib.xn_pcm_available(self.pcm))
        expected = self._sound(self.pcm.taken, octets)
        to = ffi.new("uint8_t[]", octets)
        self.lib.xn_pcm_take(self.pcm, to, octets)
        assert bytes(ffi.buffer(to)) == expected

    @precondition(lambda self: self.pcm.running)
    @rule(queued=st.one_of(st.just(0), frames))
    def server_says_how_far_it_is(self, queued: int) -> None:
        heard = ffi.new("uint64_t *", max(self.pcm.taken - queued * self.frame, 0))
        self._advance(heard, discard=False)

    @precondition(lambda self: self.pcm.running)
    @rule()
    def clock_discards(self) -> None:
        before, limit = self.pcm.position, self.pcm.written + self.period
        self._advance(ffi.NULL, discard=True)
        assert self.pcm.position <= max(before, limit)

    @precondition(lambda self: self.pcm.running)
    @rule(usec=moments)
    def server_runs_dry(self, usec: int) -> None:
        self.server_takes(self.size)
        self.now_usec += usec
        self.server_says_how_far_it_is(0)

    @rule()
    def server_is_given_again_what_was_rewritten(self) -> None:
        before, octets = self.pcm.taken, self.lib.xn_pcm_rewritten(self.pcm)
        self.lib.xn_pcm_take_back(self.pcm)
        assert self.pcm.taken == before - octets
        assert octets == 0 or self.pcm.taken >= self.pcm.position, "it was heard"
        assert self.lib.xn_pcm_rewritten(self.pcm) == 0

    @rule()
    def server_has_not_begun(self) -> None:
        self.lib.xn_pcm_hold(self.pcm, self.now_usec)

    @rule()
    def new_server_comes(self) -> None:
        self.lib.xn_pcm_rewind_to_position(self.pcm)

    @invariant()
    def positions_stand_in_their_order(self) -> None:
        pcm = self.pcm
        assert pcm.position <= pcm.taken + self.period
        assert pcm.taken <= pcm.written <= self.known + self.size
        assert self.lib.xn_pcm_available(pcm) == pcm.written - pcm.taken <= self.size

    def _sound(self, position: int, octets: int) -> bytes:
        """What a server must get from there on: what lies in the buffer."""
        return (bytes(self.octets) * 2)[position % self.size :][:octets]

    def _advance(self, heard: Any, *, discard: bool) -> None:
        pcm = self.pcm
        before = pcm.position
        is_deaf = self.period and before - pcm.reported >= self.size // 2 + self.frame
        self.lib.xn_pcm_advance_playback(pcm, self.now_usec, heard, discard)
        assert not is_deaf or pcm.position == before


class AnyFrontend(Playing):
    """It writes where it likes."""

    @rule(data=st.data())
    def write_anywhere(self, data: st.DataObject) -> None:
        offset = self.frame * data.draw(st.integers(0, self.size // self.frame), "at frame")
        room = (self.size - offset) // self.frame
        octets = self.frame * data.draw(st.integers(0, room), "frames")
        self.lib.xn_pcm_wrote(self.pcm, offset, octets)

    @rule(frames=frames)
    def write_on(self, frames: int) -> None:
        offset = self.pcm.written % self.size
        octets = min(frames * self.frame, self.size - offset)
        self.lib.xn_pcm_wrote(self.pcm, offset, octets)

    @rule(offset=st.integers(0, 2**32 - 1), octets=st.integers(0, 2**32 - 1))
    def nonsense_is_outside(self, offset: int, octets: int) -> None:
        inside = self.lib.xn_pcm_in_buffer(self.pcm, offset, octets)
        assert inside == (offset + octets <= self.size)


class LinuxFrontend(Playing):
    """As snd_xen_front and its ALSA core: it knows the position modulo its buffer, from the events
    alone, writes over nothing that was not played, and says STOP at an underrun.

    An octet of its sound tells which one it is.
    """

    def _opened(self) -> None:
        self.hw = self.appl = 0

    @rule(frames=frames)
    def write_on(self, frames: int) -> None:
        self._write_up_to(self.appl + frames * self.frame)

    @rule(rewound=frames, rewritten=frames)
    def rewind_and_write_on(self, rewound: int, rewritten: int) -> None:
        """As PulseAudio does, which looks for the position first: the one that ALSA was told, if
        that was told early."""
        self.appl = max(self.appl - rewound * self.frame, min(self.appl, self.known))
        self._write_up_to(max(self.appl + rewritten * self.frame, self.pcm.taken))

    def _write_up_to(self, end: int) -> None:
        end = min(end, self.hw + self.size, self.appl + self.size)
        while self.appl < end:
            offset = self.appl % self.size
            octets = min(end - self.appl, self.size - offset)
            self.octets[offset : offset + octets] = self._sound(self.appl, octets)
            heard, taken = self.pcm.position, self.pcm.taken
            self.lib.xn_pcm_wrote(self.pcm, offset, octets)
            if max(self.appl, heard) < min(self.appl + octets, taken):
                again = taken - self.lib.xn_pcm_rewritten(self.pcm)
                assert again <= max(self.appl, heard), "the server has what was written over"
            self.appl += octets
            assert self.pcm.written == max(self.appl, self.pcm.taken)

    def _sound(self, position: int, octets: int) -> bytes:
        return bytes((position + index) % 253 for index in range(octets))

    def _told(self, position: int) -> None:
        self.hw += (position - self.hw) % self.size
        assert self.hw == position
        if self.pcm.running and self.hw >= self.appl:
            self.stop_and_be_told_of_it()

    def _stopped(self) -> None:
        """PREPARE follows: for ALSA the application and the hardware are at 0 again."""
        self.tell(1_000_000)
        assert not self.period or self.hw % self.size == 0
        self.hw = self.appl = self.pcm.position


class Capture(Pcm):
    """A frontend that reads or not, and a server that records or leaves it to the clock."""

    @property
    def past_end(self) -> int:
        return self.period // 8

    def _report(self, pcm: Any) -> int:
        return int(self.lib.xn_pcm_capture_report(pcm))

    @rule(frames=frames, octet=st.integers(0, 255))
    def server_records(self, frames: int, octet: int) -> None:
        self._append(bytes([octet]) * (frames * self.frame))

    @rule(frames=frames)
    def server_records_a_hole(self, frames: int) -> None:
        self._append(None, frames * self.frame)

    @precondition(lambda self: self.pcm.running)
    @rule()
    def clock_makes_silence(self) -> None:
        self._append(None, self.lib.xn_pcm_capture_due(self.pcm, self.now_usec))

    def _append(self, sound: bytes | None, octets: int = 0) -> None:
        octets = len(sound) if sound is not None else octets
        position, untold = self.pcm.position, self.pcm.position - self.pcm.reported
        before = bytearray(self.octets)
        count = self.lib.xn_pcm_capture(
            self.pcm, ffi.NULL if sound is None else ffi.from_buffer(sound), octets, self.now_usec
        )
        room = self.size // 2 - (untold if self.period else 0)
        assert count == min(octets, max(room, 0) // self.frame * self.frame)
        assert self.pcm.position == position + count
        for index in range(count):
            octet = SILENCE if sound is None else sound[index]
            before[(position + index) % self.size] = octet
        assert bytes(self.octets) == bytes(before)


def _limited(machine: type[Pcm], examples: int) -> type:
    case = machine.TestCase
    case.settings = settings(max_examples=examples, stateful_step_count=40)
    return case


TestAnyFrontend = _limited(AnyFrontend, 200)
TestLinuxFrontend = _limited(LinuxFrontend, 200)
TestCapture = _limited(Capture, 80)
