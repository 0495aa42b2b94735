from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import zstandard

from p2pckpt.checkpoint.codec import huffman, planes

EXPONENTS = np.clip(np.random.default_rng(9).normal(120, 2, 300_000), 0, 255).astype(np.uint8)


class Binding:
    """The part of the standard library's binding that is used, on top of zstandard; notes what it was told."""

    FLUSH_FRAME = 2

    def __init__(self, refuse: type[Exception] | None = None) -> None:
        self.told: dict[object, int] = {}
        self.pledged: list[int] = []
        self._refuse = refuse
        names = "strategy min_match hash_log chain_log search_log target_length window_log content_size_flag"
        self.CompressionParameter = SimpleNamespace(**{name: name for name in names.split()})
        self.Strategy = SimpleNamespace(fast=1)

    def ZstdCompressor(self, options: dict[object, int]) -> Binding:
        if self._refuse is not None:
            raise self._refuse("unknown parameter")
        self.told = options
        return self

    def set_pledged_input_size(self, size: int) -> None:
        self.pledged.append(size)

    def compress(self, data: memoryview, mode: int) -> bytes:
        assert mode == self.FLUSH_FRAME
        assert self.pledged[-1] == len(data)
        return zstandard.ZstdCompressor(level=1).compress(data)


def bound(monkeypatch: pytest.MonkeyPatch, *modules: object) -> None:
    """Makes ``modules`` all the bindings there are."""
    names = tuple(f"binding_{number}" for number in range(len(modules)))
    for name, module in zip(names, modules, strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(huffman, "_MODULES", names)


@pytest.mark.parametrize("make", [huffman.literal_coder, huffman.searching_coder])
@pytest.mark.parametrize("window_log", [13, 18])
def test_frames_are_standard_and_declare_their_size(make: object, window_log: int) -> None:
    assert callable(make)
    compress = make(window_log) or huffman.searching_coder(window_log)
    for plane in (EXPONENTS, EXPONENTS[:40], np.zeros(100_000, np.uint8), EXPONENTS):
        body = compress(plane.data)
        assert zstandard.get_frame_parameters(body).content_size == len(plane)
        assert zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False) == plane.tobytes()
    assert len(compress(EXPONENTS.data)) < 0.4 * len(EXPONENTS)


def test_whatever_bindings_are_installed_code_literals_only() -> None:
    for name in huffman._MODULES:
        if sys.version_info >= (3, 14) or name != "compression.zstd":
            try:
                binding = __import__(name, fromlist=["zstd"])
            except ImportError:
                continue
            body = huffman._literals_only(binding, 18)(EXPONENTS.data)
            assert len(body) <= len(huffman.searching_coder(18)(EXPONENTS.data))


def test_a_binding_is_asked_for_literals_and_a_step_that_skips_all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    binding = Binding()
    bound(monkeypatch, binding)
    compress = huffman.literal_coder(13)
    assert compress is not None
    assert zstandard.ZstdDecompressor().decompress(compress(EXPONENTS.data)) == EXPONENTS.tobytes()
    assert binding.told[1002] == 1
    assert binding.told["target_length"] == 1 << 17
    assert binding.told["window_log"] == 13
    assert binding.pledged[-1] == len(EXPONENTS)


@pytest.mark.parametrize("refuse", [ValueError, TypeError])
def test_a_binding_that_does_not_know_the_parameter_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, refuse: type[Exception]
) -> None:
    good = Binding()
    bound(monkeypatch, Binding(refuse), SimpleNamespace(), good)
    assert huffman.literal_coder(18) is not None
    assert good.pledged
    bound(monkeypatch, Binding(refuse), SimpleNamespace())
    assert huffman.literal_coder(18) is None


def test_without_a_binding_planes_are_coded_with_the_smallest_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffman, "_MODULES", ("a_module_that_nobody_has",))
    monkeypatch.setattr(planes, "_contexts", planes._Contexts())
    assert huffman.literal_coder(18) is None
    plane = planes.compress(EXPONENTS, planes.Kind.NUMBERS)
    assert plane.body == huffman.searching_coder(18)(EXPONENTS.data)
    assert planes.decompress(plane, len(EXPONENTS)).tobytes() == EXPONENTS.tobytes()
