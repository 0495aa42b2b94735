from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt import config
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.control.messages import FetchRequest
from p2pckpt.errors import BadUsage, Cancelled, NotFound, UntrustedKey
from p2pckpt.jobs.fetch_plan import (
    OnDisk,
    Source,
    checkout_path,
    chosen_files,
    default_directory,
    look,
    resolve,
    to_fetch,
)
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, ObjectRow
from p2pckpt.tracker_protocol.signed import KeyringContent
from p2pckpt.trust import oms
from p2pckpt.trust.admission import TrustedShare
from p2pckpt.trust.versions import ShareTerms, SignedTargets
from tests.contract.nodes import noise
from tests.support.homes import write_files
from tests.unit.checkpoint.test_manifest import empty_body
from tests.unit.jobs.workshop import SHARE, Workshop, manifest_of_packed
from tests.unit.store.versions import manifest_of
from tests.unit.trust.people import OWNER, STRANGER, target

KINDS = {"model.safetensors": "safetensors", "legacy/model.pt": "torch_zip", "sub/q4.gguf": "gguf"}
FILES = [*KINDS, "model.safetensors.index.json", "README.md", "sub/config.json"]
MANIFEST = manifest_of({path: [path.encode()] for path in FILES}, kinds=KINDS)


class Forgotten:
    """Stands for the swarms: remembers what it was told to forget."""

    def __init__(self) -> None:
        self.roots: set[bytes] = set()

    async def forget(self, roots: set[bytes]) -> None:
        self.roots |= roots


class NobodyBlocked:
    """Stands for the book of keys."""

    async def require(self, *what: object) -> None: ...

    async def require_own_word(self, *what: object) -> None: ...


def services_of(workshop: Workshop, tmp_path: Path, swarms: Any = None) -> Services:
    return Services(
        config=config.load(home=tmp_path / "home", environ={}, directory=tmp_path),
        identity=OWNER,
        layout=workshop.layout,
        catalogue=workshop.catalogue,
        objects=workshop.objects,
        key_book=cast(Any, NobodyBlocked()),
        shares=cast(Any, None),
        entrance=cast(Any, None),
        owners=cast(Any, None),
        link_book=cast(Any, None),
        members=cast(Any, None),
        swarms=swarms or cast(Any, Forgotten()),
        pool=workshop.pool,
        workers=2,
    )


def source_of(
    manifest: Manifest, files: Sequence[int] | None = None, *, name: str = "cars/sd15", **fields: Any
) -> Source:
    signed = target(manifest.body.version, **({"name": ""} | fields))
    terms = ShareTerms(name, "p2pckpt-torrents", OWNER.hex, True)
    targets = SignedTargets(1, {signed.version: signed}, {}, ())
    trusted = TrustedShare(manifest.body.share_id, terms, targets, {}, KeyringContent(()), b"", b"", b"", 0)
    share = KnownShare(manifest.body.share_id, name, "beside", "link", "owner", {})
    chosen = range(len(manifest.body.files)) if files is None else files
    return Source(share, trusted, signed, manifest, tuple(chosen))


# -- choosing files


SELECTIONS: dict[tuple[str, ...], list[str]] = {
    (): FILES,
    ("weights",): ["model.safetensors", "legacy/model.pt", "sub/q4.gguf", "model.safetensors.index.json"],
    ("*.safetensors",): ["model.safetensors"],
    ("README.md",): ["README.md"],
    ("sub/*",): ["sub/q4.gguf", "sub/config.json"],
    ("config.json",): ["sub/config.json"],
    ("*.json", "*.md"): ["model.safetensors.index.json", "README.md", "sub/config.json"],
    ("q?.gguf",): ["sub/q4.gguf"],
    ("[a-l]*",): ["legacy/model.pt", "sub/config.json"],
}


@pytest.mark.parametrize("only", SELECTIONS, ids=" ".join)
def test_files_are_chosen_by_weights_paths_and_names(only: tuple[str, ...]) -> None:
    assert [MANIFEST.body.files[number].path for number in chosen_files(MANIFEST, only)] == SELECTIONS[only]


