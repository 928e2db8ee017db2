"""Plays or records for some seconds by the kernel's own calls (sound/asound.h), and prints how many
seconds that took; runs in a guest.

    python3 -m tests.xen.timed_pcm playback|capture RATE CHANNELS PERIOD BUFFER SECONDS

Period and buffer are in frames. A second is read or written at a time. Playback starts when the
buffer is full, or when all is written; the player waits until it has been heard.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time

from tests.xen.raw_pcm import DRAIN, HW_PARAMS, PREPARE, hw_params

SW_PARAMS_OCTETS = 136
SW_PARAMS = 0xC0000000 | SW_PARAMS_OCTETS << 16 | ord("A") << 8 | 0x13
SAMPLE_OCTETS = 2
DEVICES = {"playback": ("/dev/snd/pcmC0D0p", os.O_WRONLY), "capture": ("/dev/snd/pcmC0D0c", 0)}


def sw_params(period_frames: int, buffer_frames: int, start_frames: int) -> bytearray:
    """struct snd_pcm_sw_params: a waiter wakes for a whole period, and an empty buffer stops."""
    return bytearray(
        struct.pack(
            "iII4x7Q2I56x",
            *(0, 1, 0),  # time stamp mode, period step, least sleep
            *(period_frames, 1, start_frames, buffer_frames),
            *(0, 0, 0, 0, 0),  # silence, boundary, protocol, kind of time stamp
        )
    )


def main() -> None:
    direction, *numbers = sys.argv[1:]
    rate_hz, channels, period, buffer, seconds = map(int, numbers)
    device, flags = DEVICES[direction]
    pcm = os.open(device, flags)
    fcntl.ioctl(pcm, HW_PARAMS, hw_params(period, buffer, rate_hz=rate_hz, channels=channels))
    start_frames = buffer - buffer % period if direction == "playback" else 1
    fcntl.ioctl(pcm, SW_PARAMS, sw_params(period, buffer, start_frames))
    fcntl.ioctl(pcm, PREPARE)
    second_octets = rate_hz * channels * SAMPLE_OCTETS
    began = time.monotonic()
    for _ in range(seconds):
        remaining = second_octets
        while remaining:
            if direction == "playback":
                remaining -= os.write(pcm, bytes(remaining))
            else:
                remaining -= len(os.read(pcm, remaining))
    if direction == "playback":
        fcntl.ioctl(pcm, DRAIN)
    print(time.monotonic() - began, flush=True)
    os._exit(0)  # what closes the PCM is the end of the process


if __name__ == "__main__":
    main()
