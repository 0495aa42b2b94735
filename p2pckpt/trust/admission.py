"""Bytes in, trusted share out, or raise: every rule that decides what this machine believes about a share.

Rules, on top of The Update Framework's own (signatures by thresholds, no version goes back, nothing expired, roots
chained), which python-tuf's client applies:

1. The first root's SHA-256 is the share's id, which came with the link.
2. The targets delegate the keyring, and nothing else, to the root's keys and no others.
3. A version that was seen once never changes: same manifest, same torrent, for ever.
4. What a share's first root fixes (its name, the torrents' name, whether it is sealed) stays, and the owner that a
   later root names is one of its keys.
5. The keyring is as new as the versions are, and its epochs are only added to.
6. Trusted files are kept on disk, so a tracker can't roll a client back between runs.

Fetching is the caller's: ``refresh`` gets a function that returns one file's bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from p2pckpt import atomic
from p2pckpt.errors import NotFound, P2pckptError, Stale, UntrustedKey, VerificationFailed, disk_error
from p2pckpt.tracker_protocol import KEYRING_ROLE, MAX_METADATA
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import keyrings, versions
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.sealing import EpochKeys

FetchFile = Callable[[str], bytes]
"""File name → bytes; raises ``NotFound`` where there is none."""
_BASE: Final = "share:/"
_SEEN: Final = "seen.json"
_TRUSTED: Final = ("root.json", "timestamp.json", "snapshot.json", "targets.json", f"{KEYRING_ROLE}.json", _SEEN)
_NEXT: Final = "next"
_COMPLETE: Final = "complete"
_MAX_ROOTS: Final = 1 << 16
"""Counted from the first: each change of publishers makes one."""
_LOCKS: Final[dict[bytes, threading.Lock]] = {}
"""By share: a thread whose caller was cancelled goes on, and must not meet the next one in the same directory."""
_MOVING: Final = threading.Lock()
"""Held while files of any share are moved into place or read: a reader must not see half of a change."""


@dataclass(frozen=True, slots=True)
class TrustedShare:
    """What the signatures say about a share, as of the last refresh."""

    share_id: bytes
    terms: versions.ShareTerms
    targets: versions.SignedTargets
    keys: dict[int, EpochKeys]
    """Epochs whose keys the keyring has for us; empty for public shares and for members by link alone."""
    keyring: KeyringContent
    root_bytes: bytes
    targets_bytes: bytes
    keyring_bytes: bytes
    fresh_until: int
    """Unix seconds until which the tracker vouched that nothing newer was there."""
    seen: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """Version → manifest and infohash, of all that this machine has ever seen signed."""

    @property
    def swarm_tls(self) -> bool:
        """Whether the share's swarms are for members with certificates."""
        return self.terms.sealed and self.keyring.swarm_tls

    def target(self, version: int) -> versions.VersionTarget:
        """Raises ``NotFound`` for a version that is not in the signed targets."""
        if version not in self.targets.versions:
            raise self._missing(version)
        return self.targets.versions[version]

    def content(self, version: int) -> tuple[str, str]:
        """SHA-256 of a version's manifest, and its infohash, also of one that was retired since it was seen here.

        Raises ``NotFound``.
        """
        if version in self.targets.versions:
            return self.targets.versions[version].content
        if version in self.seen:
            return self.seen[version]
        raise self._missing(version)

    def is_retired(self, version: int) -> bool:
        """Whether a version was signed once and is offered no more."""
        return version in self.seen and version not in self.targets.versions

    @property
    def _newest(self) -> int:
        return max(self.targets.versions, default=0)

    def _missing(self, version: int) -> NotFound:
        name = self.terms.name
        if 0 < version < self._newest:  # the tracker leaves no number out
            return NotFound(
                f"version {version} of {name} was retired: it is not offered any more",
                kept="what of it is on this machine",
                next_step=f"p2pckpt get {name} takes the newest; p2pckpt show {name} lists the others",
            )
        return NotFound(f"{name} has no version {version}", next_step=f"p2pckpt show {name}")

    def resolve(self, selector: str, *, retired: bool = False) -> int:
        """A version number from ``7``, ``v7``, a version's name or a tag; empty for the newest. Raises ``NotFound``.

        With ``retired`` a number may also be one of a version that was retired.
        """
        if not self.targets.versions:
            raise NotFound(f"{self.terms.name} has no version yet")
        if not selector:
            return self.targets.latest
        if is_number(selector) and int(selector.removeprefix("v")) in self.targets.versions:
            return int(selector.removeprefix("v"))
        if selector in self.targets.tags:
            return self.targets.tags[selector]
        named = [v.version for v in self.targets.versions.values() if v.name == selector]
        if named:
            return max(named)
        if is_number(selector):
            number = int(selector.removeprefix("v"))
            if retired and self.is_retired(number):
                return number
            if 0 < number < self._newest:
                raise self._missing(number)
        raise NotFound(f"{self.terms.name} has no version {selector!r}", next_step=f"p2pckpt show {self.terms.name}")


