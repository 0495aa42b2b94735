"""What the gate of who reads ranges looks at, and what it leaves where it is."""

from __future__ import annotations

import pytest

from bench.generate import Spec
from p2pckpt.checkpoint.formats import BytesSource
from p2pckpt.checkpoint.pickles import Verdict
from p2pckpt.jobs.reading_gate import look
from tests.support.pickles import BENIGN, UNREADABLE, call, torch_file, zipped
from tests.unit.checkpoint.builders import layout_of, torch_bytes


class Watched(BytesSource):
    """Remembers what was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.ranges.append((offset, offset + length))
        return super().read(offset, length)


def test_no_number_of_a_torch_archive_is_read() -> None:
    data = torch_bytes([Spec(f"layer.{n}", "F32", (300, 300), (7, n)) for n in range(3)])
    source = Watched(data)
    assert look("model.pt", source) is None
    tail = len(data) - (1 << 16) - 22  # where a zip's directory is looked for
    for tensor in layout_of(data).tensors:
        # the first look at a file takes half a kilobyte
        inside = (max(512, tensor.offset), min(tail, tensor.offset + tensor.length))
        assert inside[1] - inside[0] > 200_000
        assert not [each for each in source.ranges if max(each[0], inside[0]) < min(each[1], inside[1])]


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_what_is_dangerous_is_found_whatever_it_is_called(name: str) -> None:
    evil = call("posix", "system")
    for data in (evil, torch_file(evil), zipped({"x/data/0": evil}), zipped({"x/data.pkl": b"", "y/data/0": evil})):
        found = look(name, BytesSource(data))
        assert found is not None
        assert found.verdict is Verdict.DANGEROUS


def test_it_judges_as_the_gate_before_a_checkout_does() -> None:
    assert len(BENIGN) >= 30
    assert [name for name, data in BENIGN.items() if look(name, BytesSource(data)) is not None] == []
    for data in UNREADABLE.values():
        found = look("model.bin", BytesSource(data))
        assert found is not None
        assert found.verdict is not Verdict.CLEAN
