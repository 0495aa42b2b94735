"""A day in a lab as a daemon would tell it: what the screenshots of the documentation show. Nobody in it is real."""

from __future__ import annotations

import hashlib
import math
import random
from typing import Any, Final

import msgspec

from p2pckpt.control import access_messages as am
from p2pckpt.control import health_messages as hm
from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control import settings_messages as sm
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.identity import words
from p2pckpt.trust.known_keys import How, KeyState, Review
from tests.support import replay_feed as replay

NOW: Final = replay.NOW
MINUTE, HOUR, DAY = 60, 3600, 86_400
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


ALICE, BOB, CAROL, CHEN, DAVE, EVE = (_id(name) for name in ("alice", "bob", "carol", "chen", "dave", "eve"))
LLAMA, FLUX, QWEN, WHISPER, SDXL, VIT = (_id(name)[:32] for name in ("llama", "flux", "qwen", "whisper", "sdxl", "vit"))
TRACKER: Final = "https://tracker.example:7341"
LINK: Final = f"p2pckpt:{'kudnbzwz4ysgweh4f4pbgzi7kcl5tysretnp6j74lva5binnbqnq'}?tr=tracker.example:7341"


def _job(job_id: str, share_id: str, name: str, publisher: str, **fields: Any) -> m.Job:
    return replay.job(job_id, share_id=share_id, share=name, publisher=publisher, **fields)


JOBS: Final = (
    _job(
        "j31",
        LLAMA,
        "lab/llama-70b-sft",
        CAROL,
        version=14,
        version_name="step-42000",
        phase=m.Phase.DOWNLOADING,
        size=131 * GIB,
        done=84 * GIB,
        wire_size=92 * GIB,
        wire_done=53 * GIB,
        reused=9 * GIB,
        rate_down=388 * MIB,
        rate_up=41 * MIB,
        uploaded=11 * GIB,
        peers=5,
        seeds=5,
        eta=105,
        path="/data/models/llama-70b-sft",
        created_at=NOW - 4 * MINUTE,
    ),
    _job(
        "j30",
        QWEN,
        "lab/qwen-moe-run7",
        ALICE,
        kind=m.JobKind.PUBLISH,
        version=9,
        version_name="step-9000",
        phase=m.Phase.PACKING,
        size=57 * GIB,
        done=22 * GIB,
        reused=4 * GIB,
        eta=95,
        path="/runs/qwen-moe-run7/step-9000",
        created_at=NOW - MINUTE,
    ),
    _job(
        "j29",
        SDXL,
        "sdxl-turbo-ft",
        BOB,
        kind=m.JobKind.VERIFY,
        state=m.JobState.FAILED,
        version=3,
        size=13 * GIB,
        done=13 * GIB,
        path="/data/models/sdxl-turbo-ft",
        ended_at=NOW - 12 * MINUTE,
        failure=m.Failure(
            "verification_failed",
            "3 chunks in 1 file and 1 object in the store are damaged",
            "nothing was changed",
            "p2pckpt verify --repair sdxl-turbo-ft@v3",
        ),
    ),
    _job(
        "j27",
        FLUX,
        "cars/flux-lora-portrait",
        ALICE,
        kind=m.JobKind.PUBLISH,
        state=m.JobState.SEEDING,
        version=3,
        version_name="step-900",
        size=344 * MIB,
        done=344 * MIB,
        wire_size=301 * MIB,
        wire_done=301 * MIB,
        rate_up=55 * MIB,
        uploaded=1500 * MIB,
        peers=4,
        seeds=2,
        link=f"{LINK}#secret",
        path="/runs/flux-lora/step-900",
    ),
    _job(
        "j26",
        WHISPER,
        "whisper-large-v3-de",
        CHEN,
        state=m.JobState.SEEDING,
        version=2,
        size=3 * GIB,
        done=3 * GIB,
        wire_size=2300 * MIB,
        wire_done=2300 * MIB,
        uploaded=6 * GIB,
        rate_up=800 * KIB,
        peers=3,
        seeds=14,
        path="/data/models/whisper-large-v3-de",
    ),
    _job(
        "j24",
        VIT,
        "vit-g-pretrain",
        BOB,
        state=m.JobState.PAUSED,
        version=4,
        version_name="epoch-88",
        size=7 * GIB,
        done=3 * GIB,
        wire_size=6 * GIB,
        wire_done=2 * GIB,
        seeds=1,
        path="/data/models/vit-g-pretrain",
    ),
    _job(
        "j32",
        SDXL,
        "sdxl-turbo-ft",
        BOB,
        state=m.JobState.QUEUED,
        version=4,
        version_name="step-6000",
        size=13 * GIB,
        wire_size=10 * GIB,
        seeds=2,
        path="/data/models/sdxl-turbo-ft-v4",
    ),
    _job(
        "j22",
        QWEN,
        "lab/qwen-moe-run7",
        ALICE,
        kind=m.JobKind.VERIFY,
        state=m.JobState.DONE,
        version=8,
        version_name="step-8000",
        size=57 * GIB,
        done=57 * GIB,
        path="/runs/qwen-moe-run7/step-8000",
        ended_at=NOW - 2 * HOUR,
    ),
)

