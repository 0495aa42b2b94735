"""Checks of what ``torch.distributed.checkpoint`` writes: metadata, shards, and every item that it names in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from p2pckpt.checkpoint.formats import safetensors, torch_legacy
from p2pckpt.checkpoint.formats.dcp import METADATA, SHARD, DcpItem, DcpMetadata, is_metadata, read_metadata
from p2pckpt.checkpoint.formats.layout import Malformed, short
from p2pckpt.checkpoint.formats.pickle_trace import Allowance, trace
from p2pckpt.checkpoint.formats.pickle_walk import MAX_BYTES, PickleUnreadable
from p2pckpt.checkpoint.formats.source import Slice
from p2pckpt.jobs.packing import FileSource
from p2pckpt.jobs.saves.archives import ArchiveCheck
from p2pckpt.jobs.saves.formats import FileCheck
from p2pckpt.jobs.saves.numbers import Numbers
from p2pckpt.jobs.saves.report import Report
from p2pckpt.jobs.saves.roles import role_of_file, roles_of_entries
from p2pckpt.jobs.scanning import ScannedFile

_MAX_NAMED: Final = 5


def check_distributed(directory: str, files: Mapping[str, ScannedFile], report: Report, numbers: Numbers) -> None:
    """Check the distributed checkpoint in one directory; ``files`` are those directly in it, by their names.

    ``directory`` is its path in the save with a slash at the end, or empty.
    """
    described: set[str] = set()
    metadata = [name for name in files if is_metadata(name)]
    for name in metadata:
        found = _metadata(directory + name, files[name], report)
        if found is None:
            described.update(files)
            continue
        described |= {item.file for item in found.items}
        _items(directory, found, files, report, numbers)
        own = role_of_file(directory + name)
        tops = [entry.name.partition(".")[0] for entry in found.items]
        report.roles += [own] if own is not None else list(roles_of_entries(list(dict.fromkeys(tops))))
        report.tensors += len(found.tensors)
    if not metadata:
        report.problem(directory + METADATA, "it is missing, so the save was not finished")
        return
    for name in sorted(files.keys() - described):
        if name.endswith(SHARD):
            report.warn(directory + name, "the metadata names nothing in it")


def is_distributed(files: Mapping[str, ScannedFile]) -> bool:
    """Whether the files of one directory, by their names, are a distributed checkpoint, or what is left of one."""
    return any(name.endswith(SHARD) or (is_metadata(name) and _is_pickle(file)) for name, file in files.items())


def _is_pickle(file: ScannedFile) -> bool:
    with FileSource(file) as source:
        return torch_legacy.looks_like(source.read(0, min(2, source.size)))


def _metadata(path: str, file: ScannedFile, report: Report) -> DcpMetadata | None:
    with FileSource(file) as source:
        if not source.size:
            report.problem(path, "it is empty")
            return None
        if source.size > MAX_BYTES:
            report.warn(path, "it is too large to be followed, so what lies in the shards was not checked")
            return None
        try:
            return read_metadata(source.read(0, source.size))
        except Malformed as exc:
            report.problem(path, f"it is damaged ({exc})")
        except PickleUnreadable as exc:
            followed = trace(Slice(source), 0, Allowance())
            if followed.whole or followed.gave_up:
                report.warn(path, f"it can't be followed ({exc}), so what lies in the shards was not checked")
            else:
                report.problem(path, "it is damaged or cut off")
    return None


def _items(
    directory: str, metadata: DcpMetadata, files: Mapping[str, ScannedFile], report: Report, numbers: Numbers
) -> None:
    missing = list(metadata.missing())
    for name in missing[:_MAX_NAMED]:
        report.problem(directory + METADATA, f"it does not say where all of {short(name)} is")
    if len(missing) > _MAX_NAMED:
        report.problem(directory + METADATA, f"nor where {len(missing) - _MAX_NAMED:,} more are")
    for name, items in sorted(metadata.by_file().items()):
        file = files.get(name)
        if file is None:
            report.problem(directory, f"the shard {short(name)} with {len(items):,} tensors and objects is missing")
            continue
        with FileSource(file) as source:
            _ShardCheck(directory + name, source, report, numbers).run(items)


class _ShardCheck:
    def __init__(self, path: str, source: FileSource, report: Report, numbers: Numbers) -> None:
        self._path = path
        self._source = source
        self._report = report
        self._numbers = numbers

    def run(self, items: list[DcpItem]) -> None:
        """``items`` in the order in which they lie in the file."""
        if safetensors.looks_like(self._source.read(0, min(16, self._source.size))):
            FileCheck(self._path, self._source, self._report, self._numbers).run()
            return  # places of items are not those of safetensors' own header
        end = 0
        for item in items:
            self._report.checkpoint()
            if item.offset + item.length > self._source.size:
                self._report.problem(
                    self._path,
                    f"it is cut off: {short(item.name)} should end at byte {item.offset + item.length:,} "
                    f"of {self._source.size:,}",
                )
                return
            if item.offset < end:
                self._report.problem(self._path, f"{short(item.name)} overlaps what is before it")
                return
            end = item.offset + item.length
            self._item(item)

    def _item(self, item: DcpItem) -> None:
        if not item.plain:
            return
        if self._source.read(item.offset, min(4, item.length)) != b"PK\x03\x04":
            self._report.problem(self._path, f"{short(item.name)} is damaged: it does not begin as torch writes it")
            return
        before = self._report.tensors
        ArchiveCheck(self._path, self._source, self._report, self._numbers, offset=item.offset, length=item.length).run(
            item.name
        )
        self._report.tensors = before  # the metadata counts them
