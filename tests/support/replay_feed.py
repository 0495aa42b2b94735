"""A daemon that is played by a test: the methods of ``ControlClient``, canned replies, a record of every call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from p2pckpt.config import SETTINGS, Value
from p2pckpt.control import access_messages as am
from p2pckpt.control import gateway_messages as gm
from p2pckpt.control import health_messages as hm
from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.control import pin_messages as pn
from p2pckpt.control import publish_messages as pm
from p2pckpt.control import read_messages as rd
from p2pckpt.control import run_messages as rm
from p2pckpt.control import settings_messages as sm
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import DaemonUnavailable, NotFound, P2pckptError
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.identity import words
from p2pckpt.trust.known_keys import How, KeyState, Review

T = TypeVar("T")

NOW = 1_790_000_000
LINK = "p2pckpt:" + "a" * 52 + "?tr=tracker.example:7341&n=3"
"""Says where a share is."""
IDENTITY = "9f3ac21d0e77b61455a03d9c81f26be49f3ac21d0e77b61455a03d9c81f26be4"


class ReplayClient(ControlClient):
    """Answers from ``replies`` or with the state that was played; ``failures`` come first."""

    def __init__(self, snapshot: m.Snapshot) -> None:
        super().__init__(Path("/nonexistent/replay.sock"))
        self.snapshot = snapshot
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failures: dict[str, P2pckptError] = {}
        """By method: raised instead of an answer."""
        self.replies: dict[str, Any] = {}
        """By method: the answer."""
        self.played = 0
        """Events that the reader has taken."""
        self.logged: list[hm.LogRecord] = list(LOGGED)
        self._logged_more = asyncio.Event()
        self._gone: P2pckptError | None = None
        self._queue: asyncio.Queue[m.Event | P2pckptError] = asyncio.Queue()

    async def __aenter__(self) -> ReplayClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        return None

    # -- what a test does

    def play(self, *events: m.Event) -> None:
        """Send events to the reader."""
        for event in events:
            # through JSON, as the real ones come
            self._queue.put_nowait(msgspec.json.decode(msgspec.json.encode(event), type=m.Event))

    def hang_up(self, fact: str = "the daemon closed the event stream") -> None:
        """End the stream as a daemon that stops does."""
        self._gone = DaemonUnavailable(fact, next_step="p2pckpt daemon start")
        self._queue.put_nowait(self._gone)
        self._logged_more.set()

    def called(self, method: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of ``method``."""
        return [arguments for name, arguments in self.calls if name == method]

    # -- what the front end calls

    async def events(self) -> AsyncIterator[m.Event]:
        yield self.snapshot
        while True:
            event = await self._queue.get()
            if isinstance(event, P2pckptError):
                raise event
            self.played += 1
            yield event

    async def status(self) -> m.DaemonStatus:
        return self._answer("status", (), self.snapshot.status)

    async def stop(self) -> None:
        self._answer("stop", (), None)

    async def publish(self, request: pm.PublishRequest) -> m.Job:
        made = job("j90", kind=m.JobKind.PUBLISH, share=request.name or Path(request.path).name, path=request.path)
        return self._answer("publish", (request,), made)

    async def look(self, request: pm.LookRequest) -> pm.FolderReport:
        return self._answer("look", (request,), folder_report(request))

    async def publish_plan(self, request: pm.PublishRequest) -> pm.PublishPlan:
        return self._answer("publish_plan", (request,), publish_plan(request))

    async def fetch(self, request: m.FetchRequest) -> m.Job:
        return self._answer("fetch", (request,), job("j91", path=request.to))

    async def fetch_plan(self, request: m.FetchRequest) -> m.FetchPreview:
        return self._answer("fetch_plan", (request,), fetch_preview(to=request.to or "/data/checkouts/sd15"))

    async def verify(self, request: m.VerifyRequest) -> m.Job:
        return self._answer("verify", (request,), job("j92", kind=m.JobKind.VERIFY, share=request.name))

    async def watch_run(self, request: rm.WatchRequest) -> rm.RunRow:
        return self._answer("watch_run", (request,), run_row(request.path))

    async def unwatch_run(self, name: str) -> rm.RunRow:
        return self._answer("unwatch_run", (name,), run_row("/runs/l70"))

    async def runs(self) -> list[rm.RunRow]:
        return self._answer("runs", (), [run_row("/runs/l70")])

    async def run_detail(self, name: str) -> rm.RunDetail:
        return self._answer("run_detail", (name,), rm.RunDetail(run_row("/runs/l70"), ()))

    async def flush_run(self, name: str) -> rm.RunDetail:
        return self._answer("flush_run", (name,), rm.RunDetail(run_row("/runs/l70"), ()))

    async def save(self, request: rm.SaveRequest) -> rm.SaveRow:
        return self._answer("save", (request,), run_row("/runs/l70").last)

    async def prune(self, request: rm.PruneRequest) -> rm.PruneReply:
        return self._answer("prune", (request,), rm.PruneReply((), 0, 0))

    async def undo_prune(self, name: str) -> rm.PruneReply:
        return self._answer("undo_prune", (name,), rm.PruneReply((), 0, 0))

    async def gateway(self) -> gm.GatewayState:
        return self._answer("gateway", (), gm.GatewayState(on=False, running=False))

    async def set_gateway(self, request: gm.GatewayRequest) -> gm.GatewayState:
        return self._answer("set_gateway", (request,), gm.GatewayState(on=request.on, running=request.on))

    async def contents(self, name: str) -> rd.Contents:
        raise AssertionError("the terminal interface reads no contents")

    async def read(self, name: str, path: str, start: int = 0, end: int | None = None, **options: Any) -> Any:
        raise AssertionError("the terminal interface reads no ranges")

    async def read_all(self, name: str, path: str, start: int = 0, end: int | None = None, **options: Any) -> bytes:
        raise AssertionError("the terminal interface reads no ranges")

    async def restore(self, request: rm.RestoreRequest) -> m.Job:
        return self._answer("restore", (request,), job("j93", kind=m.JobKind.RESTORE, share=request.source))

    async def jobs(self) -> list[m.Job]:
        return self._answer("jobs", (), list(self.snapshot.jobs))

    async def job(self, job_id: str) -> m.Job:
        return self._answer("job", (job_id,), self._find(job_id))

    async def job_detail(self, job_id: str) -> m.JobDetail:
        return self._answer("job_detail", (job_id,), job_detail(self._find(job_id)))

    async def pause(self, job_id: str) -> m.Job:
        return self._answer("pause", (job_id,), self._find(job_id))

    async def resume(self, job_id: str) -> m.Job:
        return self._answer("resume", (job_id,), self._find(job_id))

    async def limit_job(self, job_id: str, request: sm.JobLimitRequest) -> m.Job:
        return self._answer("limit_job", (job_id, request), self._find(job_id))

    async def remove(self, job_id: str, *, data: bool = False) -> None:
        self._answer("remove", (job_id, data), None)

    async def daemon_log(self, since: int = 0, level: str = "", limit: int = 1000) -> list[hm.LogRecord]:
        return self._answer("daemon_log", (since, level, limit), list(self.logged))

    async def follow_log(self, since: int = 0, level: str = "") -> AsyncIterator[hm.LogRecord]:
        """What was ``logged``, then what ``log`` adds."""
        self._answer("follow_log", (since, level), ())
        seen = since
        while True:
            for record in [record for record in self.logged if record.seq > seen]:
                seen = record.seq
                yield record
            if self._gone is not None:
                raise self._gone
            self._logged_more.clear()
            await self._logged_more.wait()

    def write_log(self, *records: hm.LogRecord) -> None:
        """Add to the log, and to the streams that follow it."""
        self.logged += records
        self._logged_more.set()

    async def verify_report(self, job_id: str) -> hm.VerifyReport:
        known = self._find(job_id)
        canned = None if known is None or known.kind is not m.JobKind.VERIFY else verify_report(job_id)
        return self._answer("verify_report", (job_id,), canned)

    async def announce(self, job_id: str) -> hm.AnnounceReply:
        return self._answer("announce", (job_id,), hm.AnnounceReply(1, 0))

    async def peers(self) -> hm.PeersReply:
        return self._answer("peers", (), peers_reply())

    async def bans(self) -> list[hm.BanRow]:
        return self._answer("bans", (), [hm.BanRow("192.0.2.44", NOW - 3600, "sent nonsense")])

    async def ban(self, request: hm.BanRequest) -> hm.BanRow:
        return self._answer("ban", (request,), hm.BanRow(request.address, NOW, request.note))

    async def unban(self, network: str) -> None:
        self._answer("unban", (network,), None)

    async def shares(self) -> list[m.ShareRow]:
        return self._answer("shares", (), list(self.snapshot.shares))

    async def share_detail(self, name: str) -> m.ShareDetail:
        found = next((share for share in self.snapshot.shares if name in (share.name, share.share_id)), None)
        return self._answer("share_detail", (name,), None if found is None else share_detail(found))

    async def version_detail(self, name: str) -> m.VersionDetail:
        return self._answer("version_detail", (name,), version_detail(self.snapshot, name))

    async def manifest(self, name: str) -> dict[str, Any]:
        return self._answer("manifest", (name,), {})

    async def diff(self, a: str, b: str) -> m.DiffReply:
        return self._answer("diff", (a, b), diff_reply(a, b))

    async def tag(self, request: m.TagRequest) -> m.ShareDetail:
        found = next(share for share in self.snapshot.shares if share.share_id == request.name.partition("@")[0])
        return self._answer("tag", (request,), share_detail(found))

    async def drop_version(self, name: str) -> am.Freed:
        return self._answer("drop_version", (name,), am.Freed(1_000_000_000))

    async def pins(self) -> list[pn.PinRow]:
        return self._answer("pins", (), [])

    async def pin(self, request: pn.PinRequest) -> pn.PinRow:
        name, _, number = request.name.partition("@v")
        row = pn.PinRow(name, "cars/sd15", int(number or 1), "", NOW, 1_000_000_000)
        return self._answer("pin", (request,), row)

    async def leave_plan(self, share: str) -> am.LeavePlan:
        return self._answer("leave_plan", (share,), leave_plan(share))

    async def leave(self, share: str, *, unpin: bool = False) -> am.LeaveReply:
        return self._answer("leave", (share, unpin), am.LeaveReply(share, "cars/sd15", 209_700_000))

    async def members(self, share: str) -> list[am.MemberRow]:
        return self._answer("members", (share,), list(members()))

    async def set_member(self, request: am.SetMemberRequest) -> am.MembersReply:
        return self._answer("set_member", (request,), am.MembersReply((), ()))

    async def ask(self, request: am.AskRequest) -> am.AskReply:
        return self._answer("ask", (request,), am.AskReply("ab" * 32, "lusab-babad", "cd" * 32))

    async def requests(self, share: str) -> list[am.RequestRow]:
        return self._answer("requests", (share,), list(requests()))

    async def decide(self, request: am.DecideRequest) -> None:
        self._answer("decide", (request,), None)

    async def invite(self, request: am.InviteRequest) -> am.InviteReply:
        return self._answer("invite", (request,), am.InviteReply(LINK, "ab" * 32, "lusab-babad"))

    async def log(self, request: am.LogRequest) -> am.LogReply:
        return self._answer("log", (request,), am.LogReply(request.share, (), 0, 0, 1))

    async def access(self, share: str) -> am.Access:
        known = next((each for each in self.snapshot.shares if share in (each.share_id, each.name)), None)
        return self._answer("access", (share,), None if known is None else access(known))

    async def set_terms(self, request: am.TermsRequest) -> am.Access:
        known = next((each for each in self.snapshot.shares if request.share in (each.share_id, each.name)), None)
        return self._answer("set_terms", (request,), None if known is None else access(known))

    async def sign(self, share: str, digest: str) -> am.SignReply:
        return self._answer("sign", (share, digest), am.SignReply(in_force=True))

    async def withdraw(self, share: str) -> None:
        self._answer("withdraw", (share,), None)

    async def links(self, share: str) -> list[am.LinkRow]:
        return self._answer("links", (share,), list(links()))

    async def create_link(self, request: am.CreateLinkRequest) -> am.LinkReply:
        return self._answer(
            "create_link", (request,), am.LinkReply(f"{LINK}#{'s' * 54}", "", "everybody on this network")
        )

    async def link(self, share: str, link_id: str = "") -> am.LinkReply:
        return self._answer("link", (share, link_id), am.LinkReply(f"{LINK}#{link_id}" if link_id else LINK, "", ""))

    async def revoke_link(self, share: str, link_id: str) -> None:
        self._answer("revoke_link", (share, link_id), None)

    async def key(self) -> m.KeyInfo:
        return self._answer("key", (), key_info())

    async def keys(self) -> list[km.KeyRow]:
        return self._answer("keys", (), key_rows())

    async def decide_key(self, request: km.DecideKeyRequest) -> list[km.KeyRow]:
        return self._answer("decide_key", (request,), key_rows())

    async def settings(self) -> sm.Settings:
        return self._answer("settings", (), settings())

    async def set_setting(self, request: sm.SetRequest) -> sm.SettingRow:
        row = next((row for row in settings().rows if row.key == request.key), None)
        return self._answer("set_setting", (request,), row)

    async def reload_settings(self) -> sm.Settings:
        return self._answer("reload_settings", (), settings())

    async def limits(self) -> sm.Limits:
        return self._answer("limits", (), self.snapshot.status.limits)

    async def turtle(self, request: sm.TurtleRequest) -> sm.Limits:
        return self._answer("turtle", (request,), self.snapshot.status.limits)

    def _find(self, job_id: str) -> m.Job | None:
        return next((known for known in self.snapshot.jobs if known.id == job_id), None)

    def _answer(self, method: str, arguments: tuple[Any, ...], canned: T | None) -> T:
        self.calls.append((method, arguments))
        if method in self.failures:
            raise self.failures[method]
        answer = self.replies.get(method, canned)
        if callable(answer):
            answer = answer(*arguments)
        if answer is None and method not in ("remove", "stop", "revoke_link", "decide", "withdraw", "unban"):
            raise NotFound(f"the replay knows no answer to {method}{arguments}")
        return cast("T", answer)


