"""Writes frames.json, merkle.json and paths.json beside this file: `python -m
tests.vectors.write_checkpoint_vectors`.

Run it only when a format gains something. Existing vectors are a promise: a change to one of them is a
change of the format. So frames that are there stay, and only those with new names are added. Binary data is hex. Long
inputs are given by a rule that any language can follow:

    {"hex": "…"}                      the bytes themselves
    {"repeat": "…", "length": n}      the hex bytes over and over, cut to n bytes
    {"shake256": s, "length": n}      SHAKE-256 of the one byte s, n bytes long

frames.json      `raw` decodes from `frame`; encoders may produce other frames. With `base` it is a delta.
`refused` frames must fail to decode for the reason given, whatever `raw_length` is allowed. merkle.json
`root` and, where there is one, `piece_layer` of `data` in pieces of `piece_length` bytes (BEP 52).
paths.json       `accepted` and `refused` single paths; `refused_sets` of paths that must not occur
together. A path that ends in "/" is a directory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from p2pckpt.checkpoint.codec.choice import differences_of, taken_apart
from p2pckpt.checkpoint.codec.container import RAW, Frame, Plane, serialise
from p2pckpt.checkpoint.codec.frame import encode, encode_delta
from p2pckpt.checkpoint.codec.ids import DELTA_TRANSFORMS, TRANSFORMS
from p2pckpt.checkpoint.merkle import FileTree
from tests.unit.checkpoint import test_merkle, test_paths
from tests.unit.checkpoint.builders import noise
from tests.unit.checkpoint.hostile_frames import SMALL

HERE = Path(__file__).parent

SHORT = {
    "empty": ("", b""),
    "one byte": ("U8", b"\x2a"),
    "text": ("", b'{"a": 1}'),
    "two bfloat16": ("BF16", bytes.fromhex("803f00c0")),
    "bfloat16 and a byte": ("BF16", bytes.fromhex("803f00c0ff")),
    "float32": ("F32", bytes.fromhex("0000803f010203c0")),
    "float16 and a byte": ("F16", bytes.fromhex("003c00c001")),
    "float64": ("F64", bytes.fromhex("000000000000f03f0102030405060708")),
    "Q8_0 block": ("Q8_0", bytes(range(34))),
    "Q4_0 block": ("Q4_0", bytes(range(18))),
    "Q4_1 block": ("Q4_1", bytes(range(20))),
    "Q5_0 block": ("Q5_0", bytes(range(22))),
    "Q5_1 block": ("Q5_1", bytes(range(24))),
    "MXFP4 block": ("MXFP4", bytes(range(17))),
    "Q4_K block": ("Q4_K", bytes(range(144))),
    "Q5_K block": ("Q5_K", bytes(range(176))),
    "Q6_K block": ("Q6_K", bytes(range(210))),
}


def data_of(rule: dict[str, Any]) -> bytes:
    """The bytes that a rule of a vector stands for."""
    if "hex" in rule:
        return bytes.fromhex(str(rule["hex"]))
    if "repeat" in rule:
        unit, length = bytes.fromhex(str(rule["repeat"])), int(rule["length"])
        return (unit * (length // len(unit) + 1))[:length]
    return noise(rule["length"], rule["shake256"])


def frames() -> dict[str, object]:
    good: list[dict[str, object]] = [
        {"name": name, "raw": {"hex": raw.hex()}, "frame": encode(raw, dtype).hex()}
        for name, (dtype, raw) in SHORT.items()
    ]
    for dtype in ("", "BF16", "F32", "F16", "F64", "I8", "Q8_0"):
        rule = {"repeat": "cdcc3dbd0ad7233c", "length": 5000}
        good.append({"name": f"repeated {dtype}", "raw": rule, "frame": encode(data_of(rule), dtype).hex()})
    weights = np.round(np.sin(np.arange(600)) * 100).astype("<f4") / np.float32(1000)
    good.append(
        {"name": "weights", "raw": {"hex": weights.tobytes().hex()}, "frame": encode(weights.tobytes(), "F32").hex()}
    )
    for dtype, base, raw in (
        ("BF16", "803f00c0ff", "7f3f00c0fe"),
        ("F32", "0000803f00", "ffff7f3f01"),
        ("I8", "00ff80", "ff0080"),
    ):
        frame = encode_delta(bytes.fromhex(raw), bytes.fromhex(base), dtype, alone=1 << 20)
        assert frame is not None
        good.append({"name": f"delta {dtype}", "raw": {"hex": raw}, "base": {"hex": base}, "frame": frame.hex()})
    for transform, rule in TRANSFORMS.items():
        raw = bytes(index * 7 % 256 for index in range(rule.unit * 3 + rule.unit // 2))
        whole = len(raw) - len(raw) % rule.unit
        planes = taken_apart(np.frombuffer(raw, np.uint8)[:whole], transform)
        frame = Frame(transform, False, len(raw), tuple(Plane(RAW, plane.data) for plane in planes), raw[whole:])
        good.append({"name": f"transform {transform}", "raw": {"hex": raw.hex()}, "frame": serialise(frame).hex()})
    for transform, width in DELTA_TRANSFORMS.items():
        # Several exponents, so that the order shows.
        base_raw = bytes(index * index * 11 % 256 for index in range(41))
        raw = bytes((value + index % 3) % 256 for index, value in enumerate(base_raw))
        whole = len(raw) - len(raw) % TRANSFORMS[transform].unit
        data, bases = np.frombuffer(raw, np.uint8)[:whole], np.frombuffer(base_raw, np.uint8)[:whole]
        planes = taken_apart(differences_of(data, bases, transform), transform)
        frame = Frame(transform, True, len(raw), tuple(Plane(RAW, plane.data) for plane in planes), raw[whole:])
        vector = {"name": f"differences {transform} of {width} bytes", "raw": {"hex": raw.hex()}}
        good.append(vector | {"base": {"hex": base_raw.hex()}, "frame": serialise(frame).hex()})
    refused: list[dict[str, object]] = [{"why": name, "frame": frame.hex()} for name, frame in SMALL.items()]
    known = json.loads((HERE / "frames.json").read_text())
    return {"accepted": _added(known["accepted"], good, "name"), "refused": _added(known["refused"], refused, "why")}


def _added(known: list[dict[str, object]], made: list[dict[str, object]], key: str) -> list[dict[str, object]]:
    names = {vector[key] for vector in known}
    return known + [vector for vector in made if vector[key] not in names]


def merkle() -> list[dict[str, object]]:
    vectors: list[dict[str, object]] = []
    for size in test_merkle.SIZES:
        rule = {"shake256": size % 251, "length": size}
        tree = FileTree(test_merkle.PIECE)
        tree.update(data_of(rule))
        root, layer = tree.finish()
        vectors.append(
            {"data": rule, "piece_length": test_merkle.PIECE, "root": root.hex(), "piece_layer": layer.hex()}
        )
    return vectors


def paths() -> dict[str, object]:
    return {
        "accepted": test_paths.GOOD,
        "refused": [{"path": path, "why": why} for path, why in test_paths.BAD.items()],
        "refused_sets": [{"paths": paths, "why": why} for why, paths in test_paths.CLASHES.items()],
    }


def main() -> None:
    for name, content in (("frames", frames()), ("merkle", merkle()), ("paths", paths())):
        (HERE / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
