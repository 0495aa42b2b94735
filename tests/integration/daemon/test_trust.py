"""A tracker that lies: altered, re-signed, rolled back and swapped files are refused, and nothing is written."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.formats import encode_canonical

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.trust.identity import PublicIdentity
from p2pckpt.trust.links import Link, TrackerAddress
from p2pckpt_tracker.metadata import OnlineSigner

from ...support.homes import DEADLINE, Home, failure, flip_bit, seeded_bytes, tree, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


class LyingTracker:
    """The files of one share at the tracker beside a home, to be altered as its operator could."""

    def __init__(self, home: Home, share_id: str) -> None:
        self._data = home.config.tracker_dir
        self._share_id = share_id
        self.files = self._data / "blobs" / share_id
        self._metadata = self.files / "metadata"

    def newest(self, role: str) -> Path:
        found = self._metadata.glob(f"*.{role}.json")
        return max(found, key=lambda path: int(path.name.partition(".")[0]))

    def blobs(self, kind: str) -> list[Path]:
        return sorted((self.files / kind).iterdir())

    def sign(self, targets: bytes, timestamp_made: datetime | None = None) -> None:
        """Put these targets in the place of the newest ones and sign snapshot and timestamp to match.

        Who came by a link stands in the log, and a log that has grown is signed within the minute: not here.
        """
        self.run("UPDATE shares SET signed_seq = ? WHERE share_id = ?", 1 << 40, self._share_id)
        self.newest("targets").write_bytes(targets)
        key = load_pem_private_key((self._data / "tracker.key").read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        signer, now = OnlineSigner(key), datetime.now(UTC).replace(microsecond=0)
        root, keyring = self.newest("root").read_bytes(), self.newest("keyring").read_bytes()
        numbers = {role: int(self.newest(role).name.partition(".")[0]) for role in ("snapshot", "timestamp")}
        snapshot = signer.snapshot(numbers["snapshot"], root, targets, keyring, now)
        self.newest("snapshot").write_bytes(snapshot)
        timestamp = signer.timestamp(numbers["timestamp"], root, snapshot, timestamp_made or now)
        self.newest("timestamp").write_bytes(timestamp)

    def run(self, statement: str, *values: object) -> None:
        """Change its database behind its back."""
        with sqlite3.connect(self._data / "tracker.db", timeout=20) as database:
            database.execute(statement, values)
        database.close()


async def published(alice: Home, tmp_path: Path, name: str) -> tuple[m.Job, LyingTracker]:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 1), "README.md": b"# A card\n"})
    job = await alice.share(source, name=name)
    return job, LyingTracker(alice, job.share_id)


async def refused(bob: Home, link: str, target: Path, code: str, exit_code: int, *, cli: bool = False) -> str:
    """What ``get`` says, and with ``cli`` that the command line ends the same way; no checkout appears."""
    error = await failure(bob.get(link, target))
    assert (error.code, error.exit_code) == (code, exit_code), error.fact
    if cli:
        done = await bob.cli("get", link, "--to", target)
        assert done.returncode == exit_code, done.stderr
        assert error.fact in done.stderr
    assert not target.exists()
    return error.fact


async def test_targets_that_were_altered_are_refused(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, tracker = await published(alice, tmp_path, "altered")
    path = tracker.newest("targets")
    path.write_bytes(path.read_bytes().replace(b'"latest":1', b'"latest":7'))
    await refused(bob, job.link, tmp_path / "target", "verification_failed", 6, cli=True)


@pytest.mark.parametrize("attacker", [None, Ed25519PrivateKey.generate()], ids=["unsigned", "other key"])
async def test_targets_that_no_publisher_signed_are_refused_though_the_tracker_vouches_for_them(
    alice: Home, bob: Home, tmp_path: Path, attacker: Ed25519PrivateKey | None
) -> None:
    job, tracker = await published(alice, tmp_path, f"resigned/{attacker is None}")
    targets: dict[str, Any] = json.loads(tracker.newest("targets").read_bytes())
    targets["signed"]["targets"]["v/1"]["custom"]["name"] = "altered"
    if attacker is not None:
        signed = encode_canonical(targets["signed"])
        assert signed is not None
        targets["signatures"][0]["sig"] = attacker.sign(signed.encode()).hex()
    tracker.sign(json.dumps(targets).encode())
    await refused(bob, job.link, tmp_path / "target", "untrusted_key", 7)


async def test_another_root_of_trust_than_the_link_s_is_refused(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, tracker = await published(alice, tmp_path, "rooted")
    _, other = await published(alice, tmp_path, "rooted/otherwise")
    shutil.copy(other.newest("root"), tracker.newest("root"))
    await refused(bob, job.link, tmp_path / "target", "untrusted_key", 7)


def _replace(path: Path) -> None:
    path.write_bytes(b"not what was signed")


def _flip(path: Path) -> None:
    flip_bit(path, path.stat().st_size // 2)


@pytest.mark.parametrize("kind", ["manifest", "torrent"])
@pytest.mark.parametrize("spoil", [_replace, _flip])
async def test_a_manifest_or_torrent_that_was_altered_is_refused(
    alice: Home, bob: Home, tmp_path: Path, kind: str, spoil: Callable[[Path], None]
) -> None:
    job, tracker = await published(alice, tmp_path, f"spoilt-{kind}{spoil.__name__}")
    (path,) = tracker.blobs(kind)
    spoil(path)
    await refused(bob, job.link, tmp_path / "target", "verification_failed", 6)


async def test_an_altered_card_is_not_shown(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, tracker = await published(alice, tmp_path, "carded")
    await bob.get(job.link, tmp_path / "target")
    (path,) = tracker.blobs("card")
    path.write_bytes(b"# Send money\n")
    detail = await bob.client.version_detail("carded")
    assert "Send money" not in detail.card


async def test_a_tracker_with_another_certificate_than_the_link_names_is_refused(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    job, _ = await published(alice, tmp_path, "fingerprint")
    link = Link.parse(job.link)
    forged = Link(
        link.share_id, TrackerAddress(link.tracker.hosts, hashlib.sha256(b"other").digest()), link.secret
    ).text
    fact = await refused(bob, forged, tmp_path / "target", "untrusted_key", 7, cli=True)
    assert "certificate" in fact


async def test_a_tracker_that_does_not_answer_is_named(bob: Home, tmp_path: Path) -> None:
    link = Link(hashlib.sha256(b"x").digest(), TrackerAddress(("127.0.0.1:1",), hashlib.sha256(b"y").digest())).text
    fact = await refused(bob, link, tmp_path / "target", "tracker_unreachable", 1, cli=True)
    assert "127.0.0.1:1" in fact


async def test_a_rolled_back_tracker_is_refused_and_what_was_known_stays_usable(tmp_path: Path) -> None:
    async with Home(tmp_path / "erin") as erin, Home(tmp_path / "bob") as bob:
        source = write_files(tmp_path / "source", {"x": b"one"})
        first = await erin.share(source, name="rolled/back")
        await bob.get(first.link, tmp_path / "v1")
        await erin.stop()
        data = erin.config.tracker_dir
        old = shutil.copytree(data, tmp_path / "old")
        await erin.start()
        write_files(source, {"x": b"two"})
        await erin.share(source, name="rolled/back")
        await bob.get("rolled/back", tmp_path / "v2")
        ready = (data / "ready.json").read_bytes()
        await erin.stop()
        shutil.rmtree(data)
        shutil.copytree(old, data)
        (data / "ready.json").write_bytes(ready)
        await erin.start()
        await until(erin.has_tracker, "the tracker runs again")
        fact = await refused(bob, "rolled/back", tmp_path / "again", "verification_failed", 6)
        assert fact
        assert (await failure(bob.get(first.link, tmp_path / "again"))).exit_code == 6
        await bob.verify("rolled/back@2", full=True)
    assert tree(tmp_path / "v2") == tree(source)


async def test_a_version_that_changes_after_it_was_seen_is_refused(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, _ = await published(alice, tmp_path, "rewritten")
    await bob.get(job.link, tmp_path / "target")
    seen = bob.store / "trust" / job.share_id / "seen.json"
    known = json.loads(seen.read_bytes())
    known["1"][1] = "ab" * 32
    seen.write_text(json.dumps(known))
    fact = await refused(bob, job.link, tmp_path / "other", "verification_failed", 6)
    assert "signed twice" in fact


async def test_a_share_that_is_frozen_is_told_within_the_timestamp_s_day_and_what_is_pinned_stays_usable(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    job, tracker = await published(alice, tmp_path, "frozen")
    nearly_over = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1) + timedelta(seconds=15)
    tracker.sign(tracker.newest("targets").read_bytes(), nearly_over)
    await bob.get(job.link, tmp_path / "bob")
    async with asyncio.timeout(DEADLINE), contextlib.aclosing(bob.client.events()) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, m.Notice) and "frozen may be frozen" in event.text:
                break
    fact = await refused(bob, "frozen", tmp_path / "newest", "stale", 6, cli=True)
    assert "vouches" in fact
    pinned = await bob.get("frozen@1", tmp_path / "pinned")
    assert any("freshness unknown" in warning for warning in pinned.warnings)
    assert tree(tmp_path / "pinned") == tree(tmp_path / "bob")


async def test_a_version_that_the_link_s_maker_has_seen_can_not_be_hidden(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    """The tracker holds the key that says what is newest; whoever comes by a link knows of more than it says."""
    job, tracker = await published(alice, tmp_path, "hidden")
    before = tracker.newest("targets").read_bytes()
    write_files(tmp_path / "source", {"more.bin": b"version 2"})
    second = await alice.share(tmp_path / "source", name="hidden")
    assert second.version == 2
    tracker.sign(before)
    fact = await refused(bob, second.link, tmp_path / "target", "verification_failed", 6, cli=True)
    assert "holds back" in fact
    await bob.get(job.link, tmp_path / "bob")  # the earlier link knows no better


async def test_a_tracker_that_swaps_a_member_s_key_or_invents_members_gets_no_key_sealed(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    job, tracker = await published(alice, tmp_path, "swapped")
    for home in (bob, carol):
        await home.get(job.link, tmp_path / home.path.name)
    bobs, carols = (await bob.client.key()).identity, (await carol.client.key()).identity
    mole = PublicIdentity.parse((await carol.client.key()).public_text)  # any key that the tracker has
    tracker.run(
        "UPDATE accounts SET receive_key = ?, receive_key_signature = ? WHERE identity = ?",
        mole.receive_key.hex(), mole.signature.hex(), bobs,
    )  # fmt: skip
    invented = "ab" * 32
    tracker.run(
        "INSERT INTO members SELECT share_id, ?, 'downloader', added_at, link_id, binding FROM members"
        " WHERE share_id = ? AND identity = ?",
        invented, job.share_id, bobs,
    )  # fmt: skip
    reply = await alice.client.set_member(am.SetMemberRequest("swapped", carols, None))
    assert any("got none of them" in note for note in reply.notes), reply.notes
    keyring = json.loads(tracker.newest("keyring").read_bytes())["signed"]["p2pckpt"]
    assert keyring["epochs"][-1]["epoch"] == 2
    assert set(keyring["epochs"][-1]["sealed"]) == set(keyring["readers"]) == {(await alice.client.key()).identity}


async def test_a_tracker_that_keeps_or_brings_back_somebody_removed_gets_no_key_sealed_to_them(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    """Bob joined by a link, so the tracker still has the proof that he once knew its secret."""
    job, tracker = await published(alice, tmp_path, "collusion")
    for home in (bob, carol):
        await home.get(job.link, tmp_path / home.path.name)
    bobs, carols = (await bob.client.key()).identity, (await carol.client.key()).identity
    tracker.run("CREATE TABLE kept AS SELECT * FROM members WHERE share_id = ? AND identity = ?", job.share_id, bobs)
    await alice.client.set_member(am.SetMemberRequest("collusion", bobs, None))
    tracker.run("INSERT INTO members SELECT * FROM kept")
    tracker.run("DROP TABLE kept")
    await alice.client.set_member(am.SetMemberRequest("collusion", carols, None))
    keyring = json.loads(tracker.newest("keyring").read_bytes())["signed"]["p2pckpt"]
    assert keyring["epochs"][-1]["epoch"] == 3
    assert set(keyring["epochs"][-1]["sealed"]) == {(await alice.client.key()).identity}
    assert set(keyring["removed"]) == {bobs, carols}
