"""Requests, replies and events between a front end (CLI, TUI, Python API) and the daemon.

HTTP/1.1 with JSON bodies on a Unix socket; ``GET /v1/events`` is one JSON object a line. Sizes are bytes, times
Unix seconds, rates bytes per second. Fractions are derived by the reader, never sent. No logic lives here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from p2pckpt.control.key_messages import KeyRow, KeysChanged
from p2pckpt.control.run_messages import Restored, RunRow
from p2pckpt.control.settings_messages import Limits
from p2pckpt.tracker_protocol import Role, Visibility

# --- jobs: everything a daemon works on or keeps seeding ---------------------------------------------------------


class JobKind(StrEnum):
    PUBLISH = "publish"
    FETCH = "fetch"
    VERIFY = "verify"
    RESTORE = "restore"

    @property
    def receives(self) -> bool:
        """Whether it brings a checkout here."""
        return self in (JobKind.FETCH, JobKind.RESTORE)


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SEEDING = "seeding"
    """Done; its version is held and offered to others."""
    DONE = "done"
    """Done; nothing is offered (a verify, or a fetch with ``--no-seed``)."""
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether no more work will happen without a command."""
        return self in (JobState.SEEDING, JobState.DONE, JobState.FAILED)


class Phase(StrEnum):
    """What a running job is doing."""

    NONE = ""
    SCANNING = "scanning"
    PACKING = "packing"
    SIGNING = "signing"
    REGISTERING = "registering"
    CONTACTING = "contacting tracker"
    ADOPTING = "adopting files"
    CONNECTING = "finding peers"
    DOWNLOADING = "downloading"
    FINISHING = "finishing"
    CHECKING = "checking"


class Failure(msgspec.Struct, frozen=True):
    """An error of ``p2pckpt.errors`` on the wire and in the job table."""

    code: str
    fact: str
    kept: str = ""
    next_step: str = ""


class Job(msgspec.Struct, frozen=True):
    """One row of Transfers. Sent whole whenever something in it changed."""

    id: str
    """Short, unique on this daemon, ordered by creation: ``j12``."""
    kind: JobKind
    state: JobState
    share_id: str
    """Empty until known (a first publish that is still packing)."""
    share: str
    """The share's name, ``cars/sd15``."""
    version: int
    """0 until known."""
    version_name: str
    publisher: str
    """Who signed it: identity hex; empty until known."""
    path: str
    """The directory published, or the checkout."""
    phase: Phase = Phase.NONE
    size: int = 0
    """Raw bytes of the files this job is about."""
    done: int = 0
    """Raw bytes finished: packed (publish), in the checkout (fetch), checked (verify)."""
    wire_size: int = 0
    """Stored bytes this job has to move: new objects (publish) or pieces to fetch (fetch)."""
    wire_done: int = 0
    reused: int = 0
    """Raw bytes that were not packed or fetched again: in the store already, or adopted from disk."""
    rate_down: int = 0
    rate_up: int = 0
    uploaded: int = 0
    """Bytes sent to others since this daemon has the version."""
    peers: int = 0
    """Connected now."""
    seeds: int = 0
    """Seeds known to the tracker, this daemon not counted."""
    eta: int = -1
    """Seconds left at the current rate; -1 when unknown."""
    limit_down: int = 0
    """Bytes per second that this job may receive; 0 for no limit of its own."""
    limit_up: int = 0
    created_at: int = 0
    ended_at: int = 0
    link: str = ""
    """For a publish: the link to send; it carries a secret unless the share is public."""
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None
    restored: Restored | None = None
    """What a restore ended with."""