@pytest.mark.parametrize("only", [("*.bin",), ("readme.md",), ("../README.md",), ("",)])
def test_choosing_nothing_is_an_error_that_shows_the_files(only: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="no file of this version") as none:
        chosen_files(MANIFEST, only)
    assert "--files" in none.value.next_step


def test_another_choice_of_files_is_another_mark() -> None:
    marks = {source_of(MANIFEST, files).mark for files in (None, [0], [1], [0, 1], [1, 0])}
    assert len(marks) == 5
    assert source_of(MANIFEST).mark == source_of(MANIFEST, range(len(FILES))).mark
    assert source_of(MANIFEST, manifest_sha256="ab" * 32).mark not in marks
    assert source_of(MANIFEST, [0, 2]).size == len(FILES[0]) + len(FILES[2])


# -- where it goes


DIRECTORIES: dict[tuple[str, str], str] = {
    ("cars/sd15", ""): "sd15-v3",
    ("sd15", "step-42000"): "sd15-step-42000",
    ("a/b/c", "naïve 1.0+x_y"): "c-naïve-1.0+x_y",
    ("sd15", "../../etc"): "sd15-..-..-etc",
    ("sd15", "a/b\\c:d\x1b"): "sd15-a-b-c-d-",
}


@pytest.mark.parametrize(("share", "version"), DIRECTORIES)
def test_the_directory_is_named_after_share_and_version(share: str, version: str, tmp_path: Path) -> None:
    source = replace(source_of(MANIFEST, name=share), target=target(3, name=version))
    expected = DIRECTORIES[share, version]
    assert default_directory(source) == expected
    assert checkout_path(source, FetchRequest(source="x", base=str(tmp_path))) == tmp_path / expected
    assert "/" not in expected


def test_a_checkout_goes_where_it_is_told(tmp_path: Path) -> None:
    request = FetchRequest(source="x", to=str(tmp_path / "here"), base="/elsewhere")
    assert checkout_path(source_of(MANIFEST), request) == tmp_path / "here"
    (tmp_path / "here").mkdir()
    assert checkout_path(source_of(MANIFEST), request) == tmp_path / "here"


def test_a_checkout_goes_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="no absolute path"):
        checkout_path(source_of(MANIFEST), FetchRequest(source="x", to="relative"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadUsage, match="is a file"):
        checkout_path(source_of(MANIFEST), FetchRequest(source="x", to=str(tmp_path / "file")))


# -- what is at the target already


CONTENT: Mapping[str, list[bytes]] = {
    "model.bin": [b"first ", b"second ", b"third"],
    "run.sh": [b"#!/bin/sh\n"],
    "notes.txt": [b"second ", b"notes"],
    "empty": [],
}
PLACED = manifest_of(CONTENT, executable=["run.sh"])


async def look_at(workshop: Workshop, tmp_path: Path, path: Path, files: Sequence[int] | None = None) -> OnDisk:
    return await look(services_of(workshop, tmp_path), source_of(PLACED, files), path)


async def test_files_that_are_right_stay_in_place(workshop: Workshop, tmp_path: Path) -> None:
    path = write_files(tmp_path / "target", {name: b"".join(chunks) for name, chunks in CONTENT.items()})
    (path / "run.sh").chmod(0o700)
    found = await look_at(workshop, tmp_path, path)
    assert (found.in_place, found.conflicts, found.stored) == ({0, 1, 2, 3}, [], set())
    chosen = await look_at(workshop, tmp_path, path, [2])
    assert chosen.in_place == {2}


async def test_chunks_that_are_right_are_adopted_from_where_they_lie(workshop: Workshop, tmp_path: Path) -> None:
    path = write_files(tmp_path / "target", {"model.bin": b"first SECOND third", "notes.txt": b"second note"})
    found = await look_at(workshop, tmp_path, path)
    assert found.in_place == set()
    assert found.conflicts == ["model.bin", "notes.txt"]
    assert found.adoptable == {
        0: (path / "model.bin", 0), 2: (path / "model.bin", 13), 1: (path / "notes.txt", 0),
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"first second third and more", b"first second ", b""])
async def test_a_file_of_another_length_is_not_in_place(workshop: Workshop, tmp_path: Path, content: bytes) -> None:
    path = write_files(tmp_path / "target", {"model.bin": content, "empty": b"not empty"})
    found = await look_at(workshop, tmp_path, path)
    assert found.in_place == set()
    assert found.conflicts == ["model.bin", "empty"]


