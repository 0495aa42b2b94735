"""Two publishers of one share, round after round at the same moment: every update is in the history, in some order.

Each side is what a daemon has (``jobs.shares.Shares`` with a catalogue and trusted files of its own); tags are moved by
its code, versions are signed by ``trust.versions`` with the same retries. The tracker is a process.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import Trackers
from p2pckpt.errors import Conflict
from p2pckpt.jobs.owners import Owners
from p2pckpt.jobs.shares import Shares
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.store.layout import StoreLayout
from p2pckpt.trust import identity_file, versions
from p2pckpt.trust.identity import Identity

from ...support.tracker_process import TrackerProcess, start_tracker
from .people import torrent

_VERSION_EVERY = 5
"""Rounds between those in which both publish a version as well."""


@dataclass
class Publisher:
    """One side of the race."""

    name: str
    identity: Identity
    shares: Shares
    trackers: Trackers
    share: KnownShare | None = None
    conflicts: int = 0

    @classmethod
    def make(cls, directory: Path, name: str) -> Publisher:
        identity = identity_file.load_or_create(directory / "keys", name)
        layout = StoreLayout(directory / "store")
        layout.create()
        trackers = Trackers(identity, name)
        return cls(name, identity, Shares(identity, Catalogue(layout.catalogue), layout, trackers), trackers)

    async def publish(self) -> int:
        """A version with random content; its number, which is the first that was free when it was taken."""
        assert self.share is not None
        share_id, client = self.share.share_id.hex(), self.shares.client(self.share)
        manifest = secrets.token_bytes(64)
        while True:
            trusted = await self.shares.refresh(self.share)
            info_hash, data = torrent(trusted.terms.torrent_name)
            target = versions.VersionTarget(
                version=max(trusted.targets.versions, default=0) + 1,
                manifest_sha256=hashlib.sha256(manifest).hexdigest(),
                manifest_length=len(manifest),
                infohash=info_hash,
                torrent_length=len(data),
                torrent_size=5,
                name=self.name,
                published_at=1,
                publisher=self.identity.hex,
                epoch=1,
                size=1,
                files=1,
            )
            await client.put_blob(share_id, tp.BlobKind.MANIFEST, target.manifest_sha256, manifest)
            await client.put_blob(share_id, tp.BlobKind.TORRENT, info_hash, data)
            signed = versions.publish_version(trusted.targets_bytes, self.identity, target, ())
            try:
                await client.publish_targets(share_id, signed)
            except Conflict:
                self.conflicts += 1
                continue
            return target.version


@pytest.fixture
async def publishers(tmp_path: Path) -> AsyncIterator[tuple[TrackerProcess, Publisher, Publisher]]:
    with start_tracker(tmp_path / "tracker") as process:
        first, second = Publisher.make(tmp_path / "ann", "ann"), Publisher.make(tmp_path / "ben", "ben")
        try:
            share = await first.shares.create("raced", tp.Visibility.LINK, process.url)
            await Owners(first.identity, first.shares).set_publisher(
                share, second.identity.public_bytes, tp.Role.PUBLISHER
            )
            await first.shares.client(share).set_member(share.share_id.hex(), second.identity.hex, tp.Role.PUBLISHER)
            first.share = share
            second.share = KnownShare(share.share_id, share.name, process.url, share.visibility, "publisher", {})
            yield process, first, second
        finally:
            for each in (first, second):
                await each.trackers.close()


def history(process: TrackerProcess, share: KnownShare) -> list[dict[str, Any]]:
    """Every signed targets file that there ever was, oldest first; none is missing."""
    directory = process.data_dir / "blobs" / share.share_id.hex() / "metadata"
    numbered = {int(path.name.partition(".")[0]): path for path in directory.glob("*.targets.json")}
    assert sorted(numbered) == list(range(1, len(numbered) + 1))
    return [json.loads(numbered[number].read_bytes())["signed"] for number in sorted(numbered)]


def steps(files: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """What each file changed against the one before: (tag or publisher's name, version). Exactly one thing each."""
    found = []
    for before, after in itertools.pairwise(files):
        (old, new), (gone, come) = ([each["p2pckpt"]["tags"] for each in (before, after)],
                                    [each["targets"] for each in (before, after)])  # fmt: skip
        added = come.keys() - gone.keys()
        moved = {(tag, new[tag]) for tag in new if old.get(tag) != new[tag]}
        assert old.keys() <= new.keys(), "a tag was lost"
        assert gone.items() <= come.items(), "a version was lost"
        if added:
            (path,) = added
            number = int(path.removeprefix("v/"))
            assert moved == {("latest", number)}
            found.append((come[path]["custom"]["name"], number))
        elif moved:
            (move,) = moved
            found.append(move)
    return found


@pytest.mark.parametrize("rounds", [75, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.timeout(1800)
async def test_no_update_of_two_racing_publishers_is_lost(
    publishers: tuple[TrackerProcess, Publisher, Publisher], rounds: int
) -> None:
    process, *both = publishers
    for each in both:
        await each.publish()
    done: Counter[tuple[str, int]] = Counter({("ann", 1): 1, ("ben", 2): 1})

    async def play(side: Publisher, number: int) -> None:
        assert side.share is not None
        moves = [(f"of-{side.name}", 1 + number % 2)]
        if number % 10 == 0:  # both the same tag, to different versions: one of them is overwritten
            moves.append((f"shared-{number // 10}", 1 + both.index(side)))
        for tag, version in moves:
            await side.shares.move_tag(side.share, tag, version)
            done[tag, version] += 1
        if number % _VERSION_EVERY == 0:
            done[side.name, await side.publish()] += 1

    for number in range(rounds):
        await asyncio.gather(*(play(side, number) for side in both))
    assert both[0].share is not None
    files = history(process, both[0].share)
    assert Counter(steps(files)) == done, "each update is one step, and no step is anything else"
    last = files[-1]["p2pckpt"]["tags"]
    for tag, version in last.items():
        if tag != "latest":
            assert version == [now for what, now in steps(files) if what == tag][-1], "the last of them stands"
    assert len(files[-1]["targets"]) == 2 + 2 * -(-rounds // _VERSION_EVERY)
    for side in both:
        assert side.share is not None
        trusted = await side.shares.refresh(side.share)
        assert trusted.targets.metadata_version == files[-1]["version"]
    assert sum(side.conflicts for side in both) > 0, "they did meet"
