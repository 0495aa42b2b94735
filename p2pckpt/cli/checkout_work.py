"""What ``checkout`` does: find or restore a whole checkout, and have a bridge place it where another program looks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from msgspec.structs import replace

from p2pckpt.bridges import hub_cache, image_tools
from p2pckpt.bridges.placing import Made, Placement, Placements, Way, place_all, take_away
from p2pckpt.bridges.sources import Found, known_of, look, still_there
from p2pckpt.checkpoint.pickles import Verdict
from p2pckpt.checkpoint.weight_kinds import WeightKind
from p2pckpt.cli import text
from p2pckpt.cli.get import agree
from p2pckpt.cli.options import Invocation
from p2pckpt.cli.progress import Progress, summary
from p2pckpt.cli.session import follow, talk
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.control.read_messages import Contents
from p2pckpt.errors import Cancelled, ChangedWhileReading, P2pckptError, UnsafeContent, VerificationFailed
from p2pckpt.jobs.safety import FLAG, as_warnings, scan_files

_THREADS: Final = 2
_LOOK_EVERY: Final = 0.2
"""Seconds between two states of the line that tells how far the comparison is."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """What was placed."""

    share: str
    version: int
    source: str
    """The checkout."""
    paths: tuple[str, ...]
    """What was made, or was there already."""
    copied: int
    """Bytes that were copied, and not shared with the checkout."""
    said: tuple[str, ...] = ()
    """How to go on, for people."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a target is given."""

    contents: Contents
    found: Found
    tags: tuple[str, ...]
    manifests: tuple[str, ...]
    """Of all versions of the share."""
    placements: Placements
    copy: bool
    stop: threading.Event

    def check(self) -> None:
        require_wanted(self.stop)


class Target(Protocol):
    """A place for versions. Its methods block on the disk."""

    def require(self, contents: Contents) -> None:
        """Raises what speaks against placing this version, before anything is read or fetched."""
        ...

    def place(self, job: Job) -> tuple[Made, tuple[str, ...], tuple[str, ...]]:
        """Files, what to print, and what to say."""
        ...

    def made(self, placement: Placement) -> bool:
        """Whether a placement is one of this target's."""
        ...

    def remove(self, placement: Placement, placements: Placements) -> tuple[int, list[str]]:
        """As ``placing.take_away``."""
        ...


@dataclass(frozen=True, slots=True)
class HubCache:
    cache: Path
    repo_id: str
    """Empty: the share's name."""

    def require(self, contents: Contents) -> None:
        hub_cache.check_repo_id(self.repo_id or contents.share)

    def place(self, job: Job) -> tuple[Made, tuple[str, ...], tuple[str, ...]]:
        repo = self.repo_id or job.contents.share
        linked = hub_cache.link(
            job.contents, job.found, self.cache, repo, job.tags, job.manifests, job.placements,
            copy=job.copy, check=job.check,
        )  # fmt: skip
        said = (
            f'from_pretrained("{repo}") finds it now, without a network: HF_HUB_OFFLINE=1',
            f"revisions: {', '.join(linked.refs)}",
        )
        return linked.made, (str(linked.snapshot),), said

    def made(self, placement: Placement) -> bool:
        wanted = hub_cache.folder(self.cache, self.repo_id) if self.repo_id else None
        directory = Path(placement.directory)
        return placement.tool == hub_cache.TOOL and (directory == wanted if wanted else directory.parent == self.cache)

    def remove(self, placement: Placement, placements: Placements) -> tuple[int, list[str]]:
        return hub_cache.unlink(placement, placements)


class _Files:
    """Files at names of their own."""

    def __init__(self, tool: str, directory: Path) -> None:
        self.tool = tool
        self.directory = directory

    def made(self, placement: Placement) -> bool:
        return (placement.tool, placement.directory) == (self.tool, str(self.directory))

    def remove(self, placement: Placement, placements: Placements) -> tuple[int, list[str]]:
        found = take_away(placement)
        placements.forget(placement)
        return found

    def put(self, job: Job, targets: dict[str, Path]) -> Made:
        earlier = job.placements.in_directory(self.tool, self.directory)
        pairs = [(job.found.files[path], target) for path, target in targets.items()]
        made = place_all(pairs, earlier, copy=job.copy, check=job.check)
        job.placements.save(
            Placement(
                tool=self.tool,
                directory=str(self.directory),
                share_id=job.contents.share_id,
                share=job.contents.share,
                version=job.contents.version,
                files=made.files,
                sources=job.found.identities,
            )
        )
        return made


class Plain(_Files):
    """All files of a version, by their own paths."""

    def __init__(self, directory: Path) -> None:
        super().__init__("directory", directory)

    def require(self, contents: Contents) -> None:
        """Anything goes."""

    def place(self, job: Job) -> tuple[Made, tuple[str, ...], tuple[str, ...]]:
        made = self.put(job, {file.path: self.directory / file.path for file in job.contents.files})
        shared = Way.LINK in made.ways.values()
        said = "its files are the checkout's own: what changes one changes the other" if shared else ""
        return made, (str(self.directory),), (said,) if said else ()


