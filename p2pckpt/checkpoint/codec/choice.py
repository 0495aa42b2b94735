"""Which transform a chunk gets, where its number type leaves a choice. Looks at samples, never at the whole chunk.

A wrong guess costs a little compression: every transform is lossless for every input.
"""

from __future__ import annotations

from p2pckpt.checkpoint.codec import planes
from p2pckpt.checkpoint.codec.differences import ORDERED_RUN, difference, put_in_order
from p2pckpt.checkpoint.codec.ids import (
    BY_DTYPE,
    DELTA_TRANSFORMS,
    F32,
    F32_BYTES,
    NUMERIC_BYTES,
    ORDERED,
    TRANSFORMS,
    WHOLE,
)
from p2pckpt.checkpoint.codec.planes import Kind
from p2pckpt.checkpoint.codec.scratch import Bytes, scratch

_TRIAL = 64 << 10
"""Bytes from the middle of a chunk that are compressed both ways, where two ways are so different that a guess from
statistics would be none."""
_DELTA_TRIAL = 2 * ORDERED_RUN
_BYTES_TRIAL = 16 << 10
_EVEN = 7.88
"""Bits a byte of a long sample, from which on zstd will not gain its least, a 64th of a block…"""
_SCARCE = 220
"""…less this number over the sample's bytes: in a short one even noise repeats little of what it could be."""
_STRINGS = 6.5
"""Bits a byte, below which single bytes may turn out to be strings. Quantised weights have 7 and more."""
_STRINGS_WORTH = 0.9


def choose(raw: Bytes, dtype: str) -> tuple[int, Kind]:
    """The transform's id, and what its planes hold."""
    offers = BY_DTYPE.get(dtype)
    if offers is None:
        is_numeric = dtype in NUMERIC_BYTES and not _is_strings(raw)
        return WHOLE, Kind.NUMBERS if is_numeric else Kind.STRINGS
    if len(offers) == 1:
        return offers[0], Kind.NUMBERS
    if offers[0] == F32:
        return (F32 if _is_even_below(raw) else F32_BYTES), Kind.NUMBERS
    transform = min(offers, key=lambda offer: _trial(raw, offer))
    return transform, _kind(transform)


def choose_delta(raw: Bytes, base: Bytes, offers: tuple[int, ...]) -> int:
    """The transform's id for differences to a base of the same length."""
    if len(offers) == 1:
        return offers[0]
    start, stop = _middle(len(raw), _DELTA_TRIAL)

    def trial(offer: int) -> int:
        numbers = differences_of(raw[start:stop], base[start:stop], offer)
        kind = Kind.ORDERED if offer in ORDERED else Kind.NUMBERS
        return sum(len(planes.compress(part, kind).body) for part in taken_apart(numbers, offer))

    return min(offers, key=trial)


def differences_of(raw: Bytes, base: Bytes, transform: int) -> Bytes:
    """Differences as the transform wants them, of whole units, in memory that lasts until this thread's next call."""
    result = scratch.arena("differences", len(raw))
    difference(raw, base, DELTA_TRANSFORMS[transform], result)
    if transform in ORDERED:
        put_in_order(result, base)
    return result


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
    noise = _EVEN - _SCARCE / max(len(some), 1)
    lowest = planes.entropy(some[:, 0])
    if 0 < lowest <= noise:
        return False
    second = planes.entropy(some[:, 1])
    return second > noise if lowest > noise else second == 0


def _trial(raw: Bytes, transform: int) -> int:
    """Bytes that a run from the middle takes."""
    start, stop = _middle(len(raw), _TRIAL)
    kind = _kind(transform)
    return sum(len(planes.compress(part, kind).body) for part in taken_apart(raw[start:stop], transform))


def _kind(transform: int) -> Kind:
    return Kind.STRINGS if transform == WHOLE else Kind.NUMBERS


def _middle(length: int, most: int) -> tuple[int, int]:
    """Where a run of up to ``most`` bytes in the middle starts and stops, in whole numbers of any width."""
    start = max(0, (length - most) // 2) & -8
    return start, start + (min(length, most) & -8)


def _is_strings(raw: Bytes) -> bool:
    """Whether bytes are text, tables or the like: what repeats is longer than a byte."""
    start, stop = _middle(len(raw), _BYTES_TRIAL)
    run = raw[start:stop]
    bits = planes.entropy(run)
    return bits < _STRINGS and planes.fast_length(run) * 8 < bits * len(run) * _STRINGS_WORTH
