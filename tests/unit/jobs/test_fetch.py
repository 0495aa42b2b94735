"""Fetching over the fake engine: real stores, real manifests and torrents, no tracker."""

from __future__ import annotations

import asyncio
import errno
import itertools
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from msgspec import structs

from p2pckpt.access.pool import BESIDE, Trackers
from p2pckpt.checkpoint.manifest import Manifest, pack
from p2pckpt.checkpoint.pieces import count as piece_count
from p2pckpt.control.messages import FetchRequest
from p2pckpt.errors import NoSpace, P2pckptError, VerificationFailed, disk_error
from p2pckpt.jobs import fetch as fetching
from p2pckpt.jobs import packing
from p2pckpt.jobs.fetch import fetch
from p2pckpt.jobs.presence import place
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.swarms import Swarms
from p2pckpt.store.catalogue import Catalogue, KnownShare
from p2pckpt.store.checkout import REPLACED, PartialCheckout, partial_directory
from p2pckpt.store.objects import ObjectReader
from p2pckpt.store.scrub import damaged_pieces
from p2pckpt.swarm.engine import EngineEvent, PieceArrived
from p2pckpt.swarm.torrent import Torrent, TorrentFile, build
from p2pckpt.tracker_protocol import Endpoint
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.sealing import EpochKeys
from tests.contract.nodes import DEADLINE, noise, torrent_file
from tests.support.fake_engine import FakeEngine, FakeNetwork
from tests.support.homes import small_disk, tree, write_files
from tests.unit.jobs.test_fetch_plan import services_of, source_of
from tests.unit.jobs.workshop import KEYS, Workshop, manifest_of_packed, new_progress

FILES = {
    "model.bin": noise("fetched model", 3_500_000),
    "other.bin": noise("fetched other", 1_200_000),
    "run/notes.txt": b"notes",
}


class Version:
    """One published version: its manifest, its torrent, and where the publisher has the files of it."""

    def __init__(self, workshop: Workshop, directory: Path) -> None:
        packed = workshop.pack(directory)
        self.manifest = manifest_of_packed(packed)
        sealed = pack(self.manifest.body)
        objects = []
        for made in packed.objects:
            row = workshop.catalogue.object(made.root)
            assert row is not None
            objects.append(TorrentFile(made.root, made.length, row.layer))
        self.torrent = build("p2pckpt-fetch", torrent_file(sealed), objects, private=True)
        path = workshop.layout.manifest(self.torrent.info_hash)
        path.parent.mkdir(parents=True)
        path.write_bytes(sealed)

    @property
    def info_hash(self) -> bytes:
        return self.torrent.info_hash


class OneShare:
    """Stands for ``Shares`` and ``Entrance``: knows one version of one share."""

    def __init__(self, version: Version) -> None:
        self._version = version
        source = source_of(version.manifest, infohash=version.info_hash.hex())
        # plain swarms: there is no tracker that could give certificates
        terms = structs.replace(source.trusted.terms, sealed=False)
        self.source = replace(source, trusted=replace(source.trusted, terms=terms))

    def find(self, name: str) -> KnownShare:
        return self.source.share

    async def enter(self, source: str, password: str) -> tuple[KnownShare, str]:
        return self.source.share, ""

    async def trusted(self, share: KnownShare, *, fresh: bool = False) -> TrustedShare:
        return self.source.trusted

    async def manifest(self, share: KnownShare, trusted: TrustedShare, version: int) -> tuple[Manifest, bytes]:
        return self._version.manifest, b""

    async def torrent(self, share: KnownShare, info_hash: bytes) -> Torrent:
        assert info_hash == self._version.info_hash
        return self._version.torrent

    async def licence_due(self, share: KnownShare, trusted: TrustedShare, accepted: str) -> str:
        return ""

    def keys(self, share: KnownShare, trusted: TrustedShare) -> dict[int, EpochKeys]:
        return {KEYS.epoch: KEYS}


