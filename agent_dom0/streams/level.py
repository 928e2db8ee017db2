"""The level of samples, for status displays. It is approximate, and computed on request."""

from __future__ import annotations

from array import array

from xensnd.sndif.formats import SampleFormat

# The formats that Python's arrays can read as they stand, and what is full scale in them.
_ARRAYS = {
    SampleFormat.S16_LE: ("h", 1 << 15),
    SampleFormat.S24_LE: ("i", 1 << 23),
    SampleFormat.S32_LE: ("i", 1 << 31),
    SampleFormat.F32_LE: ("f", 1),
}


def peak(sample_format: SampleFormat, octets: bytes) -> float:
    """Return the peak, from 0 to 1; 0 for formats that cannot be read here."""
    if sample_format is SampleFormat.U8 and octets:
        return max(abs(octet - 128) for octet in octets) / 128
    if sample_format not in _ARRAYS:
        return 0.0
    code, full_scale = _ARRAYS[sample_format]
    samples = array(code, octets[: len(octets) // array(code).itemsize * array(code).itemsize])
    if not samples:
        return 0.0
    # A guest's floats may be anything, even no number.
    loudest = max(abs(sample) for sample in samples) / full_scale
    return min(loudest, 1.0) if loudest == loudest else 0.0  # noqa: PLR0124
