"""Checks of zip archives, above all of those that ``torch.save`` writes: structure, checksums, numbers."""

from __future__ import annotations

import zlib
from typing import Final

from p2pckpt.checkpoint.finite import is_floating
from p2pckpt.checkpoint.formats.inflated import Budget, Inflated, NotInflated
from p2pckpt.checkpoint.formats.layout import Malformed, short
from p2pckpt.checkpoint.formats.pickle_trace import Allowance, trace
from p2pckpt.checkpoint.formats.pickle_walk import Mapping
from p2pckpt.checkpoint.formats.source import Slice
from p2pckpt.checkpoint.formats.torch_names import NamedTensor, bytes_of
from p2pckpt.checkpoint.formats.torch_zip import Archive, read_archive
from p2pckpt.checkpoint.formats.zip_directory import ZipEntry, data_offset, read_directory
from p2pckpt.jobs.packing import FileSource
from p2pckpt.jobs.saves.numbers import Numbers
from p2pckpt.jobs.saves.report import Report
from p2pckpt.jobs.saves.roles import roles_of_entries
from p2pckpt.jobs.saves.shape import Role

_STEP: Final = 1 << 20
_LIGHTNING: Final = "pytorch-lightning_version"
_FREE: Final = ("callbacks.", "loops.")
"""Entries of a Lightning save in which infinities are ordinary: a best score begins with one."""


class ArchiveCheck:
    """The check of one archive: a whole file, or a stretch of one. Reads every byte of it once."""

    def __init__(
        self, path: str, source: FileSource, report: Report, numbers: Numbers, *, offset: int = 0, length: int = -1
    ) -> None:
        self._path = path
        self._file = source
        self._offset = offset
        self._source = Slice(source, offset, source.size - offset if length < 0 else length)
        self._report = report
        self._numbers = numbers
        self._budget = Budget()
        self._free: tuple[str, ...] = ()

    def run(self, name: str = "") -> Archive | None:
        """What was saved, None where it is no archive of ``torch.save``; problems go to the report.

        ``name`` is that of the tensor that the archive holds, if it holds one.
        """
        try:
            entries = read_directory(self._source)
            self._report.checkpoint()
            if sum(entry.length for entry in entries) > self._source.size:
                raise Malformed("zip: its members overlap")
            archive = read_archive(self._source, entries)
            storages = {} if archive is None else _Storages(archive, name).by_offset
            self._free = _FREE if archive is not None and _LIGHTNING in top_of(archive.value) else ()
            checksums = any(entry.crc for entry in entries)
            for entry in entries:
                self._member(entry, storages.get(data_offset(self._source, entry)), checksums)
        except Malformed as exc:
            self._report.problem(self._path, f"it is damaged or cut off ({exc})")
            return None
        except EOFError:
            self._report.problem(self._path, "it is cut off")
            return None
        if not checksums and any(entry.length for entry in entries):
            self._report.warn(self._path, "it was written without checksums, so only its structure was checked")
        if archive is not None:
            self._torch(archive)
        return archive

    def _member(self, entry: ZipEntry, storage: _Storage | None, checksums: bool) -> None:
        start = data_offset(self._source, entry)
        if not entry.stored:
            crc: int | None = self._inflated(entry, start)
            finite = True
        else:
            dtype = storage.dtype if storage is not None else ""
            crc, finite = self._numbers.sum_and_test(self._file, self._offset + start, entry.length, dtype)
        if crc is not None and checksums and crc != entry.crc:
            what = short(storage.name) if storage is not None and storage.name else short(entry.name)
            self._report.problem(self._path, f"{what} is damaged: its bytes do not have their checksum")
        elif not finite and storage is not None:
            self._not_finite(storage, start)

    def _not_finite(self, storage: _Storage, start: int) -> None:
        """Name the tensors that are; what lies in a storage beside its tensors is nobody's."""
        for tensor in storage.tensors:
            extent = bytes_of(tensor) or (0, storage.length)
            if extent[1] > storage.length - extent[0] or tensor.dtype != storage.dtype:
                extent = (0, storage.length)
            name = tensor.name or storage.name
            if name.startswith(self._free) or self._report.allows(self._path, name):
                continue
            place = self._offset + start + extent[0]
            first = self._numbers.first_nonfinite(self._file, place, extent[1], storage.dtype)
            if first is not None:
                self._report.not_finite(self._path, name, first)

    def _inflated(self, entry: ZipEntry, start: int) -> int | None:
        """CRC-32 of a compressed member; None where it is not looked at."""
        if entry.method != 8 or entry.encrypted:
            self._report.warn(self._path, f"{short(entry.name)} is compressed in a way that is not read")
            return None
        member = Inflated(self._source, "deflate", start, entry.length, self._budget)
        crc, at = 0, 0
        try:
            while block := member.peek(at, _STEP):
                self._report.checkpoint()
                crc, at = zlib.crc32(block, crc), at + len(block)
        except NotInflated as exc:
            if self._budget.left < 0:
                self._report.warn(self._path, f"{short(entry.name)} is too large to be decompressed, so not checked")
            else:
                self._report.problem(self._path, f"{short(entry.name)} can't be decompressed: {exc}")
            return None
        return crc

    def _torch(self, archive: Archive) -> None:
        report = self._report
        report.tensors += len(archive.named)
        if archive.big_endian:
            report.warn(self._path, "its numbers are big-endian, so they were not tested")
        if not archive.followed:
            self._pickle(archive)
        for tensor in archive.named:
            place = archive.ranges.get(tensor.storage.key)
            extent = bytes_of(tensor)
            if place is None or (extent is not None and sum(extent) > place[1]):
                report.tensor(self._path, tensor.name, "has bytes that the archive lacks")

    def _pickle(self, archive: Archive) -> None:
        """Whether a pickle that could not be rebuilt is at fault, or only unusual."""
        entry = next(entry for entry in archive.entries if entry.name.endswith("data.pkl"))
        member = Slice(self._source, data_offset(self._source, entry), entry.length)
        found = trace(member, 0, Allowance())
        if entry.stored and not found.whole and not found.gave_up:
            self._report.problem(self._path, "its pickle breaks off")
        else:
            self._report.warn(self._path, "its pickle can't be followed, so its tensors were not tested")


class _Storage:
    """One member that holds numbers, and which tensors look at it."""

    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self.dtype = ""
        self.length = length
        self.tensors: list[NamedTensor] = []


class _Storages:
    """An archive's storages by where they start."""

    def __init__(self, archive: Archive, name: str) -> None:
        by_key = {key: _Storage(name, length) for key, (_, length) in archive.ranges.items()}
        for tensor in archive.named if not archive.big_endian else ():
            storage = by_key.get(tensor.storage.key)
            if storage is None:
                continue
            storage.name = storage.name or tensor.name
            storage.tensors.append(tensor)
            if not storage.dtype or is_floating(tensor.dtype):
                storage.dtype = tensor.dtype
        self.by_offset = {archive.ranges[key][0]: storage for key, storage in by_key.items() if storage.length}


def top_of(value: object) -> dict[str, object]:
    """The entries of a saved dict by their names; empty for anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {key: item for key, item in value.pairs if isinstance(key, str)}


def roles_of(archive: Archive) -> list[Role]:
    """What parts of a run's state the archive holds, by the names at the top of what was saved."""
    return list(roles_of_entries(list(top_of(archive.value))))