class Receiver:
    """A store with swarms over a fake engine, and the version that is to be fetched."""

    def __init__(self, workshop: Workshop, version: Version, engine: FakeEngine, seed: FakeEngine, home: Path) -> None:
        self.workshop = workshop
        self.version = version
        self.engine = engine
        self.seed = Endpoint("127.0.0.1", seed.port)
        self.trackers = Trackers(services_of(workshop, home).identity, "")
        self.swarms = Swarms(engine, self.trackers, workshop.catalogue, workshop.layout, lambda tls: [])
        self.heard: list[EngineEvent] = []
        plain = services_of(workshop, home, self.swarms)
        share = cast(Any, OneShare(version))
        self.services = replace(plain, shares=share, entrance=share, swarms=self.swarms)

    async def start(self) -> None:
        start = self.engine.start

        async def listening(on_event: Callable[[EngineEvent], None]) -> None:
            def hear(event: EngineEvent) -> None:
                self.heard.append(event)
                on_event(event)

            await start(hear)

        self.engine.start = listening  # type: ignore[method-assign]
        await self.swarms.start()

    def begin(
        self, to: Path, job: str = "j1", inspect: fetching.Inspect | None = None, **fields: Any
    ) -> asyncio.Task[None]:
        request = FetchRequest(source="cars/sd15", to=str(to), **fields)
        return asyncio.create_task(fetch(self.services, request, self.progress(job), inspect=inspect))

    def progress(self, job: str) -> Progress:
        return new_progress(id=job)

    async def connected(self) -> None:
        """Return once the engine has the torrent and was told who seeds it, as a tracker would have."""
        await self.until(lambda: self.version.info_hash in self.engine._torrents)
        self.engine.connect(self.version.info_hash, [self.seed])

    async def fetched(self, to: Path, job: str = "j1", **fields: Any) -> None:
        task = self.begin(to, job, **fields)
        await self.connected()
        await asyncio.wait_for(task, DEADLINE)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0)

    async def interrupted(self, to: Path, *, after: int) -> None:
        """Begin a fetch and cancel it once so many more pieces are durable; no others arrive."""
        before = self.durable()
        self.engine.allow(after)
        task = self.begin(to)
        await self.connected()
        await self.until(lambda: self.durable() == before + after)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.swarms.leave("j1")
        self.engine.allow(None)

    def arrivals(self) -> list[tuple[int, int]]:
        """Every (file, piece) that the engine reported, in order."""
        return [(event.file, event.piece) for event in self.heard if isinstance(event, PieceArrived)]

    def durable(self) -> int:
        """Pieces that the catalogue promises."""
        rows = [self.workshop.catalogue.object(file.root) for file in self.version.torrent.objects]
        return sum(len(row.pieces) for row in rows if row is not None)

    def assert_promises_hold(self) -> None:
        """Whatever the catalogue says is here is in the files, and decodes."""
        for root, _ in self.workshop.catalogue.object_roots():
            row = self.workshop.catalogue.object(root)
            assert row is not None
            assert damaged_pieces(self.workshop.layout.object(root), row, row.pieces) == set()
        unpacker = self.workshop.unpacker(self.version.manifest)
        for chunk in range(self.version.manifest.chunk_count):
            found = self.workshop.catalogue.locate(self.version.manifest.body.share_id, self.chunk_id(chunk))
            if found is not None:
                unpacker.chunk(chunk, found)

    def chunk_id(self, chunk: int) -> bytes:
        return self.version.manifest.chunk_id(chunk)


