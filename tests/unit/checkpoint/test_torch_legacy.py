from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from p2pckpt.checkpoint.formats import BytesSource
from p2pckpt.checkpoint.formats.layout import Malformed
from p2pckpt.checkpoint.formats.torch_legacy import looks_like, read_pickle_file
from tests.support import pickles


def old(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_storages_lie_where_the_old_format_puts_them() -> None:
    shared = torch.arange(6.0)
    raw = old(
        {"a": shared, "tail": shared[4:], "half": torch.ones(3, dtype=torch.float16), "flags": torch.zeros(2) > 1}
    )
    found = read_pickle_file(BytesSource(raw))
    assert found.warnings == []
    assert len(found.ranges) == 3
    by_name = {tensor.name: tensor for tensor in found.named}
    start, length = found.ranges[by_name["a"].storage.key]
    assert np.frombuffer(raw[start : start + length], "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert found.ranges[by_name["half"].storage.key][1] == 6
    assert max(sum(place) for place in found.ranges.values()) == len(raw)


def test_a_file_that_is_cut_anywhere_is_malformed() -> None:
    raw = old({"a": torch.arange(6.0), "step": 3})
    assert looks_like(raw)
    for length in range(2, len(raw)):
        with pytest.raises(Malformed):
            read_pickle_file(BytesSource(raw[:length]))


@pytest.mark.parametrize("value", [{"step": 1}, [1, 2], None, "text", {"a": {"b": b"bytes"}}])
def test_a_plain_pickle_is_followed(value: Any) -> None:
    raw = pickle.dumps(value, protocol=4)
    found = read_pickle_file(BytesSource(raw))
    assert found.ranges == {}
    assert found.named == []
    with pytest.raises(Malformed):
        read_pickle_file(BytesSource(raw[:-1]))


def test_what_is_in_a_pickle_is_not_run() -> None:
    for raw in pickles.MALICIOUS.values() if hasattr(pickles, "MALICIOUS") else ():
        read_pickle_file(BytesSource(raw))
