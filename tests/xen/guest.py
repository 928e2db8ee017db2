"""What tests do in a guest: the stock driver's card, and xensnd-guest."""

from __future__ import annotations

from tests.xen.lab import XenGuest, wait_until
from tests.xen.remote import Ended, Process

CARD_SECONDS = 20
STEREO = ("-t", "raw", "-f", "S16_LE", "-r", "48000", "-c", "2")


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


def start_aplay(guest: XenGuest, octets: bytes, *options: str) -> Process:
    """Stereo S16 at 48 kHz."""
    guest.write_file("/tmp/played", octets)
    return guest.start("aplay", "-q", "-D", "hw:0,0", *STEREO, *options, "/tmp/played")


def aplay(guest: XenGuest, octets: bytes, *options: str, seconds: float = 60) -> Ended:
    with start_aplay(guest, octets, *options) as playing:
        return playing.ended(seconds)


def arecord(guest: XenGuest, seconds: int, *options: str) -> Ended:
    """What it recorded is its `octets`."""
    return guest.run("arecord", "-q", "-D", "hw:0,0", *STEREO, f"-d{seconds}", *options)
