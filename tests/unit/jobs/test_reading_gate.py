"""What the gate of who reads ranges looks at, and what it leaves where it is."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from bench.generate import Spec
from p2pckpt.checkpoint.formats import BytesSource
from p2pckpt.checkpoint.pickles import Verdict
from p2pckpt.errors import NoSeeds, UnsafeContent
from p2pckpt.jobs import reading_gate
from p2pckpt.jobs.reading import VersionReader
from p2pckpt.jobs.reading_gate import Gate, look
from tests.contract.nodes import DEADLINE
from tests.support.pickles import BENIGN, UNREADABLE, call, torch_file, zipped
from tests.unit.checkpoint.builders import layout_of, torch_bytes
from tests.unit.jobs import test_distributed_safety, test_reading
from tests.unit.jobs.test_fetch import FILES
from tests.unit.jobs.test_reading import Reader

receiver, reader, save = test_reading.receiver, test_reading.reader, test_distributed_safety.save


@pytest_asyncio.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    """With one thread."""
    monkeypatch.setattr(reading_gate, "_CHECK_SECONDS", 0.01)
    made = Gate(at_once=1)
    yield made
    await made.close()


async def passed(gate: Gate, reader: Reader, paths: Iterable[str] = FILES, patience: float = 0) -> None:
    """Have files looked at together, while their pieces come from the seed."""
    finding = asyncio.create_task(reader.find_the_seed())
    try:
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*(gate.require_readable(reader.version, path, patience) for path in paths))
    finally:
        finding.cancel()


BENIGN_PICKLE = pickle.dumps({})


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
    named = zipped({"x/data.pkl": BENIGN_PICKLE, "x/data/more": evil})  # torch calls no storage that
    hidden = zipped({"x/data/0": evil}), zipped({"x/data.pkl": b"", "y/data/0": evil})
    for data in (evil, torch_file(evil), *hidden, named):
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


async def test_looks_wait_for_reads_that_need_threads_and_never_for_the_same_ones(reader: Reader) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    gate = Gate()
    await passed(gate, reader)
    assert reader.version.passed == set(FILES)
    await gate.close()


async def test_one_look_is_enough_for_all_who_ask_meanwhile_and_after(
    gate: Gate, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def counted(path: str, *rest: Any) -> Any:
        looks.append(path)
        return look(path, *rest)

    monkeypatch.setattr(reading_gate, "look", counted)
    await passed(gate, reader, ["model.bin"] * 5)
    await passed(gate, reader, ["model.bin"] * 5)
    assert looks == ["model.bin"]


async def test_patience_ends_also_while_the_threads_are_taken_and_who_leaves_wants_nothing(
    gate: Gate, reader: Reader
) -> None:
    reader.of.engine.allow(0)
    staying = asyncio.create_task(passed(gate, reader, ["model.bin"]))
    await reader.of.until(lambda: reader.is_in and bool(reader.wanted))
    for path in ("model.bin", "other.bin"):
        with pytest.raises(NoSeeds):
            await passed(gate, reader, [path], patience=0.05)
    assert reader.wanted
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)
    await reader.of.until(lambda: not reader.wanted)
    reader.of.engine.allow(None)
    await passed(gate, reader)


class OnDisk:
    """Stands for a reader of a version whose publisher lied: nothing is recorded of its files."""

    def __init__(self, directory: Path) -> None:
        self.data = {f"epoch3/{path.name}": path.read_bytes() for path in directory.iterdir()}
        self.passed: set[str] = set()
        files = [SimpleNamespace(path=path, size=len(data)) for path, data in self.data.items()]
        self.source = SimpleNamespace(manifest=SimpleNamespace(body=SimpleNamespace(findings=(), files=files)))

    def file(self, path: str) -> Any:
        return next(file for file in self.source.manifest.body.files if file.path == path)

    async def read(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        yield self.data[path][start:end]

    def require_patience(self, began: float, patience: float) -> None:
        """A slow machine is no reason to give up."""


async def refused(gate: Gate, save: Path) -> dict[str, str]:
    """What is said of the files that are not handed over."""
    reader, found = OnDisk(save), {}
    for path in reader.data:
        try:
            await gate.require_readable(cast(VersionReader, reader), path, 0)
        except UnsafeContent as exc:
            found[path.removeprefix("epoch3/")] = exc.fact
    return found


async def test_what_the_metadata_of_a_distributed_checkpoint_calls_an_object_is_judged(gate: Gate, save: Path) -> None:
    assert await refused(gate, save) == {}
    test_distributed_safety.hide(save)
    assert await refused(gate, save) == {
        "__0_0.distcp": "unreadable: epoch3/__0_0.distcp: the object 'epoch' is no archive of its own"
    }


@pytest.mark.parametrize(
    ("edit", "files"),
    [
        (lambda m, e: setattr(e, "relative_path", "../x"), {".metadata"}),
        (lambda m, e: setattr(m, "storage_data", None), {".metadata", "__0_0.distcp"}),
    ],
)
async def test_metadata_that_names_other_places_or_nothing_is_refused(
    gate: Gate, save: Path, edit: Any, files: set[str]
) -> None:
    test_distributed_safety.change(save, edit)
    assert set(await refused(gate, save)) == files