SHARES: Final = (
    replay.share(
        FLUX,
        "cars/flux-lora-portrait",
        owner=ALICE,
        size=344 * MIB,
        stored=640 * MIB,
        tags={"latest": 3, "stable": 2},
        members=3,
        requests=1,
        updated_at=NOW - 50 * MINUTE,
    ),
    replay.share(
        LLAMA,
        "lab/llama-70b-sft",
        role=Role.DOWNLOADER,
        visibility=Visibility.MEMBERS,
        owner=CAROL,
        versions=14,
        latest=14,
        measured=14,
        size=131 * GIB,
        stored=158 * GIB,
        tags={"latest": 14, "best": 13, "stable": 10},
        seeds=5,
        members=6,
        updated_at=NOW - 12 * MINUTE,
    ),
    replay.share(
        QWEN,
        "lab/qwen-moe-run7",
        visibility=Visibility.MEMBERS,
        owner=ALICE,
        versions=8,
        latest=8,
        measured=8,
        size=57 * GIB,
        stored=301 * GIB,
        tags={"latest": 8},
        seeds=0,
        members=4,
        updated_at=NOW - 2 * HOUR,
    ),
    replay.share(
        SDXL,
        "sdxl-turbo-ft",
        role=Role.DOWNLOADER,
        owner=BOB,
        versions=4,
        latest=4,
        size=13 * GIB,
        stored=10 * GIB,
        tags={"latest": 4, "stable": 3},
        seeds=2,
        members=9,
        updated_at=NOW - 5 * HOUR,
    ),
    replay.share(
        VIT,
        "vit-g-pretrain",
        role=Role.DOWNLOADER,
        visibility=Visibility.MEMBERS,
        owner=BOB,
        versions=4,
        latest=4,
        size=7 * GIB,
        stored=2 * GIB,
        tags={"latest": 4},
        seeds=1,
        members=5,
        updated_at=NOW - 6 * DAY,
    ),
    replay.share(
        WHISPER,
        "whisper-large-v3-de",
        role=Role.PUBLISHER,
        visibility=Visibility.PUBLIC,
        owner=CHEN,
        versions=2,
        latest=2,
        size=3 * GIB,
        stored=2300 * MIB,
        tags={"latest": 2},
        seeds=14,
        members=31,
        updated_at=NOW - 9 * DAY,
    ),
)


def status(rate_down: int = 388 * MIB, rate_up: int = 97 * MIB) -> m.DaemonStatus:
    """The daemon, at these bytes per second."""
    return replay.status(
        identity=ALICE,
        rate_down=rate_down,
        rate_up=rate_up,
        free_bytes=1_800 * GIB,
        stored_bytes=474 * GIB,
        listen_ports=(6881, 6882),
        jobs=len(JOBS),
    )


def snapshot() -> m.Snapshot:
    """A transfer, a publish, a verify that found something, seeds, and what waits."""
    return m.Snapshot(status=status(), jobs=JOBS, shares=SHARES)


