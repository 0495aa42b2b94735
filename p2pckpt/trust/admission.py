"""Bytes in, trusted share out, or raise: every rule that decides what this machine believes about a share.

Rules, on top of The Update Framework's own (signatures by thresholds, no version goes back, nothing expired, roots
chained), which python-tuf's client applies:

1. The first root's SHA-256 is the share's id, which came with the link.
2. The targets delegate the keyring, and nothing else, to the root's keys and no others.
3. A version that was seen once never changes: same manifest, same torrent, for ever.
4. The terms of the share (its name, the torrents' name, the owner, whether it is sealed) are those of the first root.
5. Trusted files are kept on disk, so a tracker can't roll a client back between runs.

Fetching is the caller's: ``refresh`` gets a function that returns one file's bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from p2pckpt.errors import NotFound, P2pckptError, UntrustedKey, VerificationFailed
from p2pckpt.tracker_protocol import KEYRING_ROLE, MAX_METADATA
from p2pckpt.trust import versions
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.sealing import EpochKeys

FetchFile = Callable[[str], bytes]
"""File name → bytes; raises ``NotFound`` where there is none."""
_BASE: Final = "share:/"
_SEEN: Final = "seen.json"


@dataclass(frozen=True, slots=True)
class TrustedShare:
    """What the signatures say about a share, as of the last refresh."""

    share_id: bytes
    terms: versions.ShareTerms
    targets: versions.SignedTargets
    keys: dict[int, EpochKeys]
    """Epochs whose keys the keyring has for us; empty for public shares and for members by link alone."""
    epochs: tuple[versions.SealedEpoch, ...]
    root_bytes: bytes
    targets_bytes: bytes
    keyring_bytes: bytes

    @property
    def swarm_tls(self) -> bool:
        """Whether the share's swarms are for members with certificates."""
        return self.terms.sealed

    def target(self, version: int) -> versions.VersionTarget:
        """Raises ``NotFound`` for a version that is not in the signed targets."""
        if version not in self.targets.versions:
            raise NotFound(f"{self.terms.name} has no version {version}", next_step=f"p2pckpt show {self.terms.name}")
        return self.targets.versions[version]

    def resolve(self, selector: str) -> int:
        """A version number from ``7``, ``v7``, a version's name or a tag; empty for the newest. Raises ``NotFound``."""
        if not self.targets.versions:
            raise NotFound(f"{self.terms.name} has no version yet")
        if not selector:
            return self.targets.latest
        number = selector.removeprefix("v")
        if number.isascii() and number.isdigit() and len(number) < 10 and int(number) in self.targets.versions:
            return int(number)
        if selector in self.targets.tags:
            return self.targets.tags[selector]
        named = [v.version for v in self.targets.versions.values() if v.name == selector]
        if named:
            return max(named)
        raise NotFound(f"{self.terms.name} has no version {selector!r}", next_step=f"p2pckpt show {self.terms.name}")


def refresh(share_id: bytes, directory: Path, fetch: FetchFile, identity: Identity) -> TrustedShare:
    """Bring the trusted files in ``directory`` up to date and return what they say.

    Blocking; ``fetch`` is called in this thread. Raises ``UntrustedKey`` when something is signed by a key the root
    does not name or the root is not the link's, ``VerificationFailed`` for rollback, expiry and contradictions.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = directory / "1.root.json"
    if not root.exists():
        data = fetch("1.root.json")
        if hashlib.sha256(data).digest() != share_id:
            raise UntrustedKey("the tracker serves a root of trust that is not the link's", kept="nothing was changed")
        atomic.write(root, data)
    bootstrap = root.read_bytes()
    if hashlib.sha256(bootstrap).digest() != share_id:
        raise VerificationFailed(f"{root} was changed on this machine", next_step=f"remove {directory} and try again")
    fetcher = _Fetcher(fetch)
    try:
        updater = Updater(
            str(directory), _BASE, fetcher=fetcher, bootstrap=bootstrap,
            config=UpdaterConfig(targets_max_length=MAX_METADATA, snapshot_max_length=MAX_METADATA),
        )  # fmt: skip
        updater.refresh()
        updater.get_targetinfo(f"{KEYRING_ROLE}/epochs")
    except DownloadError as exc:
        raise fetcher.failure or VerificationFailed(f"the tracker's signed files are not whole: {exc}") from exc
    except UnsignedMetadataError as exc:
        raise UntrustedKey(f"signed by a key that the share's root does not name: {exc}") from exc
    except ExpiredMetadataError as exc:
        raise VerificationFailed(
            f"the share's signed files are out of date: {exc}",
            next_step="check this machine's clock; else the tracker or the owner has to renew them",
        ) from exc
    except RepositoryError as exc:
        raise VerificationFailed(f"the tracker's signed files were refused: {exc}") from exc
    share = load(share_id, directory, identity)
    _remember_versions(directory / _SEEN, share.targets)
    return share


def load(share_id: bytes, directory: Path, identity: Identity) -> TrustedShare:
    """What the files kept by an earlier ``refresh`` say; freshness is not judged. Raises ``NotFound`` without them.

    Rules 2 to 4 are applied here: python-tuf keeps files that it finds well signed before anybody can judge them.
    """
    try:
        first, root, targets = ((directory / f"{name}.json").read_bytes() for name in ("1.root", "root", "targets"))
        if not versions.keyring_delegation_is_sound(root, targets):
            raise UntrustedKey("a publisher tried to hand the share's keyring to another key")
        keyring = (directory / f"{KEYRING_ROLE}.json").read_bytes()
    except FileNotFoundError as exc:
        raise NotFound("this share was never looked at from this machine") from exc
    terms = versions.parse_terms(root)
    if terms != versions.parse_terms(first):
        raise VerificationFailed("a later root of the share contradicts the first one about what never changes")
    epochs = tuple(versions.parse_keyring(keyring))
    signed = versions.parse_targets(targets)
    _refuse_changed_versions(_seen(directory / _SEEN), signed)
    return TrustedShare(
        share_id, terms, signed,
        versions.open_epochs(epochs, identity, share_id), epochs, root, targets, keyring,
    )  # fmt: skip


def _refuse_changed_versions(seen: Mapping[int, tuple[str, str]], targets: versions.SignedTargets) -> None:
    """Rule 3."""
    for number, target in targets.versions.items():
        if seen.get(number, target.content) != target.content:
            raise VerificationFailed(f"version {number} was signed twice with different content")


def _seen(path: Path) -> dict[int, tuple[str, str]]:
    """Version → its content when it was first seen. Kept apart from the trusted files: those hold the newest."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[int, tuple[str, str]])
    except (FileNotFoundError, msgspec.MsgspecError, ValueError):
        return {}


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
