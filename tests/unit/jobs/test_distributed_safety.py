"""The pickle gate before distributed checkpoints, whose metadata says what torch unpickles."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from p2pckpt.checkpoint.pickles import Verdict
from p2pckpt.jobs.safety import scan_files
from tests.support import pickles

EVIL = pickles.torch_file(pickles.call("os", "system"))


@pytest.fixture
def save(tmp_path: Path) -> Path:
    with pytest.warns(UserWarning, match="single process"):
        dcp.save({"w": torch.ones(4000), "epoch": 3, "name": "run"}, checkpoint_id=tmp_path)
    return tmp_path


def findings(save: Path) -> list[tuple[Verdict, str, str]]:
    found = scan_files((path.name, path) for path in sorted(save.iterdir()))
    return [(finding.verdict, finding.path, finding.what) for finding in found]


def change(save: Path, edit: Callable[[Any, Any], None]) -> None:
    """Edit the metadata; the function gets it, and what it says of the object ``epoch``."""
    metadata = pickle.loads((save / ".metadata").read_bytes())
    edit(metadata, next(info for key, info in metadata.storage_data.items() if key.fqn == "epoch"))
    (save / ".metadata").write_bytes(pickle.dumps(metadata))


def test_a_checkpoint_as_torch_writes_it_is_clean(save: Path) -> None:
    assert findings(save) == []


def hide(save: Path) -> None:
    """Put a pickle into a tensor, and have the metadata call it an object."""
    shard = save / "__0_0.distcp"
    raw = shard.read_bytes()
    at = raw.index(b"\0\0\x80\x3f" * 1000) + 64
    shard.write_bytes(raw[:at] + EVIL + raw[at + len(EVIL) :])
    assert findings(save) == []  # a tensor's numbers, as long as nothing unpickles them

    def point(_metadata: Any, epoch: Any) -> None:
        epoch.offset, epoch.length = at, len(EVIL)

    change(save, point)


def test_a_pickle_hidden_in_a_tensor_that_the_metadata_calls_an_object_is_refused(save: Path) -> None:
    hide(save)
    assert findings(save) == [(Verdict.UNREADABLE, "__0_0.distcp", "the object 'epoch' is no archive of its own")]


def test_a_pickle_in_an_archive_of_the_row_is_found(save: Path) -> None:
    shard = save / "__0_0.distcp"
    shard.write_bytes(shard.read_bytes() + EVIL)
    assert findings(save) == [(Verdict.DANGEROUS, "__0_0.distcp", "a pickle imports os.system")]


@pytest.mark.parametrize(
    ("edit", "path", "what"),
    [
        (lambda m, e: setattr(e, "relative_path", "../x"), ".metadata", "it names an object in another place, '../x'"),
        (
            lambda m, e: setattr(e, "transform_descriptors", ["zstd"]),
            "__0_0.distcp",
            "the object 'epoch' is compressed or encrypted",
        ),
        (
            lambda m, e: setattr(m, "storage_data", None),
            ".metadata",
            "what it names in other files can't be followed: dcp: the metadata does not say what lies where",
        ),
    ],
)
def test_metadata_whose_objects_cannot_be_found_is_refused(save: Path, edit: Any, path: str, what: str) -> None:
    change(save, edit)
    assert findings(save) == [(Verdict.UNREADABLE, path, what)]


def test_other_files_of_that_name_are_none_of_it(save: Path) -> None:
    (save / ".metadata").write_bytes(b'{"name": "not torch"}')
    assert findings(save) == []