def is_number(selector: str) -> bool:
    """Whether a selector names a version for good, as ``7`` or ``v7``: tags move, and names may be given twice."""
    number = selector.removeprefix("v")
    return number.isascii() and number.isdigit() and len(number) < 10


def refresh(
    share_id: bytes, directory: Path, fetch: FetchFile, identity: Identity, at: datetime | None = None
) -> TrustedShare:
    """Bring the trusted files in ``directory`` up to date and return what they say.

    New files are gathered beside those that are trusted and replace them together, once all rules held: neither a
    refused file nor half a change stays. Blocking; ``fetch`` is called in this thread, and one refresh of a share runs
    at a time. ``at`` is the moment that expiry is judged at, for owners who renew what has run out; else now.
    Raises ``UntrustedKey`` when something is signed by a key the root does not name or the root is not the
    link's, ``Stale`` for what has run out, ``VerificationFailed`` for rollback and contradictions.
    """
    with _LOCKS.setdefault(share_id, threading.Lock()):
        return _refresh(share_id, directory, fetch, identity, at)


def _refresh(
    share_id: bytes, directory: Path, fetch: FetchFile, identity: Identity, at: datetime | None
) -> TrustedShare:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _MOVING:
        _finish_move(directory)
    root = directory / "1.root.json"
    if not root.exists():
        data = fetch("1.root.json")
        if hashlib.sha256(data).digest() != share_id:
            raise UntrustedKey("the tracker serves a root of trust that is not the link's", kept="nothing was changed")
        atomic.write(root, data)
    bootstrap = root.read_bytes()
    if hashlib.sha256(bootstrap).digest() != share_id:
        raise VerificationFailed(f"{root} was changed on this machine", next_step=f"remove {directory} and try again")
    gathering = directory / _NEXT
    _copy_trusted(directory, gathering)
    _update(gathering, bootstrap, fetch, at)
    share = _load(share_id, gathering, identity)
    _refuse_rewritten_epochs(directory, share.keyring)
    _remember_versions(gathering / _SEEN, share.targets)
    _sync(gathering)  # before the marker that vouches for them
    with _MOVING:
        atomic.write(gathering / _COMPLETE, b"")
        _finish_move(directory)
    return share


def load(share_id: bytes, directory: Path, identity: Identity) -> TrustedShare:
    """What the files kept by an earlier ``refresh`` say; freshness is not judged. Raises ``NotFound`` without them."""
    with _MOVING:
        _finish_move(directory)
        return _load(share_id, directory, identity)


def _update(directory: Path, bootstrap: bytes, fetch: FetchFile, at: datetime | None) -> None:
    """Run python-tuf's client over ``directory``."""
    fetcher = _Fetcher(fetch)
    try:
        updater = Updater(
            str(directory), _BASE, fetcher=fetcher, bootstrap=bootstrap,
            config=UpdaterConfig(
                max_root_rotations=_MAX_ROOTS, root_max_length=MAX_METADATA,
                targets_max_length=MAX_METADATA, snapshot_max_length=MAX_METADATA,
            ),
        )  # fmt: skip
        if at is not None:
            # python-tuf offers no way to say which moment expiry is judged at, and its own tests set this
            updater._trusted_set.reference_time = at
        updater.refresh()
        updater.get_targetinfo(f"{KEYRING_ROLE}/epochs")
    except DownloadError as exc:
        raise fetcher.failure or VerificationFailed(f"the tracker's signed files are not whole: {exc}") from exc
    except UnsignedMetadataError as exc:
        raise UntrustedKey(f"signed by a key that the share's root does not name: {exc}") from exc
    except ExpiredMetadataError as exc:
        raise Stale(
            f"nobody vouches that these are the share's newest files: {exc}",
            kept="what was known before",
            next_step="check this machine's clock; else the tracker or an owner has to sign them anew",
        ) from exc
    except RepositoryError as exc:
        raise VerificationFailed(f"the tracker's signed files were refused: {exc}") from exc
    except OSError as exc:  # python-tuf writes into the directory
        raise disk_error(exc, directory, "what was known before") from exc


