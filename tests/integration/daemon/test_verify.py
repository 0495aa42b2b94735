"""Damage on disk is found, named, and repaired from what is right here or in the swarm."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pckpt.control import messages as m

from ...support.homes import Home, failure, flip_bit, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


async def shared(alice: Home, bob: Home, tmp_path: Path, name: str, seed: int) -> tuple[Path, Path]:
    """What alice published and bob's checkout of it."""
    source = write_files(
        tmp_path / "source",
        {"model.bin": seeded_bytes(9 * MIB, seed), "sub/other.bin": seeded_bytes(MIB, seed + 1), "empty": b""},
    )
    published = await alice.share(source, name=name)
    await bob.get(published.link, tmp_path / "target")
    return source, tmp_path / "target"


async def objects_of(home: Home, name: str) -> list[Path]:
    """The store's files of a version's objects."""
    rows = (await home.client.manifest(name))["objects"]
    return [home.store / "objects" / row["root"][:2] / row["root"] for row in rows]


async def damage_is_found(home: Home, name: str, *words: str) -> None:
    """``verify`` fails with exit code 6 and says the words."""
    error = await failure(home.verify(name))
    assert (error.code, error.exit_code) == ("verification_failed", 6)
    for word in words:
        assert word in error.fact


async def test_what_is_whole_verifies_by_name_and_by_directory(alice: Home, bob: Home, tmp_path: Path) -> None:
    source, target = await shared(alice, bob, tmp_path, "whole", 1)
    for home, name in ((alice, "whole"), (alice, str(source)), (bob, "whole@1"), (bob, str(target))):
        job = await home.verify(name, full=True)
        assert (job.state, job.kind, job.done) == (m.JobState.DONE, m.JobKind.VERIFY, job.size)
    printed = await bob.cli("verify", target, "--full")
    assert printed.returncode == 0, printed.stderr


async def test_flipped_bits_in_a_checkout_are_found_and_repaired(alice: Home, bob: Home, tmp_path: Path) -> None:
    source, target = await shared(alice, bob, tmp_path, "flipped/checkout", 10)
    chance = random.Random(5)
    for offset in chance.sample(range(9 * MIB), 20):
        flip_bit(target / "model.bin", offset)
    flip_bit(target / "sub/other.bin", chance.randrange(MIB))
    await damage_is_found(bob, "flipped/checkout", "model.bin", "sub/other.bin")
    found = await bob.cli("verify", "flipped/checkout")
    assert found.returncode == 6
    assert "sub/other.bin" in found.stderr
    await damage_is_found(bob, str(target), "2 damaged files")
    repaired = await bob.cli("verify", "--repair", target)
    assert repaired.returncode == 0, repaired.stderr
    assert tree(target, leave_out=(".p2pckpt-replaced",)) == tree(source)
    await bob.verify("flipped/checkout", full=True)


def _delete(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def _make_executable(path: Path) -> None:
    path.chmod(0o755)


@pytest.mark.parametrize("spoil", [_delete, _truncate, _append, _make_executable])
async def test_a_file_that_is_missing_shorter_longer_or_of_another_mode_is_found_and_repaired(
    alice: Home, bob: Home, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    source, target = await shared(alice, bob, tmp_path, f"spoilt/{spoil.__name__}", 20)
    spoil(target / "sub/other.bin")
    await damage_is_found(bob, str(target), "sub/other.bin")
    await bob.verify(str(target), repair=True)
    assert tree(target, leave_out=(".p2pckpt-replaced",)) == tree(source)


@pytest.mark.parametrize("spoil", [_delete, _truncate, None])
async def test_a_damaged_object_of_the_store_is_found_and_fetched_again(
    alice: Home, bob: Home, tmp_path: Path, spoil: Callable[[Path], None] | None
) -> None:
    name = f"object/{spoil.__name__ if spoil else 'flip'}"
    source, target = await shared(alice, bob, tmp_path, name, 30)
    (path,) = await objects_of(bob, name)
    right = path.read_bytes()
    if spoil is None:
        for offset in random.Random(6).sample(range(len(right)), 10):
            flip_bit(path, offset)
    else:
        spoil(path)
    await damage_is_found(bob, name, "1 damaged objects")
    assert tree(target) == tree(source)
    job = await bob.verify(name, repair=True)
    assert any("1 damaged objects" in warning for warning in job.warnings)
    assert path.read_bytes() == right
    await bob.verify(name, full=True)
    assert (await bob.client.version_detail(name)).version.held
    assert tree(target) == tree(source)


async def test_a_repaired_store_seeds_what_it_repaired(alice: Home, bob: Home, carol: Home, tmp_path: Path) -> None:
    source, _ = await shared(alice, bob, tmp_path, "reseeded", 40)
    (path,) = await objects_of(bob, "reseeded")
    flip_bit(path, 2 * MIB)
    await bob.verify("reseeded", repair=True)
    (published,) = [job for job in await alice.client.jobs() if job.share == "reseeded"]
    await alice.client.pause(published.id)
    await carol.get(published.link, tmp_path / "carol")
    assert tree(tmp_path / "carol") == tree(source)


async def test_the_same_bytes_damaged_in_checkout_and_store_are_fetched_from_the_swarm(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source, target = await shared(alice, bob, tmp_path, "both", 50)
    (path,) = await objects_of(bob, "both")
    for offset in range(0, 9 * MIB, MIB):
        flip_bit(path, offset)
        flip_bit(target / "model.bin", offset)
    await damage_is_found(bob, "both", "model.bin", "1 damaged objects")
    await bob.verify("both", repair=True)
    assert tree(target, leave_out=(".p2pckpt-replaced",)) == tree(source)
    await bob.verify("both", full=True)


async def test_a_publisher_s_store_is_repaired_from_a_receiver(alice: Home, bob: Home, tmp_path: Path) -> None:
    source, _ = await shared(alice, bob, tmp_path, "publisher", 60)
    there = tree(source)
    (path,) = await objects_of(alice, "publisher")
    right = path.read_bytes()
    flip_bit(path, 12345)
    await damage_is_found(alice, "publisher", "1 damaged objects")
    await alice.verify("publisher", repair=True)
    assert path.read_bytes() == right
    assert tree(source) == there


async def test_a_checkout_of_chosen_files_verifies_and_is_repaired_as_what_it_is(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(
        tmp_path / "source", {"model.bin": seeded_bytes(MIB, 80), "other.bin": seeded_bytes(3 * MIB, 81)}
    )
    published = await alice.share(source, name="chosen")
    target = tmp_path / "target"
    await bob.get(published.link, target, only=("model.bin",))
    await bob.verify(str(target), full=True)
    flip_bit(target / "model.bin", 1000)
    await damage_is_found(bob, str(target), "1 damaged files")
    await bob.verify(str(target), repair=True)
    assert set(tree(target, leave_out=(".p2pckpt-replaced",))) == {"model.bin"}
    await bob.verify(str(target))


async def test_what_is_not_here_cannot_be_verified(alice: Home, bob: Home, tmp_path: Path) -> None:
    for name in ("no/such/share", str(tmp_path)):
        assert (await failure(bob.verify(name))).exit_code == 5
    source, _ = await shared(alice, bob, tmp_path, "here", 70)
    write_files(source, {"empty": b"2"})
    await alice.share(source, name="here")
    assert (await bob.cli("verify", "here@2")).returncode == 5
