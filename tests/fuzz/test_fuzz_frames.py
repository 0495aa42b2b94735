from __future__ import annotations

import numpy as np

from p2pckpt.checkpoint.codec.choice import taken_apart
from p2pckpt.checkpoint.codec.frame import (
    Frame,
    FrameError,
    decode,
    encode,
    encode_delta,
    is_delta,
    parse,
    raw_length,
    serialise,
)
from p2pckpt.checkpoint.codec.ids import BY_DTYPE, DELTA_TRANSFORMS, TRANSFORMS
from p2pckpt.checkpoint.codec.planes import Kind, compress
from tests.fuzz.mutate import mutations
from tests.unit.checkpoint.hostile_frames import SMALL
from tests.unit.checkpoint.test_frames import KINDS, content

DTYPES = ["", *BY_DTYPE, "I8"]
LENGTHS = [1, 33, 5000, 20_001]
BASES = {length: content("normal", length, 9) for length in LENGTHS}


def corpus() -> list[bytes]:
    frames = [encode(content(kind, length, 1), dtype) for kind in KINDS for length in LENGTHS for dtype in DTYPES]
    for base in BASES.values():
        edited = bytes([base[0] ^ 1]) + base[1:]
        frames += [frame for dtype in DTYPES if (frame := encode_delta(edited, base, dtype, alone=1 << 30))]
    for transform, rule in TRANSFORMS.items():
        # Also those that encoding does not choose any more.
        raw = np.frombuffer(content("normal", 600 * rule.unit, 2), np.uint8)
        stored = tuple(compress(plane, Kind.NUMBERS) for plane in taken_apart(raw, transform))
        frames.append(serialise(Frame(transform, False, len(raw), stored, b"")))
    return frames + [frame for frame in SMALL.values() if frame]


def is_frame(data: bytes) -> bool:
    try:
        parse(data)
    except FrameError:
        return False
    return True


def test_a_damaged_frame_is_refused_or_decodes_to_its_length() -> None:
    frames = corpus()
    assert len(frames) > 150
    good = [frame for frame in frames if is_frame(frame)]
    assert {parse(frame).transform for frame in good} == set(TRANSFORMS)
    assert {parse(frame).transform for frame in good if is_delta(frame)} == set(DELTA_TRANSFORMS)
    outcomes = {"decoded": 0, "refused": 0, "delta": 0}
    for frame in mutations(frames, 40_000, seed=30, head=40):
        try:
            length = raw_length(frame)
            base = BASES.get(length, bytes(min(length, 1 << 16))) if is_delta(frame) else None
            out = decode(frame, max_raw=1 << 16, base=base)
        except FrameError:
            outcomes["refused"] += 1
            continue
        assert len(out) == length
        assert serialise(parse(frame)) == frame
        outcomes["decoded"] += 1
        outcomes["delta"] += base is not None
    assert min(outcomes.values()) > 100
