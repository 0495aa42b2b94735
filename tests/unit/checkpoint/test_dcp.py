from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from p2pckpt.checkpoint.formats import BytesSource, FileLayout
from p2pckpt.checkpoint.formats.dcp import read_layout, read_metadata
from p2pckpt.checkpoint.formats.layout import Malformed
from p2pckpt.checkpoint.formats.pickle_walk import PickleUnreadable

STATE: dict[str, Any] = {
    "model": {"w": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16)},
    "optim": {"step": torch.tensor(3.0), "lr": 0.1},
    "epoch": 2,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dcp") / "step_1"
    with pytest.warns(UserWarning, match="single process"):
        dcp.save(STATE, checkpoint_id=path)
    return path


def changed(saved: Path, change: Any) -> bytes:
    """The metadata with something of it changed, as torch writes it."""
    metadata = pickle.loads((saved / ".metadata").read_bytes())
    change(metadata)
    return pickle.dumps(metadata)


def layout(metadata: Path | bytes, raw: bytes) -> FileLayout:
    read = read_metadata(metadata if isinstance(metadata, bytes) else metadata.read_bytes())
    return read_layout(read, read.by_file()["__0_0.distcp"], BytesSource(raw))


def test_metadata_says_which_tensors_there_are(saved: Path) -> None:
    metadata = read_metadata((saved / ".metadata").read_bytes())
    assert {(t.name, t.dtype, t.shape) for t in metadata.tensors} == {
        ("model.w", "F32", (3, 4)),
        ("model.b", "BF16", (5,)),
        ("optim.step", "F32", ()),
    }
    assert set(metadata.objects) == {"optim.lr", "epoch"}
    assert {item.name for item in metadata.items} == {t.name for t in metadata.tensors} | set(metadata.objects)
    assert list(metadata.missing()) == []


def test_tensors_lie_where_it_says(saved: Path) -> None:
    raw = (saved / "__0_0.distcp").read_bytes()
    found = layout(saved / ".metadata", raw).tensors
    by_name = {tensor.name: tensor for tensor in found}
    place = by_name["model.w"]
    numbers = np.frombuffer(raw[place.offset : place.offset + place.length], "<f4")
    assert numbers.tolist() == list(range(12))
    assert (by_name["model.b"].dtype, by_name["model.b"].length) == ("BF16", 10)
    assert [tensor.offset for tensor in found] == sorted(tensor.offset for tensor in found)


def test_an_item_that_is_not_there_or_not_whole_is_missing(saved: Path) -> None:
    def forget(metadata: Any) -> None:
        metadata.storage_data = {key: info for key, info in metadata.storage_data.items() if key.fqn != "model.w"}

    def shrink(metadata: Any) -> None:
        metadata.state_dict_metadata["model.b"].chunks[0].sizes = torch.Size([4])

    assert list(read_metadata(changed(saved, forget)).missing()) == ["model.w"]
    assert list(read_metadata(changed(saved, shrink)).missing()) == ["model.b"]


def test_a_tensor_that_is_another_ones_archive_is_malformed(saved: Path) -> None:
    def swap(metadata: Any) -> None:
        places = {key.fqn: info for key, info in metadata.storage_data.items()}
        places["model.w"].offset = places["epoch"].offset
        places["model.w"].length = places["epoch"].length

    with pytest.raises(Malformed, match=r"'model\.w' is no tensor"):
        layout(changed(saved, swap), (saved / "__0_0.distcp").read_bytes())
    with pytest.raises(Malformed, match="past the end"):
        layout(saved / ".metadata", b"short")


def test_parts_of_a_tensor_are_told_apart_by_their_names(saved: Path) -> None:
    def grow(metadata: Any) -> None:
        metadata.state_dict_metadata["model.w"].size = torch.Size([9, 4])

    names = [tensor.name for tensor in layout(changed(saved, grow), (saved / "__0_0.distcp").read_bytes()).tensors]
    assert set(names) == {"model.w[0:3,0:4]", "model.b", "optim.step"}


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "storage_data", None),
        lambda m: setattr(m, "state_dict_metadata", [1]),
        lambda m: m.state_dict_metadata.update({7: None}),
        lambda m: setattr(m.state_dict_metadata["model.w"], "size", "many"),
        lambda m: setattr(m.state_dict_metadata["model.w"], "chunks", 3),
        lambda m: setattr(m.state_dict_metadata["model.w"].chunks[0], "offsets", torch.Size([0])),
        lambda m: [setattr(info, "offset", -1) for info in m.storage_data.values()],
        lambda m: [setattr(info, "length", 1 << 80) for info in m.storage_data.values()],
        lambda m: [setattr(info, "relative_path", None) for info in m.storage_data.values()],
        lambda m: [object.__setattr__(key, "offset", "x") for key in m.storage_data],
    ],
)
def test_metadata_that_makes_no_sense_is_malformed(saved: Path, change: Any) -> None:
    with pytest.raises(Malformed, match=r"^dcp: "):
        read_metadata(changed(saved, change))


def test_other_pickles_and_cut_ones_are_told_apart(saved: Path) -> None:
    with pytest.raises(Malformed, match="no Metadata"):
        read_metadata(pickle.dumps({"state_dict_metadata": {}}))
    raw = (saved / ".metadata").read_bytes()
    for length in range(0, len(raw) - 1, 37):
        with pytest.raises(PickleUnreadable):
            read_metadata(raw[:length])