# -- builders ---------------------------------------------------------------------------------------------------------


def leave_plan(share_id: str = "ab" * 32, **fields: Any) -> am.LeavePlan:
    """Of an owner who is the only one, and seeds two versions alone."""
    given: dict[str, Any] = {
        "share": "cars/sd15",
        "role": Role.OWNER,
        "jobs": ("j1", "j2"),
        "stored": 209_700_000,
        "alone": (2, 3),
        "consequences": (
            "! Nobody else is known to seed v2, v3: nobody could fetch that any more.",
            "! Nobody else can publish: there would be no new version unless you come back.",
            "Its jobs end, and its objects on this machine are deleted.",
        ),
        "link": "p2pckpt:abc?tr=tracker.example",
    }
    return am.LeavePlan(share_id=share_id, **(given | fields))


def job(job_id: str, **changes: Any) -> m.Job:
    """A fetch that runs, unless told otherwise."""
    values: dict[str, Any] = {
        "id": job_id,
        "kind": m.JobKind.FETCH,
        "state": m.JobState.RUNNING,
        "share_id": "5a" * 16,
        "share": "cars/sd15",
        "version": 7,
        "version_name": "",
        "publisher": IDENTITY,
        "path": "/data/checkouts/sd15",
        "phase": m.Phase.NONE,
        "created_at": NOW - 600,
    }
    return m.Job(**{**values, **changes})


