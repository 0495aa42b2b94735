"""Checks of single files: each loads as its content, or its name, says it does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from p2pckpt.checkpoint.finite import is_floating
from p2pckpt.checkpoint.formats import gguf, safetensors, torch_legacy, torch_zip
from p2pckpt.checkpoint.formats.layout import FileLayout, Malformed, read_at
from p2pckpt.checkpoint.formats.torch_names import bytes_of
from p2pckpt.jobs.packing import FileSource
from p2pckpt.jobs.saves.archives import ArchiveCheck, roles_of, top_of
from p2pckpt.jobs.saves.names import is_torch_bin
from p2pckpt.jobs.saves.numbers import Numbers
from p2pckpt.jobs.saves.report import Report
from p2pckpt.jobs.saves.roles import role_of_file, roles_of_entries
from p2pckpt.jobs.saves.shape import Role

MAX_JSON: Final = 64 << 20
"""Bytes of JSON that are parsed; tokenizers take some 30 MB."""
_PICKLES: Final = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_NEVER_EMPTY: Final = (*_PICKLES, ".bin", ".safetensors", ".gguf", ".json", ".npz", ".npy", ".distcp", ".model")


@dataclass(slots=True)
class Looked:
    """What one file turned out to hold."""

    names: set[str] = field(default_factory=set)
    """Of its tensors."""
    json: object = None
    roles: list[Role] = field(default_factory=list)


class FileCheck:
    """The check of one file, by what it begins with, then by its name."""

    def __init__(self, path: str, source: FileSource, report: Report, numbers: Numbers) -> None:
        self._path = path
        self._source = source
        self._report = report
        self._numbers = numbers
        self.found = Looked()

    def run(self) -> Looked:
        """What it holds; problems go to the report."""
        name = self._path.lower()
        if not self._source.size:
            (self._report.problem if name.endswith(_NEVER_EMPTY) else self._report.warn)(self._path, "it is empty")
            return self.found
        start = self._source.read(0, min(16, self._source.size))
        try:
            self._by_content(name, start)
        except Malformed as exc:
            self._report.problem(self._path, f"it is damaged or cut off ({exc})")
        own = role_of_file(self._path)
        if own is not None and (own is not Role.WEIGHTS or not self.found.roles):
            self.found.roles = [own]
        return self.found

    def _by_content(self, name: str, start: bytes) -> None:
        if torch_zip.looks_like(start):
            self._archive()
        elif gguf.looks_like(start) or name.endswith(".gguf"):
            self._require(gguf.looks_like(start), "GGUF")
            self._layout(gguf.read_layout(self._source))
        elif safetensors.looks_like(start) or name.endswith(".safetensors"):
            self._require(safetensors.looks_like(start), "safetensors")
            self._safetensors()
        elif name.endswith(".json"):
            self._json()
        elif self._is_of_torch(name):
            if not torch_legacy.looks_like(start):
                raise Malformed("it is neither an archive nor a pickle")
            self._pickle()

    def _is_of_torch(self, name: str) -> bool:
        """Whether a file of that name is a pickle if it is no archive; ``.bin`` alone says nothing."""
        return name.endswith(_PICKLES) or is_torch_bin(name.rpartition("/")[2])

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise Malformed(f"it does not begin as {what} does")

    # -- formats

    def _archive(self) -> None:
        archive = ArchiveCheck(self._path, self._source, self._report, self._numbers).run()
        if archive is not None:
            self.found.names = {tensor.name for tensor in archive.named}
            self.found.roles = roles_of(archive)

    def _safetensors(self) -> None:
        layout = safetensors.read_layout(self._source)
        at = 8 + int.from_bytes(read_at(self._source, 0, 8), "little")
        for tensor in layout.tensors:
            if tensor.offset != at:
                raise Malformed(f"safetensors: {tensor.offset - at:,} bytes belong to no tensor")
            at += tensor.length
        if at != self._source.size:
            raise Malformed(f"safetensors: {self._source.size - at:,} bytes follow the last tensor")
        self._layout(layout)

    def _layout(self, layout: FileLayout) -> None:
        self._report.tensors += len(layout.tensors)
        self.found.names = {tensor.name for tensor in layout.tensors}
        for tensor in layout.tensors:
            self._numbers_of(tensor.name, tensor.offset, tensor.length, tensor.dtype)

    def _pickle(self) -> None:
        read = torch_legacy.read_pickle_file(self._source)
        for text in read.warnings:
            self._report.warn(self._path, text)
        self._report.tensors += len(read.named)
        self.found.names = {tensor.name for tensor in read.named}
        self.found.roles = list(roles_of_entries(list(top_of(read.value))))
        for tensor in read.named:
            place = read.ranges.get(tensor.storage.key)
            if place is None:
                continue
            extent = bytes_of(tensor) or (0, place[1])
            if sum(extent) > place[1]:
                self._report.tensor(self._path, tensor.name, "has bytes that the file lacks")
            else:
                self._numbers_of(tensor.name, place[0] + extent[0], extent[1], tensor.dtype)

    def _json(self) -> None:
        if self._source.size > MAX_JSON:
            self._report.warn(self._path, "it is too large to be parsed")
            return
        raw = self._source.read(0, self._source.size)
        try:
            self.found.json = json.loads(raw)
        except (ValueError, RecursionError) as exc:
            if not _is_json_by_line(raw):
                raise Malformed(f"it is no JSON: {type(exc).__name__}") from exc

    def _numbers_of(self, name: str, offset: int, length: int, dtype: str) -> None:
        self._report.checkpoint()
        if not is_floating(dtype) or self._report.allows(self._path, name):
            return
        first = self._numbers.first_nonfinite(self._source, offset, length, dtype)
        if first is not None:
            self._report.not_finite(self._path, name, first)


def _is_json_by_line(raw: bytes) -> bool:
    """Whether it is a log of several lines, each an object: some loggers call that ``.json`` too."""
    lines = raw.splitlines()
    try:
        return len(lines) > 1 and all(isinstance(json.loads(line), dict) for line in lines if line.strip())
    except (ValueError, RecursionError):
        return False
