"""Which transform a chunk gets, where its number type leaves a choice. Looks at samples, never at the whole chunk.

A wrong guess costs a little compression: every transform is lossless for every input.
"""

from __future__ import annotations

import numpy as np

from p2pckpt.checkpoint.codec import planes
from p2pckpt.checkpoint.codec.ids import BY_DTYPE, F32, F32_BYTES, NUMERIC_BYTES, TRANSFORMS, WHOLE
from p2pckpt.checkpoint.codec.scratch import Bytes, scratch

_TRIAL = 64 << 10
"""Bytes from the middle of a chunk that are compressed both ways, where two ways are so different that a guess from
statistics would be none."""
_BYTES_TRIAL = 16 << 10
_EVEN = 7.85
"""Bits a byte of a sample, from which on zstd will not gain its least, a 64th of a block."""
_STRINGS = 6.5
"""Bits a byte, below which single bytes may turn out to be strings. Quantised weights have 7 and more."""
_STRINGS_WORTH = 0.9


def choose(raw: Bytes, dtype: str) -> tuple[int, bool]:
    """The transform's id, and whether single bytes of its planes are what repeats (``planes.compress``)."""
    offers = BY_DTYPE.get(dtype)
    if offers is None:
        return WHOLE, dtype in NUMERIC_BYTES and not _is_strings(raw)
    if len(offers) == 1:
        return offers[0], True
    if offers[0] == F32:
        return (F32 if _is_even_below(raw) else F32_BYTES), True
    transform = min(offers, key=lambda offer: _trial(raw, offer))
    return transform, transform != WHOLE


def taken_apart(numbers: Bytes, transform: int) -> list[Bytes]:
    """The planes of whole units, in memory that lasts until this thread's next call."""
    if transform == WHOLE:
        return [numbers]
    rule = TRANSFORMS[transform]
    arena = scratch.arena("planes", len(numbers))
    parts: list[Bytes] = []
    at = 0
    for length in rule.plane_lengths(len(numbers)):
        parts.append(arena[at : at + length])
        at += length
    rule.split(numbers, parts)
    return parts


def _is_even_below(raw: Bytes) -> bool:
    """Whether the two low bytes of float32 are not worth a plane each: both noise, or both always the same."""
    some = planes.sample(raw[: len(raw) - len(raw) % 4].reshape(-1, 4))
    bits = [planes.entropy(np.ascontiguousarray(some[:, index])) for index in (0, 1)]
    return min(bits) > _EVEN or max(bits) == 0


def _trial(raw: Bytes, transform: int) -> int:
    """Bytes that a run from the middle takes."""
    unit = TRANSFORMS[transform].unit
    start = max(0, (len(raw) - _TRIAL) // 2)
    run = raw[start - start % unit :][:_TRIAL]
    run = run[: len(run) - len(run) % unit]
    parts = taken_apart(run, transform)
    return sum(len(planes.compress(part, is_numeric=transform != WHOLE).body) for part in parts)


def _is_strings(raw: Bytes) -> bool:
    """Whether bytes are text, tables or the like: what repeats is longer than a byte."""
    start = max(0, (len(raw) - _BYTES_TRIAL) // 2)
    run = raw[start : start + _BYTES_TRIAL]
    if planes.entropy(run) > _STRINGS:
        return False
    coded = len(planes.compress(run, is_numeric=True).body)
    return len(planes.compress(run, is_numeric=False).body) < coded * _STRINGS_WORTH