class PeerRow(msgspec.Struct, frozen=True):
    """One connection, or in ``PeersReply`` all connections with one address and port."""

    address: str
    client: str
    """What it calls itself."""
    have: int
    """Pieces of the swarm's torrent the peer has, in thousandths; the most of several swarms."""
    rate_down: int
    rate_up: int
    flags: str
    """S seed, I interested in us, C choking us, E obfuscated, T TLS, → outgoing connection."""
    total_down: int = 0
    """Bytes received over this connection."""
    total_up: int = 0
    since: int = 0
    """When it connected; 0 when unknown."""
    transport: str = "TCP"
    """TCP or uTP."""
    place: str = ""
    """``here`` for this machine, ``LAN`` or ``internet``, by the address alone."""
    found: str = ""
    """How its address was learned: tracker, dht, exchange, lan, incoming."""
    who: str = ""
    """Identity of the member who announced this address to the tracker, which says so; empty for unknown."""
    member: bool = False
    """It showed a certificate of the share: a member, whoever it is."""
    shares: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


class FileRow(msgspec.Struct, frozen=True):
    path: str
    size: int
    done: int
    """Raw bytes of the file that are in the checkout."""
    kind: str


class JobDetail(msgspec.Struct, frozen=True):
    """``GET /v1/jobs/{id}/detail``: what the detail pane draws."""

    job: Job
    pieces: bytes
    """One byte a cell, at most 1024 cells over all pieces wanted or held: 0 missing … 200 complete, 255 arriving."""
    piece_count: int
    piece_size: int
    peers: tuple[PeerRow, ...]
    files: tuple[FileRow, ...]
    log: tuple[str, ...]
    """Newest last, at most 200 lines of ``HH:MM:SS text``."""
    copies: bytes = b""
    """One byte a cell of ``pieces``: how many connected peers have its rarest piece, at most 254; 255 where nobody
    counts because nothing of that torrent is missing. Empty when that is so of all."""
    spread: int = 0
    """Copies of all that is counted among connected peers, in thousandths: 2410 where everything is there twice, and
    41% of it more often."""


# --- shares and versions -------------------------------------------------------------------------------------------


class ShareRow(msgspec.Struct, frozen=True):
    """One share this daemon owns, joined or publishes to."""

    share_id: str
    name: str
    role: Role
    visibility: Visibility
    owner: str
    tracker: str
    versions: int
    latest: int
    """Number of the newest version; 0 when there is none."""
    size: int
    """Raw bytes of the newest version."""
    stored: int
    """Bytes of this share's objects on this machine."""
    tags: dict[str, int]
    seeds: int
    members: int
    updated_at: int
    requests: int = 0
    """People who ask to be let in; 0 unless we are an owner."""
    proposals: int = 0
    """Changes of keys that wait for our signature as an owner."""
    measured: int = 0
    """Versions that are known to carry a step or metrics: with any, it is a training run."""
    pinned: tuple[int, ...] = ()
    """Versions that stay on this machine, by number."""


class VersionRow(msgspec.Struct, frozen=True):
    version: int
    name: str
    tags: tuple[str, ...]
    published_at: int
    publisher: str
    size: int
    """Raw bytes; 0 when the manifest is not on this machine."""
    wire_size: int
    """Bytes of the torrent: what this version added."""
    files: int
    held: bool
    """Its objects are complete here."""
    info_hash: str
    seeds: int = -1
    """Others that seed what this version added; -1 when the tracker was not asked."""
    step: int | None = None
    """Of training; as ``metrics`` only of versions whose manifest was seen here."""
    metrics: dict[str, float] = {}
    manifest: str = ""
    """SHA-256 of the signed manifest, hex."""
    pinned: bool = False
    """It stays on this machine."""


class ShareDetail(msgspec.Struct, frozen=True):
    share: ShareRow
    versions: tuple[VersionRow, ...]
    """Newest first."""
    run: RunRow | None = None
    """The training run that is published to it from this machine."""


class TensorRow(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]
    parameters: int
    file: str


class BaseShare(msgspec.Struct, frozen=True):
    """A share that this daemon knows and that a card names as the base, by its name, id or link."""

    name: str
    """As the card has it."""
    share: str
    version: int
    """The one that is named, else the newest; 0 where that is not known here."""


