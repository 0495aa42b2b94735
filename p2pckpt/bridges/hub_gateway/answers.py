"""The bodies that a hub answers with, made of a version's contents, and what errors are to a hub's clients."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from p2pckpt import errors as e
from p2pckpt.bridges.hub_gateway.etags import blob_id, commit_of, pointer
from p2pckpt.bridges.hub_gateway.repos import RevisionNotFound
from p2pckpt.bridges.hub_gateway.routes import DEFAULT_REVISION, RepoNotFound
from p2pckpt.control.messages import DaemonStatus, ShareDetail
from p2pckpt.control.read_messages import Contents, FileInfo

Body = dict[str, Any]
"""An object of the hub's own JSON, whose field names are not ours."""
PAGE: Final = 1000
"""Entries of a tree in one answer, the hub's own number."""
RETRY_AFTER: Final = 15
"""Seconds after which clients ask again for what nobody can be reached for; they try six times in all."""


class EntryNotFound(e.NotFound):
    """The version is there, and has no such file."""


# -- answers


def whoami(status: DaemonStatus) -> Body:
    """Whoever runs the daemon, whatever token came with the request: here it opens nothing."""
    return {"type": "user", "name": status.name, "fullname": status.name, "isPro": False, "orgs": []}


def repo_info(repo: str, contents: Contents, *, blobs: bool) -> Body:
    """What ``model_info`` and ``dataset_info`` read; with ``blobs`` also sizes and hashes of files."""
    at = _time(contents)
    card: Body = {"license": contents.licence.lower()} if contents.licence else {}
    if contents.base_model:
        card["base_model"] = list(contents.base_model)
    return {
        "_id": contents.share_id[:24],
        "id": repo,
        "modelId": repo,
        "author": repo.rpartition("/")[0] or contents.publisher,
        "sha": commit_of(contents.manifest),
        "lastModified": at,
        "createdAt": at,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": card,
        "siblings": [_sibling(file, blobs=blobs) for file in contents.files],
    }


def _sibling(file: FileInfo, *, blobs: bool) -> Body:
    if not blobs:
        return {"rfilename": file.path}
    git = pointer(file)
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": len(git)}
    return {"rfilename": file.path, "size": file.size, "blobId": blob_id(git), "lfs": lfs}


def refs(detail: ShareDetail) -> Body:
    """One branch, which is the newest version, and as tags every way to name a version."""
    commits = {row.version: commit_of(row.manifest) for row in detail.versions}
    names = {f"v{row.version}": row.version for row in detail.versions}
    names |= {row.name: row.version for row in reversed(detail.versions) if row.name}
    names |= {tag: row.version for row in detail.versions for tag in row.tags}
    latest = detail.share.latest
    heads = [_ref("heads", DEFAULT_REVISION, commits[latest])] if latest in commits else []
    tags = [_ref("tags", name, commits[version]) for name, version in names.items() if name != DEFAULT_REVISION]
    return {"branches": heads, "tags": tags, "converts": [], "pullRequests": []}


def _ref(kind: str, name: str, commit: str) -> Body:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}


def file_of(contents: Contents, path: str) -> FileInfo:
    """Raises ``EntryNotFound``."""
    for file in contents.files:
        if file.path == path:
            return file
    raise EntryNotFound(f"{contents.share} v{contents.version} has no file {path!r}")


class Page(NamedTuple):
    entries: list[Body]
    next: int
    """Where the next page begins; 0 after the last."""


def tree(contents: Contents, path: str, *, recursive: bool, expand: bool, start: int, limit: int) -> Page:
    """Files and directories below the directory ``path``, by name. Raises ``EntryNotFound`` for none such."""
    prefix = f"{path}/" if path else ""
    if path and not any(file.path.startswith(prefix) for file in contents.files):
        raise EntryNotFound(f"{contents.share} v{contents.version} has no directory {path!r}")
    found = {name: file for name, file in _below(contents.files, prefix) if recursive or "/" not in name[len(prefix) :]}
    names = sorted(found)[start : start + limit]
    entries = [_entry(contents, name, found[name], expand=expand) for name in names]
    return Page(entries, start + limit if start + limit < len(found) else 0)


