"""A version in the cache of the model hubs' client, so that ``from_pretrained`` finds it without a network.

``models--ORG--NAME/blobs/SHA256`` are clones of or hard links to the checkout's files, ``snapshots/COMMIT/…`` the
client's own relative links to them, ``refs/…`` the names of the commit. Symbolic links to the checkout itself would be
shorter, and let older clients delete the checkout when they are told to delete the revision.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from p2pckpt import atomic
from p2pckpt.bridges.hub_gateway.etags import commit_of
from p2pckpt.bridges.placements import Placement, Placements
from p2pckpt.bridges.placing import Made, Wish, has_content, made_above, missing_above, place_all, take_away
from p2pckpt.bridges.sources import Found
from p2pckpt.control.read_messages import Contents
from p2pckpt.errors import BadUsage, Conflict, disk_error

TOOL: Final = "hub cache"
MAIN: Final = "main"
_PART: Final = r"\b[\w\-.]{1,96}\b"
_REPO_ID: Final = re.compile(rf"({_PART}/)?{_PART}", re.ASCII)
_REF: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Linked:
    """A version as it now is in a cache."""

    repo_id: str
    commit: str
    snapshot: Path
    refs: tuple[str, ...]
    made: Made
    """The blobs."""


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where the hub's client keeps its cache, by the variables that it reads itself."""
    home = Path(environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    text = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE") or str(home / "hub")
    return Path(os.path.expandvars(text)).expanduser().absolute()


def check_repo_id(text: str) -> str:
    """``text`` if the hub's client takes it as ``NAME`` or ``ORG/NAME``, else ``BadUsage``."""
    if not _REPO_ID.fullmatch(text) or "--" in text or ".." in text or text.endswith(".git"):
        raise BadUsage(
            f"the hub's client takes no repository called {text!r}", next_step="add --repo-id ORG/NAME to call it so"
        )
    return text


def folder(cache: Path, repo_id: str) -> Path:
    return cache / "--".join(["models", *repo_id.split("/")])


def link(
    contents: Contents,
    found: Found,
    cache: Path,
    repo_id: str,
    tags: Iterable[str],
    manifests: Iterable[str],
    placements: Placements,
    *,
    copy: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Linked:
    """Put a version into ``cache`` as ``repo_id``; ``found`` are its files, verified.

    It becomes ``main`` there, and is also found by its number, its name and ``tags``. Run again, it changes nothing but
    what these mean. Raises ``Conflict`` for a repository that the hub's client has fetched from somewhere else;
    ``manifests`` of the share's versions tell what is from here, by whatever way it came.
    """
    repo, commit = folder(cache, check_repo_id(repo_id)), commit_of(contents.manifest)
    names = dict.fromkeys((MAIN, f"v{contents.version}", contents.version_name, *tags))
    refs = {repo / "refs" / name: commit for name in names if _REF.fullmatch(name)}
    ours = placements.in_directory(TOOL, repo)
    _require_ours(refs, {commit_of(manifest) for manifest in (contents.manifest, *manifests)}, ours, repo_id)
    snapshot = repo / "snapshots" / commit
    links = {str(snapshot / file.path): _to_blob(file.path, file.sha256) for file in contents.files}
    for file in contents.files:
        _require_right(snapshot / file.path, found.files[file.path], file.sha256, check)
    blobs = [Wish(found.files[file.path], repo / "blobs" / file.sha256, file.sha256) for file in contents.files]
    earlier = [placement for placement in ours if placement.share_id == contents.share_id]
    made = place_all(blobs, earlier, copy=copy, mend=True, check=check)
    texts = {str(path): commit for path in refs}
    directories = [str(path) for place in (snapshot, repo / "refs") for path in missing_above(place)]
    directories += [str(path) for link in links for path in missing_above(Path(link).parent)]
    placement = Placement(
        tool=TOOL,
        directory=str(repo),
        share_id=contents.share_id,
        share=contents.share,
        version=contents.version,
        files=made.files,
        links=_ours(links, [p.links for p in ours], lambda path: _is_there(path, links[str(path)])),
        texts=_ours(texts, [p.texts for p in ours], lambda path: path.exists() and path.read_text("utf-8") == commit),
        directories=tuple(
            dict.fromkeys([*made.directories, *directories, *made_above(map(Path, [*links, *texts]), ours)])
        ),
        sources=found.identities,
    )
    placements.save(placement)  # before there is something to find, so that it can always be taken away
    placements.renew(placement)
    _make_snapshot(snapshot, links)
    for path in refs:
        atomic.write_whole(path, commit.encode(), mode=0o644)
    return Linked(repo_id, commit, snapshot, tuple(path.name for path in refs), made)


def unlink(placement: Placement, placements: Placements) -> tuple[int, list[str]]:
    """Take a version out of the cache again; blobs that another revision needs stay. As ``placing.take_away``."""
    repo = Path(placement.directory)
    own = {path for path in placement.links if Path(path).is_symlink()}
    needed = {
        os.path.realpath(path) for path in (repo / "snapshots").rglob("*") if path.is_symlink() and str(path) not in own
    }
    kept = tuple(placed for placed in placement.files if os.path.realpath(placed.path) not in needed)
    found = take_away(replace(placement, files=kept))
    placements.forget(placement)
    return found


def _ours(
    names: Mapping[str, str], earlier: Iterable[Mapping[str, str]], is_right: Callable[[Path], bool]
) -> dict[str, str]:
    """Those of ``names`` that are to be made, or were by an earlier placement: the client's own are its own."""
    known = {name for placement in earlier for name in placement}
    return {name: text for name, text in names.items() if name in known or not is_right(Path(name))}


def _is_there(path: Path, target: str) -> bool:
    """Whether a snapshot has what ``path`` is to be; ``_require_right`` has found that a real file is right."""
    return str(path.readlink()) == target if path.is_symlink() else path.exists()


def _require_ours(refs: Iterable[Path], commits: set[str], ours: Iterable[Placement], repo_id: str) -> None:
    """Raises ``Conflict`` where a ref means a commit that is none of ours: somebody would lose it."""
    commits = commits | {text for placement in ours for text in placement.texts.values()}
    for path in refs:
        try:
            found = path.read_text("utf-8").strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError):
            found = ""
        if found not in commits:
            raise Conflict(
                f"the cache has {repo_id} from somewhere else: its {path.name} is {found[:12] or 'unreadable'}",
                kept="the cache as it was",
                next_step="add --repo-id ORG/NAME to give it another name there",
            )


def _require_right(path: Path, source: Path, sha256: str, check: Callable[[], None]) -> None:
    """Raises ``Conflict`` for a real file in a snapshot, as the client makes at times, that is not the version's."""
    if os.path.lexists(path) and not path.is_symlink() and not has_content(path, source, sha256, check):
        raise Conflict(
            f"{path} is there already, and is not what the version has",
            kept="the cache as it was",
            next_step="move it away, or add --repo-id ORG/NAME to give the version another name there",
        )


def _to_blob(path: str, blob: str) -> str:
    return "/".join([*[".."] * (path.count("/") + 2), "blobs", blob])


def _make_snapshot(snapshot: Path, links: Mapping[str, str]) -> None:
    """All of it at once where there is none yet: the client takes a directory that exists for a whole one."""
    try:
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        if snapshot.exists():
            _make_links({Path(path): target for path, target in links.items()})
            return
        partial = Path(tempfile.mkdtemp(prefix=".", suffix=atomic.PARTIAL, dir=snapshot.parent.parent))
        try:
            _make_links({partial / Path(path).relative_to(snapshot): target for path, target in links.items()})
            partial.chmod(0o755)
            partial.rename(snapshot)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        atomic.sync_directory(snapshot.parent)
    except OSError as exc:
        raise disk_error(exc, snapshot, kept="the checkout") from exc


def _make_links(links: Mapping[Path, str]) -> None:
    for path, target in links.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _is_there(path, target):
            path.unlink(missing_ok=True)  # a link that leads elsewhere
            path.symlink_to(target)
