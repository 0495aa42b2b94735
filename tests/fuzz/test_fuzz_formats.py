from __future__ import annotations

import pickle

import pytest

from p2pckpt.checkpoint.chunking import cuts
from p2pckpt.checkpoint.formats import BytesSource, inspect
from p2pckpt.checkpoint.formats.pickle_walk import PickleUnreadable, walk
from p2pckpt.checkpoint.pickles import judge_file
from tests.fuzz.mutate import mutations
from tests.support import pickles
from tests.unit.checkpoint import test_gguf, test_safetensors, test_torch_zip
from tests.unit.checkpoint.builders import gguf_bytes, safetensors_bytes, torch_bytes

# Python's own decoder of old string opcodes warns about what the damage makes of them.
pytestmark = pytest.mark.filterwarnings("ignore:invalid:DeprecationWarning")

LARGEST = 200_000
CORPORA = {
    "safetensors": [safetensors_bytes(), *test_safetensors.LIES.values()],
    "torch_zip": [torch_bytes(), test_torch_zip.PLAIN, test_torch_zip.WIDE, *test_torch_zip.LIES.values()],
    "gguf": [gguf_bytes(), *test_gguf.LIES.values()],
}


@pytest.mark.parametrize("name", CORPORA)
def test_no_file_breaks_inspection_or_cutting(name: str) -> None:
    corpus = [data for data in CORPORA[name] if 0 < len(data) < LARGEST]
    assert len(corpus) > 5
    kinds = set()
    for data in mutations(corpus, 20_000, seed=20, head=400):
        source = BytesSource(data)
        layout = inspect(source)
        kinds.add(layout.kind)
        end = 0
        for tensor in layout.tensors:
            assert end <= tensor.offset
            assert tensor.length >= 0
            end = tensor.offset + tensor.length
        assert end <= len(data)
        assert all(view.offset + view.length <= len(data) for view in layout.views)
        assert all(warning.isprintable() for warning in layout.warnings)
        position = 0
        for cut in cuts(layout, source):
            assert cut.offset == position
            assert cut.length > 0
            position += cut.length
        assert position == len(data)
    # Damage that never leaves a readable file, or always does, would have tested nothing.
    assert kinds == {"opaque", name}


def test_no_pickle_breaks_the_walk() -> None:
    value = {"a": [1, 2.5, None, True, b"x", "y" * 300, {1, 2}, frozenset([3])], "b": (1, (2, (3, 4, 5))), "c": 1 << 70}
    corpus = [pickle.dumps(value, protocol) for protocol in range(6)]
    corpus += [technique.raw for technique in pickles.TECHNIQUES.values() if len(technique.raw) < 1000]
    corpus.append(test_torch_zip.pickled({"w": test_torch_zip.tensor("0", (2, 3), 6)}))
    outcomes = {"read": 0, "refused": 0}
    for data in mutations(corpus, 30_000, seed=21):
        try:
            assert walk(data).end <= len(data)
            outcomes["read"] += 1
        except PickleUnreadable:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 200


def test_no_file_breaks_the_search_for_pickles() -> None:
    evil, harmless = pickles.call("os", "system"), pickle.dumps({"a": [1, "b", b"c" * 300]}, 4)
    corpus = [wrap(raw) for wrap in pickles.CONTAINERS.values() for raw in (evil, harmless)]
    corpus += [technique.raw for technique in pickles.TECHNIQUES.values() if len(technique.raw) < 1000]
    corpus += [data for data in pickles.UNREADABLE.values() if 0 < len(data) < 20_000]
    verdicts = {"": 0}
    for data in mutations(corpus, 30_000, seed=22, head=400):
        finding = judge_file("x", BytesSource(data))
        verdict = str(finding.verdict) if finding else ""
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        assert finding is None or finding.what.isprintable()
    assert set(verdicts) == {"", "unknown", "unreadable", "dangerous"}
    assert min(verdicts.values()) > 100
