"""The gate against Python's own unpickler: what the one would call, the other has to have seen.

The unpickler gets stubs in place of whatever it looks up, so that nothing is imported or run.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from typing import Any

import pytest

from p2pckpt.checkpoint.formats import BytesSource
from p2pckpt.checkpoint.formats.pickle_trace import Import
from p2pckpt.checkpoint.pickles import is_allowed, judge_file
from tests.fuzz.mutate import mutations
from tests.support import pickles

# Python's own decoder of old string opcodes warns about what the damage makes of them.
pytestmark = pytest.mark.filterwarnings("ignore:invalid:DeprecationWarning")
_HUGE = b"\x96"
"""Opcode that makes the unpickler allocate what the pickle asks for."""


class Stub:
    """Stands for everything that a pickle looks up."""

    calls = 0

    def __new__(cls, *_arguments: object, **_keywords: object) -> Stub:
        Stub.calls += 1
        return object.__new__(cls)

    def __init__(self, *_arguments: object, **_keywords: object) -> None: ...

    def __call__(self, *_arguments: object, **_keywords: object) -> Stub:
        return Stub()

    def __setstate__(self, _state: object) -> None: ...


def looked_up(data: bytes) -> tuple[list[Import], int]:
    """What Python's unpickler looks up in ``data``, and how often it calls something."""
    names: list[Import] = []
    base: Any = pickle._Unpickler  # type: ignore[attr-defined]

    class Unpickler(base):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> type[Stub]:
            names.append(Import(module, name))
            return Stub

    Stub.calls = 0
    with contextlib.suppress(Exception):  # it raises whatever damage makes of it
        Unpickler(io.BytesIO(data), fix_imports=False).load()
    return names, Stub.calls


def can_exist(found: Import) -> bool:
    return all(step.isidentifier() for step in f"{found.module}.{found.name}".split("."))


def test_whatever_an_unpickler_would_call_is_found() -> None:
    corpus = [technique.raw for technique in pickles.TECHNIQUES.values() if len(technique.raw) < 1000]
    corpus += [data for name, data in pickles.BENIGN.items() if name.startswith("values")]
    called = 0
    for data in mutations(corpus, 12_000, seed=23):
        if _HUGE in data:
            continue
        names, calls = looked_up(data)
        harmful = [found for found in names if not is_allowed(found) and can_exist(found)]
        if harmful and calls:
            called += 1
            finding = judge_file("x", BytesSource(data))
            assert finding is not None, (harmful, data)
    assert called > 1000
