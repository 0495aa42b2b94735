from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2pckpt.checkpoint.codec.frame import FrameError, decode, decode_into
from p2pckpt.checkpoint.codec.ids import DELTA_TRANSFORMS, TRANSFORMS
from tests.unit.checkpoint.hostile_frames import GOOD, HOSTILE, LARGEST, RAW_BYTES, Hostile, plain, rle, two

MIB = 1 << 20
MOST = 100 * MIB
"""What decoding may take on top of what the process has when it is idle."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_are_refused(name: str) -> None:
    case = HOSTILE[name]
    with pytest.raises(FrameError, match=case.error):
        decode(case.frame, max_raw=LARGEST, base=case.base)


def test_the_table_has_every_transform() -> None:
    assert len(HOSTILE) > 60
    for transform in TRANSFORMS:
        refusal = HOSTILE[f"transform {transform}, delta flag set"].error
        assert ("belong together" in refusal) == (transform in DELTA_TRANSFORMS)


def test_a_frame_of_another_length_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(FrameError, match="more than"):
        decode(GOOD, max_raw=len(RAW_BYTES) - 1)
    for wrong in (len(RAW_BYTES) - 1, len(RAW_BYTES) + 1, 0):
        with pytest.raises(FrameError, match="are due"):
            decode_into(GOOD, memoryview(bytearray(wrong)))


CHILD = """
import json, resource, sys
from pathlib import Path
from p2pckpt.checkpoint.codec.frame import FrameError, decode

unit = 1 if sys.platform == "darwin" else 1024
largest, folder = int(sys.argv[1]), Path(sys.argv[2])
names = sorted(path.name for path in folder.glob("*.frame"))
decode(bytes([1, 1, 0, 0, 0]), max_raw=0)  # numpy and zstandard load what they need
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
outcomes = {}
for name in names:
    frame, base = (folder / name).read_bytes(), folder / (name + ".base")
    try:
        decode(frame, max_raw=largest, base=base.read_bytes() if base.exists() else None)
        outcomes[name] = "decoded"
    except FrameError as exc:
        outcomes[name] = str(exc)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"idle": idle, "peak": peak, "outcomes": outcomes}))
"""
"""Decodes every frame of a folder, alone in its process, because peaks are never forgotten."""


def test_hostile_frames_take_no_more_memory_than_a_chunk_needs(tmp_path: Path) -> None:
    halves = rle(LARGEST // 2)
    corpus = HOSTILE | {
        "allowed length, zeros": Hostile(plain(rle(LARGEST), LARGEST), ""),
        "allowed length, two planes": Hostile(two(halves, halves, LARGEST), ""),
    }
    for number, case in enumerate(corpus.values()):
        (tmp_path / f"{number:04}.frame").write_bytes(case.frame)
        if case.base is not None:
            (tmp_path / f"{number:04}.frame.base").write_bytes(case.base)
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(LARGEST), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert len(said["outcomes"]) == len(corpus)
    assert sum(outcome == "decoded" for outcome in said["outcomes"].values()) == 2
    assert said["peak"] - said["idle"] <= MOST
