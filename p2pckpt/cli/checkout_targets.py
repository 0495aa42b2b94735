"""The places that ``checkout`` knows: the hub client's cache, image programs, and any directory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from p2pckpt.bridges import hub_cache, image_tools
from p2pckpt.bridges.placements import Placement, Placements
from p2pckpt.bridges.placing import Made, Wish, place_all, require_outside, take_away
from p2pckpt.bridges.sources import Found
from p2pckpt.checkpoint.pickles import Verdict
from p2pckpt.checkpoint.weight_kinds import WeightKind
from p2pckpt.cloning import Way
from p2pckpt.control.read_messages import Contents
from p2pckpt.errors import Cancelled, UnsafeContent
from p2pckpt.jobs.safety import FLAG, as_warnings, scan_files


@dataclass(frozen=True, slots=True)
class Job:
    """What a target is given."""

    contents: Contents
    checkout: Path
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
        require_outside([hub_cache.folder(self.cache, repo)], job.checkout)
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
        require_outside(targets.values(), job.checkout)
        hashes = {file.path: file.sha256 for file in job.contents.files}
        wishes = [Wish(job.found.files[path], target, hashes[path]) for path, target in targets.items()]
        earlier = job.placements.in_directory(self.tool, self.directory, job.contents.share_id)
        made = place_all(wishes, earlier, copy=job.copy, check=job.check)
        placement = Placement(
            tool=self.tool,
            directory=str(self.directory),
            share_id=job.contents.share_id,
            share=job.contents.share,
            version=job.contents.version,
            files=made.files,
            directories=made.directories,
            sources=job.found.identities,
        )
        job.placements.save(placement.and_still(earlier))
        job.placements.hand_over(placement)
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