class VersionDetail(msgspec.Struct, frozen=True):
    """``show NAME``: everything a manifest says that a person may want to read."""

    share_id: str
    share: str
    version: VersionRow
    publisher: str
    encoder: str
    licence: str
    base_model: tuple[str, ...]
    card: str
    """README.md, at most 256 KiB of it; unsanitised, clean before showing."""
    files: tuple[FileRow, ...]
    directories: tuple[str, ...]
    """Empty directories."""
    tensors: tuple[TensorRow, ...]
    parameters: int
    chunks: int
    objects: int
    stored: int
    """Bytes of all objects that this version needs, older ones included."""
    info_hashes: tuple[str, ...]
    """v2 infohashes of the torrents that carry its objects, own first."""
    warnings: tuple[str, ...]
    magnets: tuple[str, ...] = ()
    """For stock BitTorrent clients, one a torrent; only of public shares."""
    publisher_words: str = ""
    publisher_key: KeyRow | None = None
    """Who that is, as far as this machine knows; null for ourselves."""
    signing_key: str = ""
    """PEM of the key that verifies ``model.sig`` in a checkout; empty for versions without one."""
    bases: tuple[BaseShare, ...] = ()
    """Of ``base_model`` those that are shares here. A name that is the same proves nothing."""


# --- requests --------------------------------------------------------------------------------------------------------


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/fetch`` → Job; ``POST /v1/fetch/plan`` → FetchPreview (fetches only signed metadata)."""

    source: str
    """A link, or NAME[@VERSION|@TAG] of a share joined before."""
    to: str = ""
    """Absolute directory of the checkout; empty: one named after share and version, below ``base``."""
    base: str = ""
    """Absolute working directory of the front end."""
    only: tuple[str, ...] = ()
    """``weights`` or globs; empty for everything."""
    seed: bool = True
    password: str = ""
    allow_unsafe_pickle: bool = False
    """Hand the checkout over whatever the scan of its pickles says."""
    accept_licence: str = ""
    """The licence that the user was shown and accepts (``FetchPreview.licence_due``)."""
    paused: bool = False
    """Only take the job on; nothing is fetched before it is resumed."""


class FetchPreview(msgspec.Struct, frozen=True):
    share_id: str
    share: str
    version: int
    version_name: str
    tags: tuple[str, ...]
    publisher: str
    licence: str
    files: tuple[FileRow, ...]
    """``done`` holds what is adoptable or in the store."""
    size: int
    reused: int
    """Raw bytes that need no network."""
    wire_size: int
    """Bytes to fetch."""
    disk_needed: int
    disk_free: int
    seeds: int
    to: str
    """Where the checkout will be."""
    conflicts: tuple[str, ...]
    """Existing files at the target that differ; they will be moved aside, not overwritten."""
    warnings: tuple[str, ...]
    licence_due: str = ""
    """What the owner asks everybody to accept before anything is fetched; empty for nothing."""
    publisher_words: str = ""
    publisher_key: KeyRow | None = None
    """Who signed it, as far as this machine knows, with their state in this share; null for ourselves. What is odd
    about it stands in ``warnings``, too."""


class VerifyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/verify`` → Job (kind verify)."""

    name: str
    """NAME[@VERSION] or the path of a checkout."""
    full: bool = False
    """Also whole-file SHA-256."""
    repair: bool = False
    """Fetch and rewrite what is damaged."""


class DiffRow(msgspec.Struct, frozen=True):
    path: str
    change: str
    """added, removed, changed, same."""
    old_size: int
    new_size: int
    new_bytes: int
    """Raw bytes of chunks in B's file that A does not have anywhere."""


class FactChange(msgspec.Struct, frozen=True):
    """What a manifest says besides files and tensors, where two say different things; empty for nothing."""

    name: str
    """step, licence, base model, card, encoder, or the name of a metric."""
    before: str
    after: str


