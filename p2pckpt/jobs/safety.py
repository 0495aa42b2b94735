"""The pickle gate: what is published and what was received is scanned before anybody can load it.

Nothing is ever unpickled, and a file that passes is never called safe: no known-bad was found in it.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from p2pckpt.checkpoint import distributed_pickles
from p2pckpt.checkpoint.formats import ByteSource
from p2pckpt.checkpoint.formats.dcp import DcpItem, is_metadata
from p2pckpt.checkpoint.pickles import Finding, Verdict, judge_file
from p2pckpt.errors import P2pckptError, UnsafeContent

FLAG: Final = "--allow-unsafe-pickle"
_SHOWN: Final = 20
_LONGEST: Final = 500


class _File:
    def __init__(self, descriptor: int, path: Path) -> None:
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._path = path

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._descriptor, length, offset)
        if len(data) != length:
            raise P2pckptError(f"{self._path} became shorter while it was read", kept="nothing was changed")
        return data


def scan_files(files: Iterable[tuple[str, Path]], check: Callable[[], None] = lambda: None) -> tuple[Finding, ...]:
    """What is to be said about files, given as (path in the checkpoint, where it lies); ``check`` is called often."""
    there = dict(files)
    found = [finding for path, place in there.items() if (finding := _scan_file(path, place, check)) is not None]
    for path in there:
        if is_metadata(path):
            found += _scan_distributed(path, there, check)
    return tuple(found)


def require_publishable(findings: Sequence[Finding], *, allow: bool) -> None:
    """Raises ``UnsafeContent`` for what is not published: the dangerous never, the rest unless ``allow`` says so."""
    if dangerous := [finding for finding in findings if finding.verdict is Verdict.DANGEROUS]:
        raise UnsafeContent(
            _listed(dangerous), kept="nothing was published", next_step="take it out, or: p2pckpt convert FILE"
        )
    if findings and not allow:
        raise UnsafeContent(
            _listed(findings),
            kept="nothing was published",
            next_step=f"look at it; if it has to be there: {FLAG}, which receivers are told",
        )


def require_receivable(findings: Sequence[Finding], target: Path, *, allow: bool) -> None:
    """Raises ``UnsafeContent`` for what is not handed over unless ``allow`` says so; unknown names are."""
    refused = [finding for finding in findings if finding.verdict is not Verdict.UNKNOWN]
    if refused and not allow:
        raise UnsafeContent(
            _listed(refused),
            kept=f"everything received is in the store and beside {target}, and was not handed over",
            next_step=f"tell the publisher; to have it all the same: p2pckpt get with {FLAG} and --to {target}",
        )


def as_warnings(findings: Sequence[str], whose: str = "") -> tuple[str, ...]:
    """Recorded findings as a person reads them: some of them, none of them endless. They are others' text."""
    shown = tuple(f"{whose}{text[:_LONGEST]}" for text in findings[:_SHOWN])
    return shown if len(findings) <= _SHOWN else (*shown, f"{whose}{len(findings) - _SHOWN:,} more findings")


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[ByteSource]:
    """A file as the checkpoint core reads it. Raises ``P2pckptError`` where the disk does not give it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield _File(descriptor, path)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise P2pckptError(f"{path} can't be read: {exc.strerror}", kept="nothing was changed") from exc


def _scan_file(path: str, place: Path, check: Callable[[], None]) -> Finding | None:
    with open_source(place) as source:
        return judge_file(path, source, check)


def _scan_distributed(path: str, files: Mapping[str, Path], check: Callable[[], None]) -> Iterator[Finding]:
    """What the metadata of a distributed checkpoint makes of the files beside it."""
    with open_source(files[path]) as source:
        objects, finding = distributed_pickles.objects_in(path, source)
    if finding is not None:
        yield finding
    by_file: dict[str, list[DcpItem]] = defaultdict(list)
    for item in objects:
        by_file[item.file].append(item)
    for name, items in by_file.items():
        check()
        shard = path[: path.rfind("/") + 1] + name
        if (finding := distributed_pickles.misplaced(path, name)) is not None:
            yield finding
        elif shard in files:
            with open_source(files[shard]) as source:
                if (finding := distributed_pickles.judge_objects(shard, items, source)) is not None:
                    yield finding


def _listed(findings: Sequence[Finding]) -> str:
    more = f"; and {len(findings) - 3:,} more files" if len(findings) > 3 else ""
    return "; ".join(str(finding) for finding in findings[:3]) + more
