"""What tests do in a guest: the stock driver's card, and xensnd-guest."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.pulse_server import difference, noise
from tests.xen.dom0 import Pulse
from tests.xen.lab import XenGuest, wait_until
from tests.xen.remote import Ended, Process

CARD_SECONDS = 20
SECOND = 4 * 48000
# Until the agent knows what a recording gives; an emulated dom0 takes long over it.
SOURCE_KNOWN_SECONDS = 0.5
STEREO = ("-f", "S16_LE", "-r", "48000", "-c", "2")
# More than 1.1 buffers without a period, and ALSA gives up. The longest that the card has room for:
# an emulated dom0 takes long over starting another worker.
LONG_BUFFER = ("--buffer-size=65536", "--period-size=16384")


def load_driver(guest: XenGuest) -> None:
    """The stock driver, and its card when that is there."""
    guest.do("modprobe", "snd-xen-front")
    wait_until(
        lambda: "vsnd" in cards(guest),
        CARD_SECONDS,
        lambda: f"{guest.name} has no card:\n{cards(guest)}\n{guest.read_console()[-2000:]}",
    )


def cards(guest: XenGuest) -> str:
    return guest.run("cat", "/proc/asound/cards").output


def start_playing(
    guest: XenGuest, octets: bytes, spec: Sequence[str], *options: str, device: str = "hw:0,0"
) -> Process:
    """aplay; `spec` are its options for format, rate and channels."""
    path = f"/tmp/played-{device}"
    guest.write_file(path, octets)
    return guest.start("aplay", "-q", "-t", "raw", "-D", device, *spec, *options, path)


def start_recording(
    guest: XenGuest, spec: Sequence[str], *options: str, device: str = "hw:0,0"
) -> Process:
    """arecord; it is heard while it records."""
    return guest.start("arecord", "-q", "-t", "raw", "-D", device, *spec, *options)


def start_aplay(guest: XenGuest, octets: bytes, *options: str) -> Process:
    """Stereo S16 at 48 kHz."""
    return start_playing(guest, octets, STEREO, *options)


def aplay(guest: XenGuest, octets: bytes, *options: str, seconds: float = 60) -> Ended:
    with start_aplay(guest, octets, *options) as playing:
        return playing.ended(seconds)


def arecord(guest: XenGuest, seconds: int, *options: str) -> Ended:
    """What it recorded is its `octets`."""
    with start_recording(guest, STEREO, f"-d{seconds}", *options) as recording:
        return recording.ended()


def assert_recorded(recorded: Ended, spoken: bytes, seconds: int, *, rate_hz: int = 48000) -> None:
    """As long as it was asked for, and whole: a part of what was spoken, with nothing between. It
    begins in silence, until dom0's agent knows the source."""
    assert (recorded.status, recorded.errors) == (0, "")
    second = 4 * rate_hz
    assert len(recorded.octets) == seconds * second
    heard = recorded.octets.lstrip(b"\0")  # noise has no octet 0
    silence_seconds = (len(recorded.octets) - len(heard)) / second
    print(f"silent for {silence_seconds * 1000:.0f} ms, until the source was known")
    assert silence_seconds < SOURCE_KNOWN_SECONDS
    assert heard in spoken, difference(heard, spoken)


def plays_exactly(pulse: Pulse, guest: XenGuest, seed: int) -> None:
    """A second of noise, heard octet for octet."""
    played = noise(1, seed=seed)
    with pulse.listening() as ears:
        ended = aplay(guest, played)
        assert (ended.status, ended.errors) == (0, ""), ended
        assert ears.hears(played), difference(played, ears.heard)