def share(share_id: str, name: str, **changes: Any) -> m.ShareRow:
    """A share of mine with three versions."""
    values: dict[str, Any] = {
        "role": Role.OWNER,
        "visibility": Visibility.LINK,
        "owner": IDENTITY,
        "tracker": "https://tracker.example:7341",
        "versions": 3,
        "latest": 3,
        "size": 4 << 30,
        "stored": 6 << 30,
        "tags": {"latest": 3},
        "seeds": 2,
        "members": 4,
        "updated_at": NOW - 7200,
    }
    return m.ShareRow(share_id=share_id, name=name, **{**values, **changes})


def status(**changes: Any) -> m.DaemonStatus:
    """A daemon that is well."""
    values: dict[str, Any] = {
        "version": "0.1.0",
        "pid": 4242,
        "started_at": NOW - 3600,
        "home": "",
        "identity": IDENTITY,
        "name": "alice",
        "listen_ports": (6881,),
        "tracker": "https://tracker.example:7341",
        "tracker_state": "connected",
        "embedded_tracker": True,
        "rate_down": 412 << 20,
        "rate_up": 96 << 20,
        "free_bytes": 1_800 << 30,
        "stored_bytes": 600 << 30,
        "max_loop_stall_ms": 3.0,
        "rss_bytes": 90 << 20,
        "peak_rss_bytes": 120 << 20,
        "jobs": 7,
    }
    return m.DaemonStatus(**{**values, **changes})


