from __future__ import annotations

import json
from typing import Any

import pytest

from p2pckpt.checkpoint.codec.frame import FrameError, decode, is_delta, parse, raw_length, serialise
from p2pckpt.checkpoint.merkle import FileTree, root_of
from p2pckpt.checkpoint.paths import UnsafePath, check_path, check_paths
from tests.vectors.write_checkpoint_vectors import HERE, data_of, merkle, paths


def load(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text())


FRAMES, MERKLE, PATHS = load("frames"), load("merkle"), load("paths")


def test_no_list_of_vectors_is_empty() -> None:
    lists = [*FRAMES.values(), MERKLE, *PATHS.values()]
    assert all(len(vectors) >= 10 for vectors in lists)


@pytest.mark.parametrize("vector", FRAMES["accepted"], ids=lambda vector: vector["name"])
def test_frames_decode_to_what_the_vector_says(vector: dict[str, Any]) -> None:
    raw, frame = data_of(vector["raw"]), bytes.fromhex(vector["frame"])
    base = data_of(vector["base"]) if "base" in vector else None
    assert raw_length(frame) == len(raw)
    assert is_delta(frame) == (base is not None)
    assert decode(frame, max_raw=len(raw), base=base) == raw
    assert serialise(parse(frame)) == frame


@pytest.mark.parametrize("vector", FRAMES["refused"], ids=lambda vector: vector["why"])
def test_refused_frames_do_not_decode(vector: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        decode(bytes.fromhex(vector["frame"]), max_raw=1 << 30)


@pytest.mark.parametrize("vector", MERKLE, ids=lambda vector: str(vector["data"]["length"]))
def test_roots_and_layers_are_those_of_the_vector(vector: dict[str, Any]) -> None:
    data = data_of(vector["data"])
    tree = FileTree(vector["piece_length"])
    tree.update(data)
    assert tree.finish() == (bytes.fromhex(vector["root"]), bytes.fromhex(vector["piece_layer"]))
    assert root_of(data).hex() == vector["root"]


def test_paths_are_judged_as_the_vectors_say() -> None:
    for path in PATHS["accepted"]:
        assert check_path(path) == path
    for vector in PATHS["refused"]:
        with pytest.raises(UnsafePath):
            check_path(vector["path"])
    for vector in PATHS["refused_sets"]:
        with pytest.raises(UnsafePath):
            check_paths(vector["paths"])


def test_vectors_of_exact_results_are_what_their_script_writes() -> None:
    assert merkle() == MERKLE
    assert json.loads(json.dumps(paths())) == PATHS