@pytest_asyncio.fixture
async def receiver(tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setattr(packing, "OBJECT_TARGET", 2_000_000)
    monkeypatch.setattr(fetching, "_BATCH_BYTES", 1)
    monkeypatch.setattr(fetching, "_BATCH_SECONDS", 0.01)
    publisher = Workshop(tmp_path / "published")
    version = Version(publisher, write_files(tmp_path / "in", FILES))
    network = FakeNetwork()
    seed, engine = FakeEngine(network), FakeEngine(network)
    await seed.start(lambda event: None)
    made = Receiver(workshop, version, engine, seed, tmp_path)
    await made.start()
    placement = place(version.torrent, publisher.catalogue, publisher.layout)
    assert all(
        len(have) == piece_count(f.length) for have, f in zip(placement.have, version.torrent.files, strict=True)
    )
    seed.add(placement)
    yield made
    await made.swarms.stop()
    await seed.stop()
    publisher.close()


def assert_is_checkout(path: Path) -> None:
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    assert set(tree(path, leave_out=(REPLACED,))) == {*FILES, "run"}


async def test_a_version_is_fetched_and_everything_said_of_it_is_true(receiver: Receiver, tmp_path: Path) -> None:
    await receiver.fetched(tmp_path / "out")
    assert_is_checkout(tmp_path / "out")
    receiver.assert_promises_hold()
    share_id = receiver.version.manifest.body.share_id
    row = receiver.workshop.catalogue.version(share_id, 1)
    assert row is not None
    assert (row.held, row.path, row.info_hash) == (True, str(tmp_path / "out"), receiver.version.info_hash)
    for file in receiver.version.torrent.objects:
        assert receiver.workshop.catalogue.carrier(share_id, file.root) == (receiver.version.info_hash, 1)


async def test_a_part_of_a_version_is_fetched_alone(receiver: Receiver, tmp_path: Path) -> None:
    await receiver.fetched(tmp_path / "out", only=("notes.txt",))
    assert (tmp_path / "out/run/notes.txt").read_bytes() == b"notes"
    assert set(tree(tmp_path / "out")) == {"run", "run/notes.txt"}
    receiver.assert_promises_hold()
    row = receiver.workshop.catalogue.version(receiver.version.manifest.body.share_id, 1)
    assert row is not None
    assert not row.held
    assert receiver.durable() <= 2


async def test_what_an_inspection_does_not_let_through_never_was_at_the_target(
    receiver: Receiver, tmp_path: Path
) -> None:
    out, seen = tmp_path / "out", []

    def refuse(places: Mapping[str, Path]) -> None:
        assert {name: path.read_bytes() for name, path in places.items()} == FILES
        seen.append({name for name, path in places.items() if path.is_relative_to(out)})
        raise VerificationFailed("it is no sound save")

    for in_place in (set(), {"run/notes.txt"}):
        with pytest.raises(VerificationFailed, match="no sound save"):
            await receiver.fetched(out, inspect=refuse)
        await receiver.swarms.leave("j1")
        assert seen.pop() == in_place
        assert not partial_directory(out).exists()
        assert set(tree(out) if out.exists() else ()) == {*in_place, *(["run"] if in_place else ())}
        write_files(out, {"run/notes.txt": FILES["run/notes.txt"]})
    receiver.assert_promises_hold()


async def test_fetching_again_needs_nobody(receiver: Receiver, tmp_path: Path) -> None:
    await receiver.fetched(tmp_path / "out")
    moved = receiver.engine._torrents[receiver.version.info_hash].downloaded
    await asyncio.wait_for(receiver.begin(tmp_path / "again", "j2"), DEADLINE)
    assert_is_checkout(tmp_path / "again")
    assert receiver.engine._torrents[receiver.version.info_hash].downloaded == moved


async def test_two_fetches_of_one_version_at_once_both_end(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins when pieces have come for the first and are not noted yet: they come no second time."""
    monkeypatch.setattr(fetching, "_BATCH_BYTES", 1 << 40)
    monkeypatch.setattr(fetching, "_BATCH_SECONDS", DEADLINE)
    receiver.engine.allow(3)
    first = receiver.begin(tmp_path / "one", "j1")
    await receiver.connected()
    await receiver.until(lambda: len(receiver.arrivals()) == 3)
    assert receiver.durable() == 0
    second = receiver.begin(tmp_path / "two", "j2")
    await receiver.until(lambda: receiver.version.info_hash in receiver.swarms.torrents_of("j2"))
    assert receiver.swarms.torrents_by_job()["j2"] == receiver.swarms.torrents_of("j2")
    receiver.engine.allow(None)
    await asyncio.wait_for(asyncio.gather(first, second), DEADLINE)
    for name in ("one", "two"):
        assert_is_checkout(tmp_path / name)
    receiver.assert_promises_hold()
    assert len(receiver.arrivals()) == len(set(receiver.arrivals()))


async def test_objects_and_checkout_are_durable_before_the_catalogue_speaks_of_them(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def watch(owner: type, name: str, step: str) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any) -> Any:
            steps.append(step)
            return real(*arguments)

        monkeypatch.setattr(owner, name, watched)

    watch(ObjectReader, "sync", "objects")
    watch(PartialCheckout, "sync", "checkout")
    watch(Catalogue, "record_object", "catalogue")
    watch(Catalogue, "record_chunks", "catalogue")
    watch(Catalogue, "record_version", "version")
    await receiver.fetched(tmp_path / "out")
    assert steps[-1] == "version"
    batches = " ".join(key for key, _ in itertools.groupby(steps[:-1]))
    assert set(batches.split()) == {"objects", "checkout", "catalogue"}
    assert not re.search(r"(^|catalogue )(checkout catalogue|catalogue)", batches)


async def test_an_interrupted_fetch_fetches_only_what_is_missing(receiver: Receiver, tmp_path: Path) -> None:
    await receiver.interrupted(tmp_path / "out", after=2)
    assert not (tmp_path / "out").exists()
    receiver.assert_promises_hold()
    await receiver.fetched(tmp_path / "out")
    assert_is_checkout(tmp_path / "out")
    pieces = sum(piece_count(file.length) for file in receiver.version.torrent.objects)
    fetched = [p for p in receiver.arrivals() if p[0] > 0]
    assert len(fetched) == len(set(fetched)) == pieces
    receiver.assert_promises_hold()


async def test_what_an_interrupted_fetch_left_is_known_to_be_carried_by_its_torrent(
    receiver: Receiver, tmp_path: Path
) -> None:
    """A publish that reuses such an object must name that torrent: this machine has only parts of it."""
    await receiver.interrupted(tmp_path / "out", after=1)
    share_id = receiver.version.manifest.body.share_id
    ((root, _),) = receiver.workshop.catalogue.object_roots()
    assert receiver.workshop.catalogue.carrier(share_id, root) == (receiver.version.info_hash, 1)


async def test_what_could_not_be_written_is_never_promised(receiver: Receiver, tmp_path: Path) -> None:
    path = receiver.workshop.layout.object(receiver.version.torrent.objects[0].root)
    path.parent.mkdir()
    path.symlink_to("nowhere/at/all")
    task = receiver.begin(tmp_path / "out")
    await receiver.connected()
    with pytest.raises(P2pckptError, match="swarm stopped") as failed:
        await asyncio.wait_for(task, DEADLINE)
    assert failed.value.kept == "everything that arrived so far"
    await receiver.swarms.leave("j1")
    path.unlink()
    receiver.assert_promises_hold()
    await receiver.fetched(tmp_path / "out")
    assert_is_checkout(tmp_path / "out")


async def test_a_disk_that_fills_up_is_said_to_be_full_and_promises_hold(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "require_space", lambda *arguments: None)
    objects = receiver.workshop.layout.objects
    objects.rmdir()
    with small_disk(objects, 3 << 20):
        task = receiver.begin(tmp_path / "out")
        await receiver.connected()
        with pytest.raises(NoSpace):
            await asyncio.wait_for(task, DEADLINE)
        await receiver.swarms.leave("j1")
        receiver.assert_promises_hold()
    assert not (tmp_path / "out").exists()


async def test_a_disk_error_while_placing_keeps_what_arrived(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: PartialCheckout, file: int, offset: int, data: bytes) -> None:
        raise disk_error(OSError(errno.ENOSPC, "No space left"), tmp_path)

    with monkeypatch.context() as patched:
        patched.setattr(PartialCheckout, "write", fail)
        task = receiver.begin(tmp_path / "out")
        await receiver.connected()
        with pytest.raises(NoSpace):
            await asyncio.wait_for(task, DEADLINE)
    await receiver.swarms.leave("j1")
    receiver.assert_promises_hold()
    await receiver.fetched(tmp_path / "out")
    assert_is_checkout(tmp_path / "out")


async def test_files_that_appear_and_vanish_at_the_target_between_runs_are_no_harm(
    receiver: Receiver, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await receiver.interrupted(out, after=1)
    write_files(out, {"model.bin": FILES["model.bin"]})
    await receiver.interrupted(out, after=1)
    (out / "model.bin").unlink()
    out.rmdir()
    await receiver.fetched(out)
    assert_is_checkout(out)
    assert not partial_directory(out).exists()


async def test_files_that_differ_are_moved_aside_and_used_where_they_are_right(
    receiver: Receiver, tmp_path: Path
) -> None:
    damaged = bytearray(FILES["model.bin"])
    damaged[100] ^= 1
    out = write_files(tmp_path / "out", {"model.bin": bytes(damaged), "other.bin": FILES["other.bin"], "mine": b"mine"})
    await receiver.fetched(out)
    assert (out / "mine").read_bytes() == b"mine"
    (out / "mine").unlink()
    assert_is_checkout(out)
    assert [path.read_bytes() for path in (out / REPLACED).rglob("model.bin")] == [bytes(damaged)]
    assert receiver.engine._torrents[receiver.version.info_hash].downloaded < 3 << 20


async def test_the_tracker_is_not_needed_for_any_of_this(receiver: Receiver) -> None:
    with pytest.raises(P2pckptError):
        receiver.trackers.client(BESIDE)