class DiffReply(msgspec.Struct, frozen=True):
    """``GET /v1/diff?a=NAME@V&b=NAME@V``."""

    a: str
    b: str
    rows: tuple[DiffRow, ...]
    new_bytes: int
    """Raw bytes that B has and A does not."""
    wire_bytes: int
    """What moves for who has A: whole pieces, those with an earlier version's chunks that differences lean on, too."""
    tensors_added: tuple[str, ...]
    tensors_removed: tuple[str, ...]
    tensors_changed: tuple[str, ...]
    facts: tuple[FactChange, ...] = ()
    delta_bytes: int = 0
    """Of the new bytes those that are stored as differences to an earlier version."""


class TagRequest(msgspec.Struct, frozen=True):
    """``POST /v1/tags``: move (or with ``remove`` take away) a tag; signed and published like a version."""

    name: str
    """NAME@VERSION; with ``remove`` just NAME."""
    tag: str
    remove: bool = False


class OwnedShare(msgspec.Struct, frozen=True):
    """A share whose root this machine's key signs."""

    share_id: str
    share: str
    owners: int
    """Keys that own it: with one alone, losing it is losing the share."""
    threshold: int


class KeyInfo(msgspec.Struct, frozen=True):
    """``GET /v1/key``."""

    identity: str
    words: str
    public_text: str
    """``p2pckpt-id:…``: the public keys and their signatures in one string to send to an owner."""
    name: str
    created_at: int
    path: str
    """Where the keys are, for people to read."""
    backup_at: int = 0
    """When a backup of this identity was written; 0 for never, as far as is known here."""
    owned: tuple[OwnedShare, ...] = ()


class DaemonStatus(msgspec.Struct, frozen=True):
    version: str
    pid: int
    started_at: int
    home: str
    identity: str
    name: str
    listen_ports: tuple[int, ...]
    tracker: str
    """URL of the default tracker."""
    tracker_state: str
    """connected, connecting, unreachable, none."""
    embedded_tracker: bool
    rate_down: int
    rate_up: int
    free_bytes: int
    stored_bytes: int
    max_loop_stall_ms: float
    """Longest time the event loop was blocked since start."""
    rss_bytes: int
    peak_rss_bytes: int
    jobs: int
    limits: Limits = Limits()
    keys_to_review: int = 0
    """Keys that somebody should look at."""


# --- events ---------------------------------------------------------------------------------------------------


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """First line of every event stream: the whole state, so a reader never has to poll."""

    status: DaemonStatus
    jobs: tuple[Job, ...]
    shares: tuple[ShareRow, ...]


class JobChanged(msgspec.Struct, frozen=True, tag="job"):
    job: Job


class JobRemoved(msgspec.Struct, frozen=True, tag="job_removed"):
    id: str


class ShareChanged(msgspec.Struct, frozen=True, tag="share"):
    share: ShareRow


class ShareRemoved(msgspec.Struct, frozen=True, tag="share_removed"):
    share_id: str


class StatusChanged(msgspec.Struct, frozen=True, tag="status"):
    """At most once a second, while something changes."""

    status: DaemonStatus


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """Something a person should see once: a member joined, access was taken away, the disk is nearly full."""

    level: str
    """info, warning, error."""
    text: str
    job: str = ""


class AccessChanged(msgspec.Struct, frozen=True, tag="access_changed"):
    """Members, links, requests, proposals or terms of a share may be others than they were: ask anew."""

    share_id: str


class AccessGranted(msgspec.Struct, frozen=True, tag="access"):
    """An owner let us into a share that we had asked for."""

    share_id: str


class SettingsChanged(msgspec.Struct, frozen=True, tag="settings"):
    """Settings are others than they were: ask anew."""


Event = (
    Snapshot
    | JobChanged
    | JobRemoved
    | ShareChanged
    | ShareRemoved
    | StatusChanged
    | Notice
    | AccessChanged
    | AccessGranted
    | KeysChanged
    | SettingsChanged
)
