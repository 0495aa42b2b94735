"""Directories that can't be published as they are: refused by name, and nothing of them is kept or half published."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.generate import make_checkpoint
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.tracker_protocol import Visibility

from ...support.homes import Home, failure, seeded_bytes, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


def _socket(path: Path) -> None:
    # bound by a relative name: socket paths are short, those of tests are not
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def _link_to_directory(path: Path) -> None:
    directory = path.with_name("somewhere")
    directory.mkdir()
    (directory / "x").write_bytes(b"1")
    path.symlink_to(directory)


def _file(path: Path) -> None:
    path.write_bytes(b"1")


def _two_that_fold(path: Path) -> None:
    path.write_bytes(b"1")
    path.with_name(path.name.upper()).write_bytes(b"2")


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("daemon.sock", _socket, "a socket"),
        ("pipe", os.mkfifo, "a pipe"),
        ("linked", _link_to_directory, "link to a directory"),
        ("dangling", lambda path: path.symlink_to("nowhere"), "broken link"),
        ("loop", lambda path: path.symlink_to("loop"), "broken link"),
        ("trailing ", _file, "dot or a space"),
        ("trailing.", _file, "dot or a space"),
        ("C:model", _file, "colon"),
        ("back\\slash", _file, "backslash"),
        ("nul.bin", _file, "device"),
        ("new\nline", _file, "control character"),
        ("model", _two_that_fold, "one file on some systems"),
    ],
)
async def test_what_can_not_travel_is_refused_by_name(
    alice: Home, tmp_path: Path, name: str, make: Callable[[Path], object], said: str
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": b"weights"})
    make(source / name)
    known = {share.name for share in await alice.client.shares()}
    error = await failure(alice.share(source, name="refused"))
    assert (error.code, error.exit_code) == ("usage", 2), error.fact
    assert said in error.fact
    assert name[:3] in error.fact
    assert "nothing was published" in error.kept
    assert (await failure(alice.client.publish_plan(pm.PublishRequest(path=str(source))))).exit_code == 2
    assert {share.name for share in await alice.client.shares()} == known


async def test_a_directory_that_is_missing_empty_or_a_file_is_refused(alice: Home, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"1")
    for path, code in ((tmp_path / "missing", 5), (tmp_path / "empty", 2), (tmp_path / "file", 2)):
        assert (await failure(alice.share(path))).exit_code == code, path
    assert (await failure(alice.share(Path("relative")))).exit_code == 2
    assert (await alice.cli("share", tmp_path / "missing")).returncode == 2
    assert (await alice.cli("share", tmp_path / "empty")).returncode == 2


@pytest.mark.parametrize("name", ["/absolute", "trailing/", "a//b", "with space", "../up", "a@1", "x" * 101])
async def test_names_that_no_share_can_have_are_refused(alice: Home, tmp_path: Path, name: str) -> None:
    source = write_files(tmp_path / "source", {"x": b"1"})
    assert (await failure(alice.share(source, name=name))).exit_code == 2


async def test_a_file_that_changes_while_it_is_read_fails_the_publish_and_the_next_try_succeeds(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(8 * MIB, 1), "log.txt": b"0"})

    async def keep_writing() -> None:
        for number in range(1, 1 << 30):
            (source / "log.txt").write_bytes(str(number).encode())
            await asyncio.sleep(0)

    writing = asyncio.create_task(keep_writing())
    try:
        error = await failure(alice.share(source, name="changing"))
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    assert (error.code, error.exit_code) == ("changed_while_reading", 1)
    assert "log.txt" in error.fact
    assert not (await alice.client.share_detail("changing")).versions
    published = await alice.share(source, name="changing")
    assert (published.version, published.reused >= 0) == (1, True)
    await bob.get(published.link, tmp_path / "target")
    assert (tmp_path / "target" / "log.txt").read_bytes() == (source / "log.txt").read_bytes()


async def test_a_file_that_may_not_be_read_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": b"weights", "sub/secret.bin": b"hidden"})
    async with Home(tmp_path / "home", obeys_permissions=True) as home:
        for path in (source / "sub/secret.bin", source / "sub"):
            mode = path.stat().st_mode & 0o777
            path.chmod(0)
            error = await failure(home.share(source))
            done = await home.cli("share", source, "--allow-no-licence")
            path.chmod(mode)
            assert (error.code, error.exit_code) == ("not_allowed", 4)
            assert str(path) in error.fact
            assert done.returncode == 4, done.stderr
        assert await home.client.shares() == []
        assert (await home.share(source)).version == 1


async def test_a_target_that_may_not_be_written_is_named(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"x": b"1"})
    link = (await alice.share(source, name="locked/out")).link
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "file").write_bytes(b"1")
    async with Home(tmp_path / "home", obeys_permissions=True) as home:
        error = await failure(home.get(link, tmp_path / "closed" / "target"))
        assert (error.code, error.exit_code) == ("not_allowed", 4), error.fact
        assert (await home.cli("get", link, "--to", tmp_path / "closed" / "target")).returncode == 4
        assert (await failure(home.get(link, tmp_path / "file"))).exit_code == 2


async def test_a_look_tells_what_is_in_a_folder_and_what_its_card_says(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "looked-at", {"a/weights.bin": seeded_bytes(MIB, 1), "config.json": b"{}"})
    (source / "README.md").write_text("---\nlicense: mit\nbase_model: org/base\n---\n# Model\n")
    make_checkpoint(source / "b", 1 << 20, "BF16", tensors=2)
    report = await alice.client.look(pm.LookRequest(str(source)))
    assert (report.name, report.known_as, report.has_card) == ("looked-at", None, True)
    assert (report.licence, report.base_model) == ("MIT", ("org/base",))
    assert {row.path: row.kind for row in report.files}["b/model.safetensors"] == "safetensors"
    assert report.file_count == len(report.files)
    assert report.size == sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    assert not (await alice.client.shares()) or "looked-at" not in {row.name for row in await alice.client.shares()}
    await alice.share(source, name="looked-at")
    assert (await alice.client.look(pm.LookRequest(str(source)))).known_as is Visibility.LINK


async def test_what_a_publish_says_of_the_card_is_written_before_it_is_read(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "described", {"weights.bin": seeded_bytes(MIB, 2)})
    (source / "README.md").write_text("---\nlibrary_name: x  # kept\n---\n# Model\n")
    card = pm.CardFields(licence="apache-2.0", base_model=("org/base",), tags=("sft",))
    await alice.share(source, name="described", card=card, allow_no_licence=False)
    detail = await alice.client.version_detail("described")
    assert (detail.licence, detail.base_model) == ("Apache-2.0", ("org/base",))
    text = (source / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: x  # kept\nlicense: apache-2.0\n")
    assert text.endswith("---\n# Model\n")


async def test_a_card_that_can_not_be_changed_is_left_and_nothing_is_published(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "broken", {"weights.bin": seeded_bytes(MIB, 3), "README.md": b"---\na: [\n---\n"})
    error = await failure(alice.share(source, name="broken-card", card=pm.CardFields(licence="mit")))
    assert error.exit_code == 2
    assert "front matter" in error.fact
    assert (source / "README.md").read_bytes() == b"---\na: [\n---\n"
    assert "broken-card" not in {row.name for row in await alice.client.shares()}


async def test_a_fetch_that_is_only_added_waits_to_be_resumed(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "later", {"weights.bin": seeded_bytes(2 * MIB, 4)})
    shared = await alice.share(source, name="later")
    request = m.FetchRequest(source=shared.link, to=str(tmp_path / "there"), paused=True)
    job = await bob.client.fetch(request)
    assert job.state is m.JobState.PAUSED
    assert not (tmp_path / "there").exists()
    await bob.client.resume(job.id)
    await bob.wait_job(job.id)
    assert (tmp_path / "there" / "weights.bin").read_bytes() == (source / "weights.bin").read_bytes()