def snapshot(jobs: tuple[m.Job, ...] = (), shares: tuple[m.ShareRow, ...] = (), **changes: Any) -> m.Snapshot:
    """The first event of a stream."""
    return m.Snapshot(status=status(**changes), jobs=jobs, shares=shares)


def busy_snapshot() -> m.Snapshot:
    """A daemon with one job of every state and three shares."""
    gib = 1 << 30
    jobs = (
        job(
            "j1",
            share="lab/llama-70b-sft",
            version=42,
            version_name="step-42000",
            phase=m.Phase.DOWNLOADING,
            size=139 * gib,
            done=89 * gib,
            wire_size=73 * gib,
            wire_done=37 * gib,
            reused=51 * gib,
            rate_down=388 << 20,
            rate_up=12 << 20,
            uploaded=3 * gib,
            peers=9,
            seeds=12,
            eta=125,
            path="/data/ckpt/llama-70b-sft",
        ),
        job(
            "j2",
            kind=m.JobKind.PUBLISH,
            share="lab/qwen-moe-run7",
            version=9,
            version_name="step-9000",
            phase=m.Phase.PACKING,
            size=612 * gib,
            done=55 * gib,
            eta=24000,
            path="/runs/qwen/checkpoint-9000",
        ),
        job(
            "j3",
            kind=m.JobKind.VERIFY,
            share="sdxl-turbo-ft",
            version=3,
            phase=m.Phase.CHECKING,
            size=7 * gib,
            done=6 * gib,
        ),
        job(
            "j4",
            kind=m.JobKind.PUBLISH,
            state=m.JobState.SEEDING,
            share="cars/flux-lora-portrait",
            share_id="c1" * 16,
            version=3,
            version_name="step-900",
            size=gib,
            done=gib,
            rate_up=61 << 20,
            uploaded=5 * gib,
            peers=4,
            link="p2pckpt:c1c1#secret",
        ),
        job("j5", state=m.JobState.PAUSED, share="vit-g-pretrain", version=88, size=42 * gib, done=17 * gib),
        job(
            "j6",
            state=m.JobState.FAILED,
            share="whisper-de",
            version=1,
            size=3 * gib,
            done=2 * gib,
            failure=m.Failure(
                "not_allowed", "the owner took your access away", "2.0 GiB in the store", "ask for a new link"
            ),
        ),
        job("j7", state=m.JobState.QUEUED, share="tiny-gpt", version=2, size=gib // 2),
        job(
            "j8",
            kind=m.JobKind.VERIFY,
            state=m.JobState.DONE,
            share="tiny-gpt",
            version=1,
            size=gib // 2,
            done=gib // 2,
        ),
    )
    shares = (
        share("c1" * 16, "cars/flux-lora-portrait", tags={"latest": 3, "stable": 2}, seeds=0),
        share(
            "aa" * 16,
            "lab/llama-70b-sft",
            role=Role.DOWNLOADER,
            visibility=Visibility.MEMBERS,
            versions=14,
            measured=14,
            latest=42,
            tags={"latest": 42, "best": 40},
            size=139 * gib,
            stored=611 * gib,
            seeds=9,
            members=6,
            updated_at=NOW - 720,
        ),
        share(
            "bb" * 16, "whisper-de", role=Role.PUBLISHER, visibility=Visibility.PUBLIC, versions=1, latest=1, seeds=1
        ),
    )
    return snapshot(jobs, shares)


PEERS = (
    m.PeerRow(
        "10.4.0.17:6881",
        "p2pckpt 0.1",
        1000,
        284 << 20,
        0,
        "ST→",
        1200 << 30,
        310 << 30,
        NOW - 7200,
        place="LAN",
        found="tracker",
        who=IDENTITY,
        member=True,
        shares=("lab/llama-70b-sft", "whisper-de"),
        jobs=("j1", "j6"),
    ),
    m.PeerRow(
        "198.51.100.7:51413",
        "p2pckpt 0.1",
        880,
        76 << 20,
        9 << 20,
        "IT",
        210 << 30,
        12 << 30,
        NOW - 840,
        place="internet",
        found="incoming",
        member=True,
        shares=("lab/llama-70b-sft",),
        jobs=("j1",),
    ),
    m.PeerRow(
        "[2001:db8::7]:6881",
        "qBittorrent 5.0",
        410,
        0,
        3 << 20,
        "IC",
        0,
        1 << 30,
        NOW - 60,
        transport="uTP",
        place="internet",
        found="dht",
        shares=("whisper-de",),
        jobs=("j6",),
    ),
)


def record(seq: int, level: str, source: str, event: str, **fields: str) -> hm.LogRecord:
    """A record of the log, a second after the one before it."""
    return hm.LogRecord(seq, NOW - 600 + seq, level, source, event, fields)


LOGGED = (
    record(1, "info", "daemon.main", "daemon ready", port="6881"),
    record(2, "info", "daemon.job_table", "published cars/flux-lora-portrait@step-900", job="j4"),
    record(3, "info", "daemon.feed", "b0b122c7 is now downloader of cars/flux-lora-portrait"),
    record(4, "warning", "jobs.swarms", "a peer sent false data", peer="192.0.2.44:6881"),
    record(5, "info", "daemon.bans", "banned 192.0.2.44", note="sent nonsense"),
    record(
        6,
        "error",
        "daemon.job_table",
        "failed: whisper-de@v1",
        job="j6",
        reason="the owner took your access away",
        kept="2.0 GiB in the store",
        next="ask for a new link",
    ),
)


def verify_report(job_id: str, **changes: Any) -> hm.VerifyReport:
    """Of a version with one bad chunk, one file that ends too early and one bad object."""
    ok, bad, warn = hm.Outcome.OK, hm.Outcome.BAD, hm.Outcome.WARN
    values: dict[str, Any] = {
        "share_id": "5a" * 16,
        "share": "sdxl-turbo-ft",
        "version": 3,
        "path": "/data/checkouts/sdxl",
        "full": False,
        "repair": False,
        "started_at": NOW - 221,
        "ended_at": NOW,
        "checks": (
            hm.CheckRow("signature", ok, "9f3ac21d signed version 3, manifest 4be17a02"),
            hm.CheckRow(
                "chain", ok, "its keys lead back to the root that names the share; the tracker vouches until 14:02"
            ),
            hm.CheckRow("files", bad, "29 of 31: size and mode; 2 damaged"),
            hm.CheckRow("chunks", bad, "35,597 of 35,600 are what was signed; 3 are not"),
            hm.CheckRow("model.sig", hm.Outcome.SKIPPED, "none here"),
            hm.CheckRow("store", bad, "1 of 214 objects are damaged"),
            hm.CheckRow("pickles", warn, "unknown: old/unet.ckpt: imports a.name"),
        ),
        "damage": (
            hm.DamageRow(
                "checkout",
                "model-00017-of-00030.safetensors",
                "other bytes",
                19_204,
                2_061_584_302,
                "7f21" * 16,
                "03bc" * 16,
            ),
            hm.DamageRow("checkout", "model-00002-of-00030.safetensors", "ends at 1,000 of 4,294,967,296 bytes"),
            hm.DamageRow("store", "91aa" * 16, "chunk 91aa91aa91aa decodes to other bytes", 12, 4096, "7e" * 32),
        ),
        "damaged": 3,
        "repaired": 0,
        "chunks": 35_600,
        "bad_chunks": 3,
        "damaged_files": 2,
        "damaged_objects": 1,
    }
    return hm.VerifyReport(job=job_id, **{**values, **changes})


def peers_reply(**changes: Any) -> hm.PeersReply:
    """Three peers of two swarms, one of them found in the DHT."""
    values: dict[str, Any] = {
        "peers": PEERS,
        "count": len(PEERS),
        "listening": (6881, 6882),
        "port_mapping": True,
        "mapped": ("203.0.113.5:6881",),
        "dht": True,
        "lan": True,
        "bans": 1,
    }
    return hm.PeersReply(**{**values, **changes})


def job_detail(known: m.Job | None) -> m.JobDetail | None:
    """Pieces, peers, files and a log for ``known``."""
    if known is None:
        return None
    done = known.done * 600 // known.size if known.size else 0
    levels = [200] * done + [120, 255, 40] + [0] * 600
    return m.JobDetail(
        job=known,
        pieces=bytes(levels[:600]),
        piece_count=35_600,
        piece_size=4 << 20,
        peers=PEERS[:2],
        files=(
            m.FileRow("model-00001-of-00002.safetensors", 4 << 30, 4 << 30, "safetensors"),
            m.FileRow("model-00002-of-00002.safetensors", 4 << 30, 1 << 30, "safetensors"),
            m.FileRow("config.json", 812, 812, "json"),
        ),
        copies=bytes([3] * 300 + [1] * 200 + [0] * 100),
        spread=2410,
        log=("14:02:11 joined the swarm", "14:02:12 9 peers"),
    )


def share_detail(known: m.ShareRow) -> m.ShareDetail:
    """Its versions, newest first; all but the oldest are held."""
    versions = tuple(
        m.VersionRow(
            version=number,
            name=f"step-{number}00",
            tags=tuple(tag for tag, at in known.tags.items() if at == number),
            published_at=NOW - 86400 * (known.latest - number + 1),
            publisher=IDENTITY,
            size=known.size,
            wire_size=known.size // 5,
            files=9,
            held=number > 1,
            info_hash="",
            seeds=0 if number == known.latest else 2,
            step=number * 100 if known.measured else None,
            metrics={"loss": 2.5 - number / 100, "eval": 2.0 + number / 50} if known.measured else {},
            pinned=number in known.pinned,
        )
        for number in range(known.latest, max(known.latest - known.versions, 0), -1)
    )
    run = run_row("/runs/l70") if known.measured else None
    return m.ShareDetail(share=known, versions=versions, run=run)


def version_detail(snapshot: m.Snapshot, name: str) -> m.VersionDetail:
    """A small model with two tensors and a card."""
    share_id, _, number = name.partition("@v")
    known = next(share for share in snapshot.shares if share_id in (share.share_id, share.name))
    row = next(row for row in share_detail(known).versions if row.version == int(number))
    return m.VersionDetail(
        share_id=known.share_id,
        share=known.name,
        version=row,
        publisher=IDENTITY,
        encoder="p2pckpt 0.1.0",
        licence="Apache-2.0",
        base_model=("org/base",),
        card="# A model\n\nIt answers.\n",
        files=(
            m.FileRow("config.json", 1_000, 1_000, "opaque"),
            m.FileRow("model.safetensors", 4 << 30, 0, "safetensors"),
        ),
        directories=(),
        tensors=(
            m.TensorRow("embed.weight", "BF16", (32_000, 4_096), 131_072_000, "model.safetensors"),
            m.TensorRow("scale", "F32", (), 1, "model.safetensors"),
        ),
        parameters=131_072_001,
        chunks=900,
        objects=3,
        stored=3 << 30,
        info_hashes=("ab" * 32,),
        warnings=("model.pt imports numpy.core",),
        publisher_words="lusab-babad-gutih-tugad",
    )


def diff_reply(a: str, b: str) -> m.DiffReply:
    """One file changed, one the same, one new."""
    return m.DiffReply(
        a=a,
        b=b,
        rows=(
            m.DiffRow("config.json", "same", 1_000, 1_000, 0),
            m.DiffRow("model.safetensors", "changed", 4 << 30, 4 << 30, 1 << 30),
            m.DiffRow("notes.txt", "added", 0, 2_000, 2_000),
        ),
        new_bytes=1 << 30,
        wire_bytes=800 << 20,
        tensors_added=(),
        tensors_removed=("old.bias",),
        tensors_changed=tuple(f"layer.{n}.weight" for n in range(9)),
        facts=(m.FactChange("loss", "2.09", "2.08"), m.FactChange("licence", "mit", "apache-2.0")),
    )


def folder_report(request: pm.LookRequest, **changes: Any) -> pm.FolderReport:
    """A model with its card; a share of that name is not known."""
    report = pm.FolderReport(
        path=request.path,
        name=request.name or request.path.rpartition("/")[2],
        known_as=None,
        files=(
            m.FileRow("README.md", 4_000, 0, "opaque"),
            m.FileRow("config.json", 1_000, 0, "opaque"),
            m.FileRow("model.safetensors", (4 << 30), 0, "safetensors"),
        ),
        file_count=3,
        size=(4 << 30) + 5_000,
        licence="Apache-2.0",
        base_model=("meta-llama/Llama-3-70B",),
        tags=("sft", "en"),
        has_card=True,
        warnings=(),
        disk_free=100 << 30,
    )
    return msgspec.structs.replace(report, **changes)


def publish_plan(request: pm.PublishRequest, **changes: Any) -> pm.PublishPlan:
    """A plan for a new version of a small share."""
    values: dict[str, Any] = {
        "share": request.name or Path(request.path).name,
        "version": 2,
        "files": 9,
        "size": 4 << 30,
        "new_size": 1 << 30,
        "stored_size": 700 << 20,
        "new_files": (
            pm.NewFile("model.safetensors", 4 << 30, (1 << 30) - 900, "31 of 120 tensors changed"),
            pm.NewFile("trainer_state.json", 900, 900, "its content"),
        ),
        "new_file_count": 2,
        "warnings": ("optimizer.pt is a pickle",),
        "disk_needed": 1 << 30,
        "disk_free": 100 << 30,
    }
    return pm.PublishPlan(**{**values, **changes})


def fetch_preview(**changes: Any) -> m.FetchPreview:
    """What the link of the tests leads to."""
    values: dict[str, Any] = {
        "share_id": "5a" * 16,
        "share": "cars/sd15",
        "version": 7,
        "version_name": "step-42000",
        "tags": ("latest", "stable"),
        "publisher": IDENTITY,
        "licence": "apache-2.0",
        "files": (
            m.FileRow("model.safetensors", 4 << 30, 1 << 30, "safetensors"),
            m.FileRow("config.json", 812, 0, "json"),
        ),
        "size": 4 << 30,
        "reused": 1 << 30,
        "wire_size": 2 << 30,
        "disk_needed": 5 << 30,
        "disk_free": 100 << 30,
        "seeds": 9,
        "to": "/data/checkouts/sd15",
        "conflicts": ("config.json",),
        "warnings": ("model.safetensors has 2 tensors with NaN",),
    }
    return m.FetchPreview(**{**values, **changes})


def settings(file: str = "/home/alice/.config/p2pckpt/config.toml", **values: Value) -> sm.Settings:
    """Every setting at its default, except those named: they stand in the user's file."""
    return sm.Settings(
        file,
        tuple(
            sm.SettingRow(
                row.key,
                row.group,
                row.help,
                row.kind,
                row.choices,
                row.default,
                values.get(row.key, row.default),
                file if row.key in values else "default",
                row.environment,
                row.live,
                values.get(row.key, row.default) if row.live else row.default,
            )
            for row in SETTINGS
        ),
    )


def key_info(**changes: Any) -> m.KeyInfo:
    """Our own key, which owns two shares, one of them alone."""
    values: dict[str, Any] = {
        "identity": IDENTITY,
        "words": words(bytes.fromhex(IDENTITY)),
        "public_text": "p2pckpt-id:2.alices-text",
        "name": "alice",
        "created_at": NOW - 86400 * 300,
        "path": "/home/alice/.local/share/p2pckpt/keys/identity.json",
        "backup_at": NOW - 86400 * 41,
        "owned": (
            m.OwnedShare("c1" * 16, "cars/flux-lora-portrait", 1, 1),
            m.OwnedShare("aa" * 16, "lab/llama-70b-sft", 2, 1),
        ),
    }
    return m.KeyInfo(**{**values, **changes})


def key_row(seed: int, name: str, state: KeyState = KeyState.UNVERIFIED, **changes: Any) -> km.KeyRow:
    """Somebody who publishes in one share."""
    identity = f"{seed:02x}" * 32
    values: dict[str, Any] = {
        "words": words(bytes.fromhex(identity)),
        "name": name,
        "state": state,
        "first_seen": NOW - 86400 * 9,
        "how": How.LINK,
        "places": (km.KeyPlace("aa" * 16, "lab/llama-70b-sft", "publisher", NOW - 86400 * 9, How.LINK, 3),),
    }
    return km.KeyRow(identity=identity, **{**values, **changes})


def key_rows() -> list[km.KeyRow]:
    """One key of every state, and one under the name of another."""
    place = km.KeyPlace("bb" * 16, "whisper-de", "publisher", NOW - 3600, How.SHARE, 12, Review.PUBLISHER)
    taken = km.KeyPlace("aa" * 16, "lab/llama-70b-sft", "publisher", NOW - 60, How.SHARE, 9, Review.NAME)
    bob = key_row(0xB0, "bob-lab", KeyState.VERIFIED, verified_at=NOW - 86400 * 80, everywhere=True)
    return [
        bob,
        key_row(0x77, "dave", KeyState.BLOCKED, blocked_at=NOW - 86400 * 2, reason="laptop lost"),
        key_row(0xCA, "carol"),
        key_row(0x9F, "Chen Wei", KeyState.REVIEW, first_seen=NOW - 3600, how=How.SHARE, places=(place,)),
        key_row(
            0x66,
            "B0b Lab",
            KeyState.REVIEW,
            first_seen=NOW - 60,
            how=How.SHARE,
            places=(taken,),
            namesakes=(km.Namesake(bob.identity, bob.words, bob.name, bob.verified_at),),
        ),
    ]


BOB, CAROL, DAVE = ("b0" * 32, "ca" * 32, "da" * 32)
"""Identities of others."""


def member(identity: str, name: str, role: Role = Role.DOWNLOADER, **changes: Any) -> am.MemberRow:
    """Somebody whom an owner added ten days ago."""
    values: dict[str, Any] = {"added_at": NOW - 864_000, "link_id": "", "me": identity == IDENTITY}
    return am.MemberRow(
        identity=identity, words=f"words-of-{name or 'nobody'}", name=name, role=role, **{**values, **changes}
    )


def members() -> tuple[am.MemberRow, ...]:
    """Me, a publisher, and one who came by a link."""
    return (
        member(IDENTITY, "alice", Role.OWNER, added_at=NOW - 8_640_000),
        member(BOB, "bob-lab", Role.PUBLISHER),
        member(CAROL, "carol", link_id="11" * 8, accepted_at=NOW - 7200),
    )


def requests() -> tuple[am.RequestRow, ...]:
    """One who asks, and was removed before."""
    return (am.RequestRow(DAVE, "words-of-dave", "dave", "dave from the lab", NOW - 300, NOW - 864_000),)


def links() -> tuple[am.LinkRow, ...]:
    """One of every state."""

    def link(number: int, **changes: Any) -> am.LinkRow:
        values: dict[str, Any] = {
            "expires_at": 0,
            "max_uses": 0,
            "uses": 0,
            "created_at": NOW - 86_400,
            "revoked": False,
        }
        return am.LinkRow(
            link_id=f"{number}{number}" * 8,
            share="cars/flux-lora-portrait",
            role=Role.DOWNLOADER,
            **{**values, **changes},
        )

    return (
        link(1, max_uses=5, uses=1, expires_at=NOW + 6 * 86_400),
        link(2, max_uses=1, uses=1),
        link(3, expires_at=NOW - 60),
        link(4, revoked=True),
        link(5, revoked=True, burnt=True),
    )


def proposal(**changes: Any) -> am.Proposal:
    """Bob shall be an owner; another owner has signed that."""
    values: dict[str, Any] = {
        "owners_added": (BOB,),
        "owners_removed": (),
        "publishers_added": (),
        "publishers_removed": (BOB,),
        "threshold": 2,
        "missing": 1,
        "signed": False,
        "digest": "d1" * 32,
    }
    return am.Proposal(**{**values, **changes})


def access(known: m.ShareRow, **changes: Any) -> am.Access:
    """The terms of ``known``: encrypted unless it is public."""
    sealed = known.visibility is not Visibility.PUBLIC
    values: dict[str, Any] = {
        "share": known.name,
        "visibility": known.visibility,
        "role": known.role,
        "owners": (IDENTITY, CAROL),
        "publishers": (BOB,),
        "threshold": 1,
        "epoch": 3 if sealed else 0,
        "readers": 3,
        "swarm_tls": sealed,
        "licence": "apache-2.0",
        "fresh_until": NOW + 86_400,
        "signed_at": NOW - 3600,
        "expires_at": NOW + 8_640_000,
        "proposals": (),
    }
    return am.Access(**{**values, **changes})


def log_reply(**changes: Any) -> am.LogReply:
    """A log of four rows, the last not signed yet."""
    rows = (
        am.LogRow(1, NOW - 864_000, IDENTITY, "alice", "create", "", ""),
        am.LogRow(2, NOW - 86_400, IDENTITY, "alice", "role", f"{BOB} publisher", "bob-lab"),
        am.LogRow(3, NOW - 7_200, CAROL, "carol", "fetched", "7a" * 32, "v3"),
        am.LogRow(4, NOW - 60, "", "", "link-burnt", "55" * 8, ""),
    )
    values: dict[str, Any] = {
        "share": "cars/flux-lora-portrait",
        "rows": rows,
        "verified": 4,
        "signed": 3,
        "signed_at": NOW - 30,
    }
    return am.LogReply(**{**values, **changes})


def run_row(path: str) -> rm.RunRow:
    """A run whose newest save was refused."""
    newest = rm.SaveRow(
        name="checkpoint-4210",
        path=f"{path}/checkpoint-4210",
        state=rm.SaveState.REJECTED,
        why="model.safetensors ends before its tensors do",
    )
    return rm.RunRow(
        name="lab/llama-70b-sft",
        path=path,
        kind="transformers",
        watching=True,
        retention=rm.Retention(),
        published=42,
        rejected=1,
        last=newest,
        every=660,
    )