async def test_the_executable_bit_has_to_be_right(workshop: Workshop, tmp_path: Path) -> None:
    path = write_files(tmp_path / "target", {"run.sh": b"#!/bin/sh\n"})
    assert (await look_at(workshop, tmp_path, path)).conflicts == ["run.sh"]
    (path / "run.sh").chmod(0o755)
    assert (await look_at(workshop, tmp_path, path)).in_place == {1}


async def test_what_is_no_file_is_a_conflict_and_is_not_read(workshop: Workshop, tmp_path: Path) -> None:
    path = write_files(tmp_path / "target", {"elsewhere": b"#!/bin/sh\n", "notes.txt/inside": b""})
    (path / "model.bin").symlink_to("nowhere")
    (path / "run.sh").symlink_to("elsewhere")
    found = await look_at(workshop, tmp_path, path)
    assert (found.conflicts, found.adoptable, found.in_place) == (["model.bin", "run.sh", "notes.txt"], {}, set())


async def test_a_target_that_is_not_there_holds_nothing(workshop: Workshop, tmp_path: Path) -> None:
    assert await look_at(workshop, tmp_path, tmp_path / "nowhere") == OnDisk()


async def test_looking_can_be_stopped_between_files(workshop: Workshop, tmp_path: Path) -> None:
    path = write_files(tmp_path / "target", {"model.bin": b"first second third"})

    def stop() -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        await look(services_of(workshop, tmp_path), source_of(PLACED), path, stop)


# -- what the store has


def packed(workshop: Workshop, tmp_path: Path, size: int = 3 * PIECE_LENGTH) -> Manifest:
    files = {"one.bin": noise("plan one", size), "two.bin": noise("plan two", 50_000)}
    return manifest_of_packed(workshop.pack(write_files(tmp_path / "in", files)))


async def test_what_the_store_has_is_not_fetched(workshop: Workshop, tmp_path: Path) -> None:
    manifest = packed(workshop, tmp_path)
    services = services_of(workshop, tmp_path)
    source = source_of(manifest)
    found = await look(services, source, tmp_path / "target")
    assert found.stored == set(range(manifest.chunk_count))
    assert to_fetch(services, source, found) == (set(), {})