def _load(share_id: bytes, directory: Path, identity: Identity) -> TrustedShare:
    """What the files in ``directory`` say, judged by rules 2 to 4; the rest is python-tuf's."""
    try:
        root, targets, timestamp = (
            (directory / f"{name}.json").read_bytes() for name in ("root", "targets", "timestamp")
        )
        if not versions.keyring_delegation_is_sound(root, targets):
            raise UntrustedKey("a publisher tried to hand the share's keyring to another key")
        keyring = (directory / f"{KEYRING_ROLE}.json").read_bytes()
        first = (directory / "root_history" / "1.root.json").read_bytes()
    except FileNotFoundError as exc:
        raise NotFound("this share was never looked at from this machine") from exc
    terms = versions.parse_terms(root)
    if terms.fixed != versions.parse_terms(first).fixed:
        raise VerificationFailed("a later root of the share contradicts the first one about what never changes")
    if terms.owner not in {key.hex() for key in versions.root_keys(root).owners}:
        raise VerificationFailed("the owner that the share's root names is none of those who sign it")
    content = versions.parse_keyring(keyring)
    signed = versions.parse_targets(targets)
    if terms.sealed and content.newest < max((each.epoch for each in signed.versions.values()), default=0):
        raise VerificationFailed("the tracker holds back the share's newest keyring")
    seen = _seen(directory / _SEEN)
    _refuse_changed_versions(seen, signed)
    seen |= {number: target.content for number, target in signed.versions.items()}
    return TrustedShare(
        share_id, terms, signed,
        keyrings.open_epochs(content, identity, share_id), content, root, targets, keyring,
        versions.expiry(timestamp), seen,
    )  # fmt: skip


def _copy_trusted(directory: Path, to: Path) -> None:
    """A fresh directory with links to the trusted files; they are replaced there, never written into."""
    try:
        shutil.rmtree(to, ignore_errors=True)
        (to / "root_history").mkdir(parents=True, mode=0o700)
        for name in _files_of(directory):
            os.link(directory / name, to / name, follow_symlinks=False)
    except OSError as exc:
        raise disk_error(exc, directory, "what was known before") from exc


def _finish_move(directory: Path) -> None:
    """Move gathered files into place if all of them are there; a crash in between is made good by the next call."""
    gathered = directory / _NEXT
    if not (gathered / _COMPLETE).exists():
        return
    try:
        (directory / "root_history").mkdir(exist_ok=True, mode=0o700)
        for name in _files_of(gathered):
            (gathered / name).replace(directory / name)
        for changed in (directory / "root_history", directory):
            atomic.sync_directory(changed)
        (gathered / _COMPLETE).unlink()
    except OSError as exc:
        raise disk_error(exc, directory, "what was known before") from exc


def _sync(directory: Path) -> None:
    """Make gathered files durable: python-tuf does not."""
    try:
        for name in _files_of(directory):
            if not (directory / name).is_symlink():
                atomic.sync_file(directory / name)
        for each in (directory / "root_history", directory):
            atomic.sync_directory(each)
    except OSError as exc:
        raise disk_error(exc, directory, "what was known before") from exc


def _files_of(directory: Path) -> list[str]:
    """The files that python-tuf and we keep there, histories before what points at them."""
    history = directory / "root_history"
    found = [f"root_history/{path.name}" for path in history.iterdir()] if history.is_dir() else []
    return found + [name for name in _TRUSTED if os.path.lexists(directory / name)]


def _refuse_changed_versions(seen: Mapping[int, tuple[str, str]], targets: versions.SignedTargets) -> None:
    """Rule 3."""
    for number, target in targets.versions.items():
        if seen.get(number, target.content) != target.content:
            raise VerificationFailed(f"version {number} was signed twice with different content")


def _refuse_rewritten_epochs(directory: Path, keyring: KeyringContent) -> None:
    """An owner adds epochs and changes none: one who takes keys away would take what is published already."""
    try:
        before = versions.parse_keyring((directory / f"{KEYRING_ROLE}.json").read_bytes())
    except FileNotFoundError:
        return
    leads_back = [(epoch.earlier_view, epoch.earlier_content) for epoch in keyring.epochs]
    if leads_back[: len(before.epochs)] != [(epoch.earlier_view, epoch.earlier_content) for epoch in before.epochs]:
        raise VerificationFailed("an owner changed keys of versions that are published", kept="what was known before")


def _seen(path: Path) -> dict[int, tuple[str, str]]:
    """Version → its content when it was first seen. Kept apart from the trusted files: those hold the newest."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[int, tuple[str, str]])
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, ValueError) as exc:
        raise VerificationFailed(
            f"{path} is damaged: it says which versions this machine has seen",
            next_step=f"remove {path.parent} to trust the tracker anew",
        ) from exc


def _remember_versions(path: Path, targets: versions.SignedTargets) -> None:
    seen = _seen(path)
    signed = {number: target.content for number, target in targets.versions.items()}
    if signed.keys() - seen.keys():
        atomic.write(path, msgspec.json.encode(signed | seen))


class _Fetcher(FetcherInterface):
    """python-tuf's way of asking for a file, over ours. Keeps the error that stopped it: tuf wraps it away."""

    def __init__(self, fetch: FetchFile) -> None:
        self._fetch_file = fetch
        self.failure: P2pckptError | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            return iter((self._fetch_file(url.removeprefix(_BASE)),))
        except NotFound as exc:
            if url.endswith("/timestamp.json"):  # every share has one: to us, this share is not there (any more)
                self.failure = NotFound(
                    "the tracker has no such share, or none for you", next_step="ask an owner of it"
                )
            raise DownloadHTTPError(str(exc), 404) from exc
        except P2pckptError as exc:
            self.failure = exc
            raise
