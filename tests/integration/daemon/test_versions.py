"""Several versions of one share: what is moved again, what is kept, tags and differences."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.generate import make_checkpoint
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm

from ...support.homes import Home, failure, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
SLACK = 2 * MIB
"""Pieces are fetched whole: one at each end of what is new, and small files beside it."""


async def test_a_second_version_moves_only_its_difference(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"a.bin": seeded_bytes(10 * MIB, 1), "b.bin": seeded_bytes(4 * MIB, 2)})
    first = await alice.share(source, name="difference")
    got = await bob.get(first.link, tmp_path / "target")
    assert 14 * MIB <= got.wire_size <= 14 * MIB + SLACK
    (source / "b.bin").write_bytes(seeded_bytes(4 * MIB, 3))
    second = await alice.share(source, name="difference", version_name="step-2")
    assert (second.share_id, second.version) == (first.share_id, 2)
    assert 4 * MIB <= second.wire_size <= 4 * MIB + SLACK
    assert second.reused == 10 * MIB
    got = await bob.get("difference", tmp_path / "target 2")
    assert (got.version, got.version_name) == (2, "step-2")
    assert 4 * MIB <= got.wire_size == got.wire_done <= 4 * MIB + SLACK
    assert got.reused == 10 * MIB
    assert tree(tmp_path / "target 2") == tree(source)
    assert (await bob.get("difference@v1", tmp_path / "target 1 again")).wire_size == 0
    assert tree(tmp_path / "target 1 again") == tree(tmp_path / "target")


async def test_a_fresh_receiver_of_a_later_version_fetches_older_objects_from_the_older_torrent(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(
        tmp_path / "source",
        {"kept.bin": seeded_bytes(5 * MIB, 11), "dropped.bin": seeded_bytes(20 * MIB, 12)},
    )
    first = await alice.share(source, name="older")
    (source / "dropped.bin").unlink()
    write_files(source, {"new.bin": seeded_bytes(3 * MIB, 13)})
    second = await alice.share(source, name="older")
    await alice.client.pause(first.id)
    detail = await alice.client.version_detail("older@2")
    torrents = {row.version: row.info_hash for row in (await alice.client.share_detail("older")).versions}
    assert detail.info_hashes == (torrents[2], torrents[1])
    got = await carol.get(second.link, tmp_path / "target")
    assert got.version == 2
    assert 8 * MIB <= got.wire_size == got.wire_done <= 8 * MIB + 2 * SLACK
    assert tree(tmp_path / "target") == tree(source)


async def test_sharing_again_without_a_change_makes_no_new_version(alice: Home, bob: Home, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "source", 5 * MIB)
    first = await alice.share(tmp_path / "source", name="unchanged")
    await bob.get(first.link, tmp_path / "target")
    second = await alice.share(tmp_path / "source", name="unchanged")
    assert (second.version, second.wire_size, second.reused) == (1, 0, second.size)
    assert any("nothing changed" in warning for warning in second.warnings)
    assert [row.version for row in (await alice.client.share_detail("unchanged")).versions] == [1]
    assert len([job for job in await alice.client.jobs() if job.share == "unchanged"]) == 1


async def test_the_same_content_under_a_new_version_name_moves_nothing(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    make_checkpoint(tmp_path / "source", 5 * MIB)
    first = await alice.share(tmp_path / "source", name="renamed")
    await bob.get(first.link, tmp_path / "target")
    second = await alice.share(tmp_path / "source", name="renamed", version_name="final")
    assert (second.version, second.wire_size, second.reused) == (2, 0, second.size)
    await alice.client.pause(first.id)
    await alice.client.pause(second.id)
    got = await bob.get("renamed", tmp_path / "target 2")
    assert (got.version, got.wire_size, got.reused) == (2, 0, got.size)
    assert tree(tmp_path / "target 2") == tree(tmp_path / "source")
    # bob, who fetched nothing for it, seeds it all the same
    await bob.client.pause((await bob.client.jobs())[-2].id)
    await carol.get(second.link, tmp_path / "carol")
    assert tree(tmp_path / "carol") == tree(tmp_path / "source")


async def test_a_plan_says_what_would_be_new_and_writes_nothing(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"a.bin": seeded_bytes(3 * MIB, 21), "b.bin": seeded_bytes(MIB, 22)})
    request = pm.PublishRequest(path=str(source), name="planned")
    plan = await alice.client.publish_plan(request)
    assert (plan.version, plan.files, plan.size, plan.new_size) == (1, 2, 4 * MIB, 4 * MIB)
    assert not [share for share in await alice.client.shares() if share.name == "planned"]
    await alice.share(source, name="planned")
    (source / "b.bin").write_bytes(seeded_bytes(MIB, 23))
    plan = await alice.client.publish_plan(request)
    assert (plan.version, plan.new_size) == (2, MIB)
    assert [(file.path, file.new_size, file.why) for file in plan.new_files] == [("b.bin", MIB, "its content")]


def identities(directory: Path) -> dict[Path, tuple[int, ...]]:
    """What changes when a file is replaced, written or touched."""
    found = {path: path.stat() for path in directory.rglob("*")}
    return {path: (s.st_ino, s.st_size, s.st_mode, s.st_mtime_ns, s.st_ctime_ns) for path, s in found.items()}


async def test_files_at_the_target_are_adopted_and_left_as_they_are(alice: Home, bob: Home, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "source", 5 * MIB)
    published = await alice.share(tmp_path / "source", name="adopted")
    target = shutil.copytree(tmp_path / "source", tmp_path / "target")
    write_files(target, {"my notes.txt": b"mine"})
    before = identities(target)
    preview = await bob.client.fetch_plan(m.FetchRequest(source=published.link, to=str(target)))
    assert (preview.wire_size, preview.reused, preview.conflicts) == (0, preview.size, ())
    job = await bob.get(published.link, target)
    assert (job.wire_size, job.done, job.reused) == (0, job.size, job.size)
    after = identities(target)
    del after[target / "model.sig"]
    assert after == before


async def test_a_file_that_differs_is_moved_aside_and_what_of_it_matches_is_not_fetched(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(
        tmp_path / "source", {"model.bin": seeded_bytes(24 * MIB, 31), "sub/config.json": b'{"theirs": 1}'}
    )
    published = await alice.share(source, name="aside")
    target = write_files(
        tmp_path / "target",
        {
            "model.bin": seeded_bytes(24 * MIB, 31)[: 20 * MIB] + b"but not the end",
            "sub/config.json": b'{"mine": 1}',
            "sub/other.json": b"untouched",
        },
    )
    mine = tree(target)
    preview = await bob.client.fetch_plan(m.FetchRequest(source=published.link, to=str(target)))
    assert sorted(preview.conflicts) == ["model.bin", "sub/config.json"]
    job = await bob.get(published.link, target)
    assert any(".p2pckpt-replaced" in warning for warning in job.warnings)
    assert job.wire_size < 12 * MIB
    now = tree(target, leave_out=(".p2pckpt-replaced",))
    assert now == tree(source) | {"sub/other.json": mine["sub/other.json"]}
    (aside,) = (target / ".p2pckpt-replaced").iterdir()
    kept = tree(aside)
    assert {name: mine[name] for name in kept} == kept
    assert set(kept) == {"model.bin", "sub", "sub/config.json"}


async def test_nothing_is_written_through_a_link_in_the_target(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"sub/secret.txt": b"theirs", "x": b"1"})
    published = await alice.share(source, name="through/links")
    outside = write_files(tmp_path / "outside", {"secret.txt": b"mine"})
    target = tmp_path / "target"
    target.mkdir()
    (target / "sub").symlink_to(outside)
    error = await failure(bob.get(published.link, target))
    assert (error.code, error.exit_code) == ("not_allowed", 4)
    assert "sub" in error.fact
    assert (outside / "secret.txt").read_bytes() == b"mine"
    (target / "sub").unlink()
    (job,) = [job for job in await bob.client.jobs() if job.path == str(target)]
    await bob.client.resume(job.id)
    await bob.wait_job(job.id)
    assert tree(target) == tree(source)


async def test_tags_move_are_listed_fetched_by_and_taken_away(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"x": b"one"})
    published = await alice.share(source, name="tagged", tags=("stable",))
    await bob.get(published.link, tmp_path / "v1")
    write_files(source, {"x": b"two"})
    await alice.share(source, name="tagged", tags=("best",))
    assert (await alice.client.share_detail("tagged")).share.tags == {"latest": 2, "stable": 1, "best": 2}
    await bob.get("tagged@stable", tmp_path / "stable")
    assert (tmp_path / "stable" / "x").read_bytes() == b"one"
    moved = await alice.cli("tag", "tagged@2", "stable")
    assert moved.returncode == 0, moved.stderr
    await bob.get("tagged@stable", tmp_path / "stable 2")
    assert (tmp_path / "stable 2" / "x").read_bytes() == b"two"
    await alice.client.tag(m.TagRequest("tagged", "best", remove=True))
    error = await failure(bob.client.fetch_plan(m.FetchRequest(source="tagged@best", to=str(tmp_path / "best"))))
    assert (error.code, error.exit_code) == ("not_found", 5)
    for tag in ("latest", "v3", "7", "Upper", "with space"):
        assert (await failure(alice.client.tag(m.TagRequest("tagged@1", tag)))).exit_code == 2, tag
    assert (await alice.cli("tag", "tagged@9", "stable")).returncode == 5


async def test_a_difference_names_files_tensors_and_the_bytes_to_move(alice: Home, tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_checkpoint(source, 4 * MIB, tensors=4, seed=1)
    write_files(source, {"same.json": b"{}", "gone.json": b"1", "changed.bin": seeded_bytes(MIB, 41)})
    await alice.share(source, name="diffed")
    make_checkpoint(source, 5 * MIB, tensors=5, seed=2)
    (source / "gone.json").unlink()
    write_files(source, {"added.bin": seeded_bytes(2 * MIB, 42), "changed.bin": seeded_bytes(MIB, 43)})
    second = await alice.share(source, name="diffed")
    reply = await alice.client.diff("diffed@1", "diffed@2")
    changes = {row.path: row.change for row in reply.rows}
    assert changes == {
        "added.bin": "added",
        "changed.bin": "changed",
        "config.json": "changed",
        "gone.json": "removed",
        "model.safetensors": "changed",
        "same.json": "same",
    }
    assert reply.tensors_added == ("tensor.4",)
    assert reply.tensors_changed == ("tensor.0", "tensor.1", "tensor.2", "tensor.3")
    assert reply.tensors_removed == ()
    assert reply.new_bytes == second.size - second.reused
    assert reply.wire_bytes >= second.wire_size
    printed = await alice.cli("diff", "diffed@1", "diffed@2")
    assert printed.returncode == 0
    assert "gone.json" in printed.stdout
    back = await alice.client.diff("diffed@2", "diffed@1")
    assert back.tensors_removed == ("tensor.4",)
    assert (await alice.cli("diff", "diffed@1", "diffed@3")).returncode == 5
