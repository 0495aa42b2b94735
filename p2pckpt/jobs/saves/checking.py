"""Whether a save is whole: every file loads as its format says, nothing is missing, every number is finite.

What no check can find: a safetensors file in which finite numbers were replaced by others, such as the zeros of blocks
that a power cut kept from the disk; the format has no checksums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pckpt.checkpoint.formats.dcp import SHARD, is_metadata
from p2pckpt.errors import BadUsage
from p2pckpt.jobs.packing import FileSource, changed
from p2pckpt.jobs.saves.completeness import check_order, check_parts, check_series, check_weight_maps
from p2pckpt.jobs.saves.distributed import check_distributed, is_distributed
from p2pckpt.jobs.saves.finding import writer_by, writer_of
from p2pckpt.jobs.saves.formats import FileCheck, Looked
from p2pckpt.jobs.saves.numbers import Numbers
from p2pckpt.jobs.saves.report import Report
from p2pckpt.jobs.saves.save import Writer
from p2pckpt.jobs.saves.shape import Shape
from p2pckpt.jobs.scanning import Scan, ScannedFile, scan, scan_places


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found out."""

    problems: tuple[str, ...]
    """Why it must not be restored, one clause each, naming file and tensor; none: it passed. Names in it are the
    trainer's text, to be cleaned before they are shown."""
    warnings: tuple[str, ...]
    """What was not looked at, or is unusual."""
    tensors: int
    bytes: int
    """Of all files."""
    shape: Shape
    """For the check of the next save of the run, if this one passed."""
    nonfinite: bool = False
    """Whether there are problems and each is of a tensor that is not finite: ``allow_nonfinite`` would let it pass."""


def check(
    directory: Path,
    before: Shape | None = None,
    allow_nonfinite: Sequence[str] = (),
    checkpoint: Callable[[], None] = lambda: None,
    *,
    writer: Writer | None = None,
    as_written: bool = False,
) -> Checked:
    """Check the snapshot in ``directory``; ``before`` is the shape of the last save of the run that passed.

    NaN and infinity are a problem in every floating tensor whose name, or ``file:name``, matches none of the patterns
    in ``allow_nonfinite``. ``checkpoint`` is called often and may raise. ``writer`` is found out where it is not given.
    ``as_written`` says that the files have the times at which their writer wrote them, as in a snapshot; then a save
    that a killed trainer left half written over an earlier one of the same name is found too.

    What is in the files never makes this raise. Raises ``NotFound`` without the directory, ``ChangedWhileReading``
    when a file is written to meanwhile, and ``P2pckptError`` for what the disk does not give. Reads every byte once,
    in a memory of some MB, headers and pickles excepted.
    """
    report = Report(checkpoint, allow_nonfinite)
    try:
        scanned = scan(directory, checkpoint)
    except BadUsage as exc:
        return Checked((exc.fact,), (), 0, 0, Shape())
    return _check(scanned, writer or writer_of(directory), before, report, as_written=as_written)


def check_places(
    name: str,
    places: Mapping[str, Path],
    allow_nonfinite: Sequence[str] = (),
    checkpoint: Callable[[], None] = lambda: None,
) -> Checked:
    """Check a save of that ``name`` whose files are where ``places`` says, each by its path in the save.

    Otherwise as ``check``, which looks at everything that lies in a directory.
    """
    top: dict[str, Path] = {}
    for path, location in places.items():
        first, inside, _ = path.partition("/")
        top[first] = location.parent if inside else location
    scanned = scan_places(places)
    return _check(scanned, writer_by(name, top), None, Report(checkpoint, allow_nonfinite), as_written=False)


def _check(scanned: Scan, writer: Writer, before: Shape | None, report: Report, *, as_written: bool) -> Checked:
    looked = _look_at_files(scanned, report)
    paths = [file.path for file in scanned.files]
    check_series(paths, report)
    check_weight_maps(looked, report)
    shape = Shape.of(report.roles)
    if as_written:
        check_order(writer, {file.path: file.identity[3] for file in scanned.files}, report)
    check_parts(writer, looked, shape, before, report)
    nonfinite = bool(report.problems) and report.nonfinite == len(report.problems)
    report.finish()
    return Checked(
        tuple(report.problems),
        tuple(report.warnings),
        report.tensors,
        scanned.size,
        shape,
        nonfinite,
    )


def _look_at_files(scanned: Scan, report: Report) -> dict[str, Looked]:
    numbers = Numbers(report.checkpoint)
    distributed: dict[str, dict[str, ScannedFile]] = defaultdict(dict)
    looked: dict[str, Looked] = {}
    for file in scanned.files:
        parent, slash, name = file.path.rpartition("/")
        distributed[parent + slash][name] = file
        if name.endswith(SHARD) or is_metadata(name):
            continue
        with FileSource(file) as source:
            looked[file.path] = FileCheck(file.path, source, report, numbers).run()
        report.roles += looked[file.path].roles
    for parent, files in distributed.items():
        if is_distributed(files):
            check_distributed(parent, files, report, numbers)
    for file in scanned.files:
        if not file.is_unchanged():
            raise changed(file)
    return looked
