"""A directory before it is published: what is in it, and what its card says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from p2pckpt import atomic
from p2pckpt.checkpoint.card import Card, read_card, with_fields
from p2pckpt.checkpoint.licences import NO_LICENCE
from p2pckpt.control.messages import FileRow
from p2pckpt.control.publish_messages import CardFields, FolderReport, LookRequest
from p2pckpt.errors import Cancelled, NotAllowed
from p2pckpt.jobs.layouts import Layouts
from p2pckpt.jobs.packing import FileSource
from p2pckpt.jobs.safety import as_warnings, scan_files
from p2pckpt.jobs.scanning import Scan, ScannedFile, scan
from p2pckpt.jobs.services import Services
from p2pckpt.store.checkout import free_bytes
from p2pckpt.tracker_protocol import Visibility

T = TypeVar("T")

CARD: Final = "README.md"
MAX_CARD: Final = 256 << 10
_MAX_ROWS: Final = 2_000
"""Files that a report lists."""


def default_name(directory: Path) -> str:
    """A share's name from a directory's, with what names can't hold replaced. Blocks on the disk."""
    name = "".join(c if c.isalnum() or c in ".+-_" else "-" for c in directory.resolve().name).strip("-.+")
    return name[:100] or "checkpoint"


def places(found: Scan) -> list[tuple[str, Path]]:
    """Every file as the pickle gate takes it."""
    return [(file.path, file.location) for file in found.files]


def readme_of(directory: Path, found: Scan) -> bytes:
    """The card's file, at most 256 KiB of it; empty without one."""
    if not any(file.path == CARD for file in found.files):
        return b""
    with (directory / CARD).open("rb") as source:
        return source.read(MAX_CARD)


async def look(services: Services, request: LookRequest) -> FolderReport:
    """What is in a directory. Reads headers and pickles only, whatever its size; writes nothing."""
    report = await cancellable(lambda check: _look(services, request, check))
    share = await services.shares.own(report.name)
    return report if share is None else replace(report, known_as=Visibility(share.visibility))


def describe(directory: Path, fields: CardFields) -> None:
    """Write ``fields`` into the front matter of the directory's card; the rest of the card stays as it is."""
    path = directory / CARD
    try:
        before = path.read_bytes() if path.exists() else b""
        after = described(before, fields)
        if after != before:
            atomic.write(path, after, mode=path.stat().st_mode & 0o777 if before else 0o644)
    except OSError as exc:
        raise NotAllowed(f"{path} can't be written: {exc.strerror}", kept="nothing was published") from exc


def described(readme: bytes, fields: CardFields) -> bytes:
    """The card's file with ``fields`` in its front matter; what it says already stays as it is written."""
    old = read_card(readme)
    wanted = {
        "license": (fields.licence, old.licence),
        "base_model": (fields.base_model, old.base_model),
        "tags": (fields.tags, old.tags),
    }
    return with_fields(readme, {key: new for key, (new, present) in wanted.items() if new != present})


def card_warnings(card: Card, directory: Path) -> tuple[str, ...]:
    """What a publisher should know about the card of ``directory``, one sentence each, with what helps."""
    if not card.text and card.problems == (NO_LICENCE,):
        return (f"there is no README.md, so no licence is named: p2pckpt card {directory} --write makes one",)
    helped = "no licence is named: add 'license: …' to the front matter of README.md"
    return tuple(helped if problem == NO_LICENCE else problem for problem in card.problems)


def _look(services: Services, request: LookRequest, check: Callable[[], None]) -> FolderReport:
    directory = Path(request.path)
    found = scan(directory, check)
    layouts = Layouts(found.files)
    rows = tuple(FileRow(file.path, file.size, 0, _kind(file, layouts)) for file in found.files[:_MAX_ROWS])
    findings = as_warnings(tuple(map(str, scan_files(places(found), check))))
    card = read_card(readme_of(directory, found))
    return FolderReport(
        path=str(directory),
        name=request.name or default_name(directory),
        known_as=None,
        files=rows,
        file_count=len(found.files),
        size=found.size,
        licence=card.licence,
        base_model=card.base_model,
        tags=card.tags,
        has_card=any(file.path == CARD for file in found.files),
        warnings=(*found.warnings, *card.problems, *findings),
        disk_free=free_bytes(services.layout.root),
    )


def _kind(file: ScannedFile, layouts: Layouts) -> str:
    with FileSource(file) as source:
        return layouts.of(file.path, source).kind


async def cancellable(work: Callable[[Callable[[], None]], T]) -> T:
    """``work`` in a thread; it is given what to call often, which ends it once nobody waits for it any more."""
    left = threading.Event()

    def check() -> None:
        if left.is_set():
            raise Cancelled("nobody waits for it any more")

    try:
        return await asyncio.to_thread(work, check)
    finally:
        left.set()
