"""What is measured: parts of the bench, each with some numbers of streams."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    says: str
    records: bool = False
    listens: bool = False  # to the sink's monitor
    is_full: bool = False  # guests keep their whole buffer full
    is_silent: bool = False
    is_idle: bool = False
    is_path: bool = False  # through a guest's audio server, so one stream only
    settle_seconds: float = 1.5

    @property
    def counts_frames(self) -> bool:
        return self.listens or self.records

    @property
    def is_timed(self) -> bool:
        """A guest whose whole buffer is full has put all of that between itself and its sound."""
        return self.counts_frames and not self.is_full

    @property
    def is_fed(self) -> bool:
        """Guests write at their own time, and not when somebody asks."""
        return self.listens and not self.is_full and not self.is_path

    @property
    def is_paced(self) -> bool:
        """Guests have written ahead, and wait for the end of each period."""
        return self.is_full and not self.is_silent


PARTS = {
    part.name: part
    for part in (
        Part("playback", "playback; nobody listens", is_full=True),
        Part(
            "listened",
            "playback; one listens to the monitor",
            is_full=True,
            listens=True,
        ),
        Part("heard", "playback as late as it may be; one listens to the monitor", listens=True),
        Part("capture", "capture; one speaks into the microphone", records=True),
        # Agents cork a stream that is silent for a while.
        Part("silence", "playback of zeros", is_full=True, is_silent=True, settle_seconds=4.0),
        Part("idle", "connected, no stream; the sink is suspended", is_idle=True),
        Part("path", "from an application of the guest's audio server", listens=True, is_path=True),
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    part: Part
    streams: int

    @property
    def sharing(self) -> int:
        """By how many streams CPU is divided."""
        return 1 if self.part.is_idle else self.streams

    @property
    def title(self) -> str:
        plural = "" if self.streams == 1 else "s"
        return f"{self.part.name}, {self.streams} stream{plural}: {self.part.says}"


def cases(parts: list[str], streams: list[int]) -> list[Case]:
    """In this order; a part for one stream is there once."""
    return [
        Case(PARTS[name], count)
        for name in parts
        for count in ([1] if PARTS[name].is_path else streams)
    ]