async def test_objects_that_were_deleted_behind_our_back_are_forgotten(workshop: Workshop, tmp_path: Path) -> None:
    manifest = packed(workshop, tmp_path)
    swarms = Forgotten()
    services = services_of(workshop, tmp_path, swarms)
    workshop.layout.object(manifest.root(0)).unlink()
    found = await look(services, source_of(manifest), tmp_path / "target")
    assert found.stored == set()
    assert swarms.roots == {manifest.root(0)}
    assert workshop.catalogue.object(manifest.root(0)) is None
    missing, wanted = to_fetch(services, source_of(manifest), found)
    assert missing == set(range(manifest.chunk_count))
    assert wanted == {0: set(range(-(-int(manifest.object_lengths[0]) // PIECE_LENGTH)))}


async def test_only_pieces_that_are_not_here_are_fetched(workshop: Workshop, tmp_path: Path) -> None:
    manifest = packed(workshop, tmp_path)
    services, source = services_of(workshop, tmp_path), source_of(manifest)
    row = workshop.catalogue.object(manifest.root(0))
    assert row is not None
    workshop.catalogue.lose_pieces(row.root, {1})
    found = await look(services, source, tmp_path / "target")
    missing, wanted = to_fetch(services, source, found)
    assert wanted == {0: {1}}
    assert missing
    assert missing | found.stored == set(range(manifest.chunk_count))
    assert not missing & found.stored


async def test_files_in_place_and_adoptable_chunks_need_no_network(workshop: Workshop, tmp_path: Path) -> None:
    manifest = packed(workshop, tmp_path)
    services, source = services_of(workshop, tmp_path), source_of(manifest)
    workshop.catalogue.forget_objects([manifest.root(0)])
    found = await look(services, source, tmp_path / "in")
    assert found.in_place == {0, 1}
    assert to_fetch(services, source, found) == (set(), {})
    (tmp_path / "in" / "one.bin").unlink()
    found = await look(services, source, tmp_path / "in")
    missing, _ = to_fetch(services, source, found)
    assert missing == set(manifest.chunks_of(manifest.body.files[0]).tolist())


async def test_only_what_the_chosen_files_need_is_fetched(workshop: Workshop, tmp_path: Path) -> None:
    manifest = packed(workshop, tmp_path)
    services = services_of(workshop, tmp_path)
    workshop.catalogue.forget_objects([manifest.root(0)])
    source = source_of(manifest, [1])
    missing, wanted = to_fetch(services, source, await look(services, source, tmp_path / "target"))
    assert missing == set(manifest.chunks_of(manifest.body.files[1]).tolist())
    assert len(wanted[0]) <= 2


async def test_objects_to_be_restored_are_fetched_whole(workshop: Workshop, tmp_path: Path) -> None:
    manifest = packed(workshop, tmp_path)
    services, source = services_of(workshop, tmp_path), source_of(manifest)
    here = PieceSet()
    here.add([0])
    row = workshop.catalogue.object(manifest.root(0))
    assert row is not None
    workshop.catalogue.forget_objects([row.root])
    workshop.catalogue.record_object(ObjectRow(row.root, row.length, 1, 2, here, row.layer))
    found = await look(services, source, tmp_path / "in")
    assert found.in_place == {0, 1}
    missing, wanted = to_fetch(services, source, found, {row.root})
    assert missing == set(range(manifest.chunk_count))
    assert wanted == {0: set(range(-(-row.length // PIECE_LENGTH))) - {0}}


async def test_a_chunk_known_only_as_a_delta_is_not_taken_from_the_store(workshop: Workshop, tmp_path: Path) -> None:
    manifest = packed(workshop, tmp_path, size=1000)
    services, source = services_of(workshop, tmp_path), source_of(manifest)
    row = workshop.catalogue.object(manifest.root(0))
    assert row is not None
    workshop.catalogue.forget_objects([row.root])
    workshop.catalogue.record_object(row)
    workshop.catalogue.record_chunks(SHARE, row.root, [(manifest.chunk_id(0), 0, 5, 1000, True)])
    found = await asyncio.wait_for(look(services, source, tmp_path / "target"), 10)
    assert found.stored == set()


class OneShare:
    """Stands for ``Shares`` and ``Entrance``: says of any name that it is this manifest's share."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    async def enter(self, source: str, password: str) -> tuple[object, str]:
        return None, ""

    async def trusted(self, share: object, *, fresh: bool = False) -> Any:
        return SimpleNamespace(resolve=lambda selector: 1, target=lambda version: None)

    async def manifest(self, share: object, trusted: object, version: int) -> tuple[Manifest, bytes]:
        return self._manifest, b""

    async def licence_due(self, share: object, trusted: object, accepted: str) -> str:
        return ""


async def test_a_model_signature_that_is_not_the_publishers_is_refused_before_anything_is_fetched() -> None:
    body = empty_body(publisher=OWNER.public_bytes)
    forged = oms.signed(body, STRANGER)
    identity = SimpleNamespace(public_bytes=b"")
    services: Any = SimpleNamespace(key_book=NobodyBlocked(), identity=identity)
    services.shares = services.entrance = OneShare(Manifest(forged))
    with pytest.raises(UntrustedKey):
        await resolve(services, FetchRequest(source="cars"))
    services.shares = services.entrance = OneShare(Manifest(oms.signed(body, OWNER)))
    assert (await resolve(services, FetchRequest(source="cars"))).manifest.body.model_signature