class ImageTool(_Files):
    """What an image program can use of a version."""

    def __init__(
        self, tool: image_tools.Tool, root: Path, told: Sequence[tuple[str, str]], allow_unsafe_pickle: bool
    ) -> None:
        super().__init__(tool.name, root)
        self._program = tool
        self._told = [(glob, WeightKind(kind)) for glob, kind in told]
        self._allow = allow_unsafe_pickle

    def require(self, contents: Contents) -> None:
        image_tools.plan(self._program, self.directory, contents, self._told)

    def place(self, job: Job) -> tuple[Made, tuple[str, ...], tuple[str, ...]]:
        plan = image_tools.plan(self._program, self.directory, job.contents, self._told)
        warnings = self._gate({path: job.found.files[path] for path in plan.targets}, job)
        made = self.put(job, plan.targets)
        left = tuple(f"left out: {path}: {why}" for path, why in plan.left_out.items())
        return made, tuple(map(str, plan.targets.values())), (*warnings, *left)

    def _gate(self, files: dict[str, Path], job: Job) -> tuple[str, ...]:
        """What is to be said of pickles among ``files``; raises ``UnsafeContent`` for what may run commands."""
        findings = scan_files(files.items(), job.check)
        refused = [finding for finding in findings if finding.verdict is not Verdict.UNKNOWN]
        if refused and not self._allow:
            raise UnsafeContent(
                "; ".join(map(str, refused[:3])),
                kept="nothing was placed",
                next_step=f"tell the publisher, or turn it into safetensors: p2pckpt convert FILE; or use {FLAG}",
            )
        return as_warnings(tuple(map(str, findings)))


def require_wanted(stop: threading.Event) -> None:
    """Raises ``Cancelled`` once nobody waits any more."""
    if stop.is_set():
        raise Cancelled("interrupted", kept="what was there before")


def placements_directory(invocation: Invocation) -> Path:
    """Where this home remembers what it placed."""
    return invocation.config.data_dir / "placed"


def run(
    invocation: Invocation, name: str, target: Target, *, to: Path | None, copy: bool, accept_licence: bool
) -> Checkout:
    """Place the version that ``name`` means at ``target``."""
    placements = Placements(placements_directory(invocation))
    stop = threading.Event()

    async def work(client: ControlClient) -> Checkout:
        try:
            return await placed(client)
        finally:
            stop.set()  # threads end before the loop waits for them

    async def placed(client: ControlClient) -> Checkout:
        contents = await client.contents(name)
        await asyncio.to_thread(target.require, contents)
        searching = _Search(invocation, client, contents, placements, stop)
        managed = to or invocation.config.data_dir / "checkouts" / f"{contents.share}-{contents.share_id[:8]}" / (
            f"v{contents.version}"
        )
        source, found = await searching.whole_checkout(managed, accept_licence)
        rows: tuple[m.VersionRow, ...] = ()
        with contextlib.suppress(P2pckptError):  # only names for it
            rows = (await client.share_detail(contents.share_id)).versions
        tags = next((row.tags for row in rows if row.version == contents.version), ())
        job = Job(contents, found, tags, tuple(row.manifest for row in rows), placements, copy, stop)
        made, paths, said = await asyncio.to_thread(target.place, job)
        if not still_there(found):
            raise ChangedWhileReading(
                f"{source} was written to meanwhile", kept="what was placed", next_step="take it away with --remove"
            )
        copied = sum(placed.stat().st_size for placed, way in made.ways.items() if way is Way.COPY)
        shared = f"{text.size(copied)} copied" if copied else "no byte copied"
        said = (f"{contents.share}@v{contents.version} of {source}: {shared}", *said)
        return Checkout(contents.share, contents.version, str(source), paths, copied, said)

    return talk(invocation, work)


@dataclass(frozen=True, slots=True)
class _Search:
    invocation: Invocation
    client: ControlClient
    contents: Contents
    placements: Placements
    stop: threading.Event
    _counted: list[int] = field(default_factory=lambda: [0])
    """Bytes that were compared."""

    async def whole_checkout(self, managed: Path, accept_licence: bool) -> tuple[Path, Found]:
        """A directory with all files of the version, verified; restored to ``managed`` if there is none."""
        for directory in dict.fromkeys([Path(self.contents.path), managed] if self.contents.path else [managed]):
            if directory.is_dir():
                found = await self._look(directory)
                if not found.problem:
                    return directory, found
                self.invocation.report.narrate(f"not from {directory}: {found.problem}")
        await self._restore(managed, accept_licence)
        found = await self._look(managed)
        if found.problem:
            raise VerificationFailed(found.problem, next_step=f"p2pckpt verify {managed} --repair")
        return managed, found

    async def _look(self, directory: Path) -> Found:
        known = known_of(self.placements.of_version(self.contents.share_id, self.contents.version))
        total = sum(file.size for file in self.contents.files)
        self._counted[0] = 0
        task = asyncio.create_task(asyncio.to_thread(look, self.contents, directory, known, _THREADS, self._count))
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_EVERY)
            self.invocation.report.progress(f"comparing {text.size(self._counted[0])} of {text.size(total)}")
        return task.result()

    def _count(self, read: int) -> None:
        require_wanted(self.stop)
        self._counted[0] += read  # a number to look at: two threads may lose one another's

    async def _restore(self, managed: Path, accept_licence: bool) -> None:
        """From the store, and what it lacks from others."""
        invocation = self.invocation
        request = m.FetchRequest(
            source=f"{self.contents.share_id}@{self.contents.version}",
            to=str(managed),
            seed=invocation.config.flag("seed_after_get"),
        )
        preview = await self.client.fetch_plan(request)
        if preview.licence_due:
            agree(invocation, preview, accept_licence)
            request = replace(request, accept_licence=preview.licence_due)
        progress = Progress(invocation.report, stream=False)
        job = await self.client.fetch(request)
        job = await follow(self.client, job.id, progress.update, progress.notice)
        invocation.report.narrate(summary(job))