def minutes_before() -> list[m.Event]:
    """How rates went until now."""
    downs = (0, 0, 120, 240, 310, 350, 372, 340, 365, 380, 391, 385, 402, 396, 379, 388)
    ups = (20, 22, 35, 31, 44, 60, 58, 72, 80, 76, 91, 88, 94, 90, 99, 97)
    return [m.StatusChanged(status(down * MIB, up * MIB)) for down, up in zip(downs, ups, strict=True)]


def _name(share: str, number: int) -> str:
    every = {"lab/llama-70b-sft": 3000, "lab/qwen-moe-run7": 1000, "cars/flux-lora-portrait": 300}.get(share, 0)
    if not every:
        return {"sdxl-turbo-ft": f"step-{number * 1500}", "vit-g-pretrain": f"epoch-{number * 22}"}.get(share, "")
    return f"step-{number * every}"


_BUMPS: Final = (0, 0.01, -0.02, 0.02, 0, -0.01, 0.015, 0, 0.04, -0.01, 0, 0.005, -0.012, 0.021)


def share_detail(known: m.ShareRow) -> m.ShareDetail:
    """Its versions, one a day or so, newest first."""
    versions = []
    for number in range(known.latest, 0, -1):
        step = int(name.partition("-")[2]) if (name := _name(known.name, number)) and known.measured else None
        loss = 1.05 + 0.95 * math.exp(-number / 4) + _BUMPS[number - 1]
        metrics = {"loss": round(loss, 3), "mmlu": round(0.71 - 0.22 * math.exp(-number / 5), 3)}
        seeds = known.seeds if number == known.latest else max(min(known.seeds, 1 + number // 3) - 1, 0)
        versions.append(
            m.VersionRow(
                version=number,
                name=name,
                tags=tuple(tag for tag, at in known.tags.items() if at == number),
                published_at=known.updated_at - DAY * (known.latest - number) - 1800 * (number % 5),
                publisher=known.owner,
                size=known.size,
                wire_size=known.size * 7 // 10 if number == 1 else known.size * (60 + number * 7 % 9) // 100,
                files=3 if known.size < GIB else 36,
                held=known.role is Role.OWNER or number in (known.latest - 1, 10),
                info_hash=_id(f"{known.name} {number}"),
                seeds=seeds,
                step=step if known.measured else None,
                metrics=metrics if known.measured else {},
            )
        )
    return m.ShareDetail(share=known, versions=tuple(versions))


def _peer(address: str, who: str, down: int, up: int, jobs: tuple[str, ...], **fields: Any) -> m.PeerRow:
    given: dict[str, Any] = {
        "client": "p2pckpt 0.1",
        "have": 1000,
        "flags": "ST→",
        "total_down": down * 190,
        "total_up": up * 230,
        "since": NOW - 4 * MINUTE,
        "place": "LAN" if address.startswith("10.") else "internet",
        "found": "tracker",
        "who": who,
        "member": True,
        "shares": tuple(job.share for job in JOBS if job.id in jobs),
    }
    return m.PeerRow(address=address, rate_down=down, rate_up=up, jobs=jobs, **{**given, **fields})


PEERS: Final = (
    _peer("10.4.0.17:6882", CAROL, 171 * MIB, 0, ("j31",)),
    _peer("10.4.0.23:6882", BOB, 96 * MIB, 0, ("j31",), total_down=18 * GIB),
    _peer("10.4.0.41:51210", CHEN, 62 * MIB, 24 * MIB, ("j31", "j27"), have=730, flags="IT"),
    _peer("198.51.100.7:6882", "", 34 * MIB, 17 * MIB, ("j31",), have=410, flags="IT", found="incoming"),
    _peer("203.0.113.88:6882", "", 25 * MIB, 0, ("j31",), since=NOW - 2 * MINUTE),
    _peer("10.4.0.60:40122", DAVE, 0, 38 * MIB, ("j27",), have=640, flags="IT", since=NOW - 50 * MINUTE),
    _peer("198.51.100.130:6882", EVE, 0, 17 * MIB, ("j27",), have=880, flags="IT", since=NOW - 31 * MINUTE),
    _peer(
        "[2001:db8::7]:6881",
        "",
        0,
        800 * KIB,
        ("j26",),
        client="qBittorrent 5.0",
        have=412,
        flags="IE",
        member=False,
        found="dht",
        since=NOW - 3 * HOUR,
        total_up=4 * GIB,
    ),
    _peer(
        "192.0.2.155:51413",
        "",
        0,
        0,
        ("j26",),
        client="Transmission 4.1",
        flags="S",
        member=False,
        found="dht",
        since=NOW - 26 * HOUR,
        total_up=1100 * MIB,
    ),
)


def peers_reply() -> hm.PeersReply:
    """Everybody who is connected, and how others find this machine."""
    return replay.peers_reply(peers=PEERS, count=len(PEERS))


def _pieces(fraction: float, count: int = 720) -> tuple[bytes, bytes]:
    """Cells as they are in the middle of a transfer, rarest first, and how many peers have each."""
    chance = random.Random(7)
    cells, copies = bytearray(), bytearray()
    for at in range(count):
        wave = 0.16 * math.sin(at / 37) + 0.1 * math.sin(at / 9)
        drawn = chance.random()
        if drawn < fraction + wave + 0.12 * (at % 5 > 1):
            cells.append(200)
        elif drawn > 0.985:
            cells.append(255)
        else:
            cells.append(0 if drawn > fraction + 0.2 else chance.choice((40, 110, 170)))
        copies.append(255 if cells[-1] == 200 and at % 3 else chance.choice((2, 3, 3, 4, 4, 5, 5, 6)))
    return bytes(cells), bytes(copies)


def job_detail(job_id: str) -> m.JobDetail:
    """Pieces, peers and files of a transfer."""
    job = next(job for job in JOBS if job.id == job_id)
    pieces, copies = _pieces(job.done / job.size if job.size else 0)
    if job.done == job.size:
        pieces, copies = bytes([200]) * 720, b""
    shards = 30 if job.size > 50 * GIB else 3
    each = job.size // shards
    return m.JobDetail(
        job=job,
        pieces=pieces,
        piece_count=max(job.wire_size // (4 * MIB), 1),
        piece_size=4 * MIB,
        peers=tuple(peer for peer in PEERS if job_id in peer.jobs),
        files=(
            m.FileRow("README.md", 5_210, 5_210, "opaque"),
            m.FileRow("config.json", 812, 812, "opaque"),
            *(
                m.FileRow(
                    f"model-{number:05}-of-{shards:05}.safetensors",
                    each,
                    each if number * job.size < job.done * shards else 0,
                    "safetensors",
                )
                for number in range(1, shards + 1)
            ),
        ),
        copies=copies,
        spread=3410,
        log=("14:09:20 joined the swarm", "14:09:21 5 seeds, 2 others"),
    )


def diff_reply(a: str, b: str) -> m.DiffReply:
    """One training step of thirty shards: most changed, embeddings did not."""
    shard = 131 * GIB // 30
    new = [int(shard * share) for share in (0.62, 0.64, 0.63, 0.66, 0.61, 0.65, 0.64, 0.63, 0.62, 0.66)]
    changed = tuple(
        m.DiffRow(f"model-{number:05}-of-00030.safetensors", "changed", shard, shard, new[number % 10])
        for number in range(2, 30)
    )
    rows = (
        *changed,
        m.DiffRow("trainer_state.json", "changed", 61_204, 63_880, 63_880),
        m.DiffRow("eval_step42000.json", "added", 0, 4_112, 4_112),
        m.DiffRow("eval_step39000.json", "removed", 4_098, 0, 0),
        m.DiffRow("model-00001-of-00030.safetensors", "same", shard, shard, 0),
        m.DiffRow("model-00030-of-00030.safetensors", "same", shard, shard, 0),
        m.DiffRow("config.json", "same", 812, 812, 0),
        m.DiffRow("tokenizer.json", "same", 9_085_698, 9_085_698, 0),
    )
    fields = {
        "tensors_added": (),
        "tensors_removed": (),
        "tensors_changed": tuple(f"model.layers.{n}.self_attn.q_proj.weight" for n in range(80)),
    }
    return m.DiffReply(a=a, b=b, rows=rows, new_bytes=sum(row.new_bytes for row in rows), wire_bytes=55 * GIB, **fields)


def members() -> list[am.MemberRow]:
    """Of flux-lora-portrait: two who were added by key, one who came by a link."""

    def member(identity: str, name: str, role: Role, **fields: Any) -> am.MemberRow:
        row = replay.member(identity, name, role, **fields)
        return msgspec.structs.replace(row, words=words(bytes.fromhex(identity)), me=identity == ALICE)

    return [
        member(ALICE, "alice", Role.OWNER, added_at=NOW - 41 * DAY),
        member(BOB, "bob-lab", Role.PUBLISHER, added_at=NOW - 40 * DAY),
        member(CHEN, "Chen Wei", Role.DOWNLOADER, added_at=NOW - 9 * DAY, link_id="6f0a41c2d9b8e713"),
    ]


def requests() -> list[am.RequestRow]:
    """Dave asks."""
    text = "dave from the vision group, for the poster"
    return [am.RequestRow(DAVE, words(bytes.fromhex(DAVE)), "dave", text, NOW - 7 * MINUTE, 0)]


def links() -> list[am.LinkRow]:
    """One that is open, one that was used, one that was taken back."""

    def link(link_id: str, **fields: Any) -> am.LinkRow:
        given: dict[str, Any] = {"expires_at": 0, "max_uses": 0, "uses": 0, "revoked": False}
        return am.LinkRow(link_id=link_id, share="cars/flux-lora-portrait", role=Role.DOWNLOADER, **{**given, **fields})

    return [
        link("6f0a41c2d9b8e713", max_uses=10, uses=1, expires_at=NOW + 6 * DAY, created_at=NOW - 9 * DAY),
        link("b27d90e4115ac38f", max_uses=1, uses=1, created_at=NOW - 12 * DAY),
        link("03e85bd47f21a96c", revoked=True, created_at=NOW - 40 * DAY),
    ]


def access(share: str) -> am.Access:
    """The terms of a share: encrypted, one owner's signature is enough."""
    known = next(each for each in SHARES if share in (each.share_id, each.name))
    return replay.access(known, owners=(known.owner,), publishers=(BOB,), licence="apache-2.0")


def key_info() -> m.KeyInfo:
    """Alice's own key."""
    return replay.key_info(
        identity=ALICE,
        words=words(bytes.fromhex(ALICE)),
        path="~/.local/share/p2pckpt/keys/identity.json",
        owned=(
            m.OwnedShare(FLUX, "cars/flux-lora-portrait", 1, 1),
            m.OwnedShare(QWEN, "lab/qwen-moe-run7", 1, 1),
        ),
    )


def key_rows() -> list[km.KeyRow]:
    """Those whom Alice knows: one to be reviewed."""

    def row(identity: str, name: str, state: KeyState, *places: km.KeyPlace, **fields: Any) -> km.KeyRow:
        given: dict[str, Any] = {"first_seen": NOW - 40 * DAY, "how": How.LINK}
        return km.KeyRow(
            identity=identity,
            words=words(bytes.fromhex(identity)),
            name=name,
            state=state,
            places=places,
            **{**given, **fields},
        )

    llama = "lab/llama-70b-sft"
    return [
        row(
            CHEN,
            "Chen Wei",
            KeyState.REVIEW,
            km.KeyPlace(LLAMA, llama, "publisher", NOW - HOUR, How.SHARE, 14, Review.PUBLISHER),
            km.KeyPlace(WHISPER, "whisper-large-v3-de", "owner", NOW - 9 * DAY, How.LINK, 1),
            first_seen=NOW - 9 * DAY,
        ),
        row(
            CAROL,
            "carol",
            KeyState.VERIFIED,
            km.KeyPlace(LLAMA, llama, "owner", NOW - 30 * DAY, How.LINK, 1),
            verified_at=NOW - 30 * DAY,
            everywhere=True,
        ),
        row(
            BOB,
            "bob-lab",
            KeyState.VERIFIED,
            km.KeyPlace(SDXL, "sdxl-turbo-ft", "owner", NOW - 40 * DAY, How.LINK, 1, verified_at=NOW - 39 * DAY),
            km.KeyPlace(VIT, "vit-g-pretrain", "owner", NOW - 20 * DAY, How.LINK, 1),
            verified_at=NOW - 39 * DAY,
        ),
        row(
            EVE,
            "eve",
            KeyState.UNVERIFIED,
            km.KeyPlace(SDXL, "sdxl-turbo-ft", "member", NOW - 3 * DAY, How.MEMBERS),
            first_seen=NOW - 3 * DAY,
            how=How.MEMBERS,
        ),
        row(
            _id("mallory"),
            "mallory",
            KeyState.BLOCKED,
            km.KeyPlace(VIT, "vit-g-pretrain", "", NOW - 20 * DAY, How.SHARE),
            blocked_at=NOW - 2 * DAY,
            reason="laptop lost",
        ),
    ]


def log() -> list[hm.LogRecord]:
    """The morning, and the last quarter of an hour."""
    rows: tuple[tuple[int, str, str, str, dict[str, str]], ...] = (
        (21_600, "info", "daemon.main", "daemon ready", {"port": "6881"}),
        (21_590, "info", "daemon.job_table", "seeding whisper-large-v3-de@v2", {"job": "j26"}),
        (7_412, "info", "daemon.job_table", "verifying lab/qwen-moe-run7@step-8000", {"job": "j22"}),
        (7_200, "info", "daemon.job_table", "verified lab/qwen-moe-run7@step-8000", {"job": "j22"}),
        (3_105, "info", "daemon.job_table", "publishing cars/flux-lora-portrait@step-900", {"job": "j27"}),
        (3_098, "info", "daemon.job_table", "published cars/flux-lora-portrait@step-900", {"job": "j27"}),
        (2_410, "warning", "jobs.swarms", "a peer sent false data", {"peer": "192.0.2.44:6881"}),
        (2_388, "info", "daemon.bans", "banned 192.0.2.44", {"note": "sent false data twice"}),
        (1_260, "warning", "jobs.announcing", "announce failed", {"tracker_reason": "the tracker did not answer"}),
        (1_212, "info", "daemon.job_table", "verifying sdxl-turbo-ft@v3", {"job": "j29"}),
        (
            720,
            "error",
            "daemon.job_table",
            "failed: sdxl-turbo-ft@v3",
            {
                "job": "j29",
                "reason": "3 chunks in 1 file and 1 object in the store are damaged",
                "kept": "nothing was changed",
                "next": "p2pckpt verify --repair sdxl-turbo-ft@v3",
            },
        ),
        (240, "info", "daemon.job_table", "receiving lab/llama-70b-sft@step-42000", {"job": "j31"}),
        (60, "info", "daemon.job_table", "publishing lab/qwen-moe-run7@step-9000", {"job": "j30"}),
    )
    return [
        hm.LogRecord(seq, NOW - ago, level, source, event, fields)
        for seq, (ago, level, source, event, fields) in enumerate(rows, start=1)
    ]


def verify_report(job_id: str) -> hm.VerifyReport:
    """Of sdxl-turbo-ft: a bad disk."""
    ok, bad = hm.Outcome.OK, hm.Outcome.BAD
    broken = "unet/diffusion_pytorch_model.safetensors"
    root = _id("an object")
    damage = tuple(
        hm.DamageRow(
            "checkout", broken, "other bytes", chunk, chunk * 3 * MIB + 4096, _id(f"{chunk}"), _id(f"-{chunk}")
        )
        for chunk in (1204, 1205, 1377)
    )
    return replay.verify_report(
        job_id,
        share_id=SDXL,
        share="sdxl-turbo-ft",
        path="/data/models/sdxl-turbo-ft",
        started_at=NOW - 12 * MINUTE - 92,
        ended_at=NOW - 12 * MINUTE,
        checks=(
            hm.CheckRow("signature", ok, f"{BOB[:8]} signed version 3, manifest {_id('manifest')[:8]}"),
            hm.CheckRow(
                "chain",
                ok,
                "its keys lead back to the root that names the share; the tracker vouches until 2026-09-22 09:40",
            ),
            hm.CheckRow("files", bad, "18 of 19: size and mode; 1 damaged"),
            hm.CheckRow("chunks", bad, "4,404 of 4,407 are what was signed; 3 are not"),
            hm.CheckRow("model.sig", ok, "is what the publisher signed"),
            hm.CheckRow("store", bad, "1 of 214 objects are damaged"),
            hm.CheckRow("pickles", ok, "nothing known to be bad in 19 files"),
        ),
        damage=(
            *damage,
            hm.DamageRow("store", root, f"chunk {_id('c')[:12]} decodes to other bytes", 311, 40_960, _id("c")),
        ),
        damaged=4,
        chunks=4_407,
        damaged_files=1,
    )


def folder_report(request: pm.LookRequest) -> pm.FolderReport:
    """A checkpoint of the run that is published."""
    return replay.folder_report(
        request,
        path="/runs/qwen-moe-run7/step-9000",
        name="lab/qwen-moe-run7",
        known_as=Visibility.MEMBERS,
        files=(
            m.FileRow("README.md", 4_310, 0, "opaque"),
            m.FileRow("config.json", 1_204, 0, "opaque"),
            *(
                m.FileRow(f"model-{number:05}-of-00012.safetensors", 57 * GIB // 12, 0, "safetensors")
                for number in range(1, 13)
            ),
            m.FileRow("optimizer.pt", 9 * GIB, 0, "pytorch"),
        ),
        file_count=15,
        size=66 * GIB,
        licence="apache-2.0",
        base_model=("Qwen/Qwen3-30B-A3B",),
        tags=("moe", "sft"),
        disk_free=1_800 * GIB,
    )


def publish_plan(request: pm.PublishRequest) -> pm.PublishPlan:
    """What a new version of it would cost."""
    return pm.PublishPlan(
        share="lab/qwen-moe-run7",
        version=9,
        files=15,
        size=66 * GIB,
        new_size=49 * GIB,
        stored_size=33 * GIB,
        delta_size=12 * GIB,
        new_files=tuple(
            pm.NewFile(f"model-{number:05}-of-00012.safetensors", 5 * GIB, 4 * GIB, "96 of 112 tensors changed")
            for number in range(2, 13)
        ),
        new_file_count=11,
        warnings=("optimizer.pt is a pickle: nothing known to be bad is in it",),
        disk_needed=36 * GIB,
        disk_free=1_800 * GIB,
    )


def fetch_preview() -> m.FetchPreview:
    """A version of whisper by somebody who is known."""
    publisher = key_rows()[1]
    return replay.fetch_preview(
        share_id=LLAMA,
        share="lab/llama-70b-sft",
        version=14,
        version_name="step-42000",
        tags=("latest",),
        publisher=CAROL,
        publisher_words=publisher.words,
        publisher_key=publisher,
        licence="llama3",
        files=tuple(
            m.FileRow(f"model-{number:05}-of-00030.safetensors", 131 * GIB // 30, 0, "safetensors")
            for number in range(1, 31)
        ),
        size=131 * GIB,
        reused=9 * GIB,
        wire_size=92 * GIB,
        disk_needed=223 * GIB,
        disk_free=1_800 * GIB,
        seeds=5,
        to="/data/models/llama-70b-sft",
        conflicts=(),
        warnings=(),
    )


def settings() -> sm.Settings:
    """Some of them are Alice's own."""
    return replay.settings(
        file="~/.config/p2pckpt/config.toml",
        upload_limit=100 * MIB,
        turtle_hours="mon-fri 09:00-18:00",
    )


def replies() -> dict[str, Any]:
    """What the daemon answers, by method of its client."""

    def detail(name: str) -> m.ShareDetail:
        return share_detail(next(each for each in SHARES if name in (each.share_id, each.name)))

    return {
        "job_detail": job_detail,
        "share_detail": detail,
        "diff": diff_reply,
        "members": lambda share: members(),
        "requests": lambda share: requests(),
        "links": lambda share: links(),
        "access": access,
        "key": key_info(),
        "keys": key_rows(),
        "peers": peers_reply(),
        "verify_report": verify_report,
        "look": folder_report,
        "publish_plan": publish_plan,
        "fetch_plan": lambda request: fetch_preview(),
        "settings": settings(),
    }
