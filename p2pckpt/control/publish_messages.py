"""What front ends and the daemon say about a directory before and while it is published."""

from __future__ import annotations

import msgspec

from p2pckpt.control.messages import FileRow
from p2pckpt.tracker_protocol import Visibility


class CardFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is written into the front matter of the folder's README.md before it is published."""

    licence: str = ""
    """As SPDX or the model hubs call it."""
    base_model: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class LookRequest(msgspec.Struct, frozen=True):
    """``POST /v1/publish/look`` → FolderReport: what is in a folder, fast at any size."""

    path: str
    name: str = ""


class FolderReport(msgspec.Struct, frozen=True):
    path: str
    name: str
    """What a share of it is called."""
    known_as: Visibility | None
    """Of the share of that name that we may publish to; None: it would be a new one."""
    files: tuple[FileRow, ...]
    """The first 2,000, by path; ``done`` is 0."""
    file_count: int
    size: int
    licence: str
    base_model: tuple[str, ...]
    tags: tuple[str, ...]
    """Of the card."""
    has_card: bool
    warnings: tuple[str, ...]
    disk_free: int


class PublishRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/publish`` → Job; ``POST /v1/publish/plan`` → PublishPlan (nothing is written)."""

    path: str
    snapshot: str = ""
    """Where what was at ``path`` is to be read: somebody else may change or delete it there. Not ``path`` is known as
    the version's checkout then."""
    expected: str = ""
    """Fingerprint of the files that somebody looked at and found good: others are not published in their place."""
    name: str = ""
    """Share name; empty: the directory's name. An existing share of that name gets a new version."""
    version_name: str = ""
    to: Visibility = Visibility.LINK
    """Only for a new share; an existing one keeps its own."""
    tags: tuple[str, ...] = ()
    """Besides ``latest``."""
    passed: bool = False
    """It was found to be whole and sound: ``stable`` moves to it. Unlike ``tags`` no reason for it to be whole."""
    delta: bool = False
    """Let tensors be differences to those of the newest whole version where that pays: small for who has that one,
    both for who does not. The version is whole all the same where it gets a tag, and at every eighth at the latest."""
    allow_no_licence: bool = False
    allow_unsafe_pickle: bool = False
    """Publish pickles that import unknown names or can't be read; recorded in the manifest. Never dangerous ones."""
    metrics: dict[str, float] = {}
    step: int | None = None
    expires_at: int = 0
    """Of the link."""
    max_uses: int = 0
    password: str = ""
    card: CardFields | None = None
    """None leaves README.md as it is."""


class NewFile(msgspec.Struct, frozen=True):
    """A file with at least one chunk that its share does not have yet."""

    path: str
    size: int
    new_size: int
    """Raw bytes of those chunks."""
    why: str
    """What is new in it, in words."""


class PublishPlan(msgspec.Struct, frozen=True):
    share: str
    version: int
    files: int
    size: int
    new_size: int
    """Raw bytes of chunks that are not in the share yet."""
    stored_size: int
    """About how many bytes they are once compressed, which is what a follower fetches; from a sample of them."""
    new_files: tuple[NewFile, ...]
    """At most 200."""
    new_file_count: int
    warnings: tuple[str, ...]
    disk_needed: int
    """Upper bound of object bytes that will be written."""
    disk_free: int
    delta_size: int = -1
    """What ``stored_size`` is or would be with ``PublishRequest.delta``; -1 where the version is whole in any case."""