def paths_info(contents: Contents, paths: Iterable[str], *, expand: bool) -> list[Body]:
    """The entries of those of ``paths`` that there are."""
    found = dict(_below(contents.files, ""))
    wanted = dict.fromkeys(path.strip("/") for path in paths)
    return [_entry(contents, path, found[path], expand=expand) for path in wanted if path in found]


def _below(files: Sequence[FileInfo], prefix: str) -> Iterator[tuple[str, FileInfo | None]]:
    """Every file below ``prefix``, and every directory with None; directories may come again."""
    for file in files:
        if file.path.startswith(prefix):
            at = file.path.find("/", len(prefix))
            while at >= 0:
                yield file.path[:at], None
                at = file.path.find("/", at + 1)
            yield file.path, file


def _entry(contents: Contents, path: str, file: FileInfo | None, *, expand: bool) -> Body:
    entry: Body
    if file is None:
        entry = {"type": "directory", "oid": _tree_id(contents, path), "size": 0, "path": path}
    else:
        git = pointer(file)
        lfs = {"oid": file.sha256, "size": file.size, "pointerSize": len(git)}
        entry = {"type": "file", "oid": blob_id(git), "size": file.size, "path": path, "lfs": lfs}
    if expand:
        title = contents.version_name or f"v{contents.version}"
        entry["lastCommit"] = {"id": commit_of(contents.manifest), "title": title, "date": _time(contents)}
    return entry


def _tree_id(contents: Contents, path: str) -> str:
    """An id as Git gives trees: another one for another directory or version."""
    return hashlib.sha256(f"{contents.manifest}/{path}".encode()).hexdigest()[:40]


def _time(contents: Contents) -> str:
    return datetime.fromtimestamp(contents.published_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


# -- errors


class Refusal(NamedTuple):
    """An error as a hub says it."""

    status: int
    headers: Mapping[str, str]
    message: str


_OLD_CLIENT: Final = re.compile(r"hf_hub/0\.")


def is_old(user_agent: str) -> bool:
    """Whether huggingface_hub before 1.0 asks: it repeats requests after 5xx and not after 429, newer ones the other
    way round; and it asks nothing of which it doesn't know the length."""
    return _OLD_CLIENT.search(user_agent) is not None


_CODES: Final[tuple[tuple[type[e.P2pckptError], int, str], ...]] = (
    # the first that fits counts
    (RepoNotFound, 404, "RepoNotFound"),
    (RevisionNotFound, 404, "RevisionNotFound"),
    (EntryNotFound, 404, "EntryNotFound"),
    (e.NotFound, 404, ""),
    (e.NotAllowed, 403, "GatedRepo"),
    (e.UntrustedKey, 403, ""),
    (e.UnsafeContent, 403, ""),
    (e.VerificationFailed, 403, ""),
    (e.BadUsage, 400, ""),
    (e.NoSpace, 507, ""),
)
_PASSING: Final = (e.NoSeeds, e.TrackerUnreachable, e.DaemonUnavailable)


def refusal(error: e.P2pckptError, user_agent: str, *, retry_after: int = RETRY_AFTER) -> Refusal:
    """Status, headers and text for ``error``; what passes by itself is asked for again by the client."""
    message = "; ".join(part for part in (error.fact, error.next_step and f"next: {error.next_step}") if part)
    if isinstance(error, _PASSING):
        return Refusal(503 if is_old(user_agent) else 429, {"Retry-After": str(retry_after)}, message)
    for kind, status, code in _CODES:
        if isinstance(error, kind):
            return Refusal(status, {"X-Error-Code": code} if code else {}, message)
    return Refusal(500, {}, message)
