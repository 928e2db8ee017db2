"""Plays through a PCM by the kernel's own calls (sound/asound.h); runs in a guest.

    python3 -m tests.xen.raw_pcm PERIOD,BUFFER PERIOD,BUFFER ... <frames

Each part of standard input is played with parameters of its own, in frames, and the PCM is never
closed nor its parameters given up in between: alsa-lib would do that. With nothing to play, the
parameters are set and no more.
"""

from __future__ import annotations

import fcntl
import os
import sys

HW_PARAMS_OCTETS = 608
HW_PARAMS = 0xC0000000 | HW_PARAMS_OCTETS << 16 | ord("A") << 8 | 0x11
PREPARE = ord("A") << 8 | 0x40
DRAIN = ord("A") << 8 | 0x44

MASK_OCTETS, INTERVAL_OCTETS = 32, 12
FIRST_INTERVAL_OFFSET = 4 + 8 * MASK_OCTETS
ACCESS, FORMAT, SUBFORMAT = 0, 1, 2
CHANNELS, RATE, PERIOD_SIZE, BUFFER_SIZE = 2, 3, 5, 9  # among the intervals
INTERVALS = 12
RW_INTERLEAVED, S16_LE, STANDARD = 3, 2, 0
INTEGER = 1 << 2
REQUEST_MASK_OFFSET = FIRST_INTERVAL_OFFSET + 21 * INTERVAL_OCTETS
ALL = 0xFFFF_FFFF


def hw_params(
    period_frames: int, buffer_frames: int, *, rate_hz: int = 48000, channels: int = 2
) -> bytearray:
    """struct snd_pcm_hw_params, of S16."""
    params = bytearray(HW_PARAMS_OCTETS)

    def put(offset: int, value: int) -> None:
        params[offset : offset + 4] = value.to_bytes(4, "little")

    for mask, bit in ((ACCESS, RW_INTERLEAVED), (FORMAT, S16_LE), (SUBFORMAT, STANDARD)):
        put(4 + mask * MASK_OCTETS, 1 << bit)
    wanted = {
        CHANNELS: channels,
        RATE: rate_hz,
        PERIOD_SIZE: period_frames,
        BUFFER_SIZE: buffer_frames,
    }
    for interval in range(INTERVALS):
        offset = FIRST_INTERVAL_OFFSET + interval * INTERVAL_OCTETS
        put(offset, wanted.get(interval, 0))
        put(offset + 4, wanted.get(interval, ALL))
        put(offset + 8, INTEGER if interval in wanted else 0)
    put(REQUEST_MASK_OFFSET, ALL)
    return params


def main() -> None:
    sizes = [tuple(map(int, each.split(","))) for each in sys.argv[1:]]
    played = sys.stdin.buffer.read()
    part_octets = len(played) // len(sizes) // 4 * 4
    pcm = os.open("/dev/snd/pcmC0D0p", os.O_WRONLY)
    for at, (period_frames, buffer_frames) in enumerate(sizes):
        fcntl.ioctl(pcm, HW_PARAMS, hw_params(period_frames, buffer_frames))
        part = memoryview(played)[at * part_octets : (at + 1) * part_octets]
        if not part:
            continue
        fcntl.ioctl(pcm, PREPARE)
        while part:
            part = part[os.write(pcm, part) :]
        fcntl.ioctl(pcm, DRAIN)
    os._exit(0)  # what closes the PCM is the end of the process


if __name__ == "__main__":
    main()
