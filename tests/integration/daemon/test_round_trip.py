"""A directory goes into a share and comes out of it elsewhere, byte by byte the same."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.generate import make_checkpoint
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role, Visibility

from ...support.homes import Home, failure, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


def every_kind_of_file(directory: Path) -> Path:
    """Every format, odd sizes, nested and empty directories, executables and links to files."""
    make_checkpoint(directory / "sharded", 3 * MIB, shards=3)
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "model-00001-of-00003.safetensors"}}
    make_checkpoint(directory / "torch", 2 * MIB, dtype="F32", format="torch_zip")
    make_checkpoint(directory / "gguf", 2 * MIB, dtype="Q8_0", format="gguf")
    write_files(
        directory,
        {
            "README.md": b"---\nlicense: apache-2.0\nbase_model: some/base\n---\n# A card\n",
            "sharded/model.safetensors.index.json": json.dumps(index).encode(),
            "empty": b"",
            "a/b/c/also empty": b"",
            "sizes/0": b"",
            "sizes/1": b"x",
            "sizes/4 MiB - 1": seeded_bytes(4 * MIB - 1, 1),
            "sizes/4 MiB": bytes(4 * MIB),
            "sizes/4 MiB + 1": seeded_bytes(4 * MIB + 1, 2),
            "tokenizer/zażółć.json": '{"ż": 1}'.encode(),
            "run.sh": b"#!/bin/sh\n",
        },
    )
    (directory / "run.sh").chmod(0o755)
    (directory / "nothing" / "in" / "here").mkdir(parents=True)
    elsewhere = directory.with_name(directory.name + " elsewhere")
    write_files(elsewhere, {"blob": seeded_bytes(100_000, 3)})
    (directory / "link").symlink_to(os.path.relpath(elsewhere / "blob", directory))
    (directory / "link inside").symlink_to("run.sh")
    return directory


@pytest.mark.parametrize("visibility", [Visibility.LINK, Visibility.PUBLIC])
async def test_every_kind_of_file_arrives_as_it_was(
    alice: Home, bob: Home, tmp_path: Path, visibility: Visibility
) -> None:
    source = every_kind_of_file(tmp_path / "source")
    published = await alice.share(source, name=f"kinds/{visibility}", to=visibility)
    assert published.state is m.JobState.SEEDING
    assert ("#" in published.link) == (visibility is Visibility.LINK)
    assert published.size == sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    assert any("2 links" in warning for warning in published.warnings)
    fetched = await bob.get(published.link, tmp_path / "target")
    assert fetched.state is m.JobState.SEEDING
    assert fetched.wire_done == fetched.wire_size > 0
    assert (fetched.done, fetched.reused) == (fetched.size, 0)
    assert tree(tmp_path / "target") == tree(source)
    assert not [path for path in (tmp_path / "target").rglob("*") if path.is_symlink()]
    shown = await bob.client.version_detail(f"kinds/{visibility}")
    assert (shown.licence, shown.base_model) == ("Apache-2.0", ("some/base",))
    assert {file.kind for file in shown.files} == {"safetensors", "torch_zip", "gguf", "opaque"}
    assert shown.directories == ("nothing/in/here",)
    assert shown.version.held


async def test_a_member_who_was_added_by_key_gets_it_by_link_without_a_secret_and_then_by_name(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 4)})
    published = await alice.share(source, name="lab/members", to=Visibility.MEMBERS)
    key = await bob.cli("-q", "key", "show")
    added = await alice.cli("member", "add", "lab/members", key.stdout.strip())
    assert added.returncode == 0, added.stderr
    rows = {row.identity: row for row in await alice.client.members("lab/members")}
    assert rows[(await bob.client.key()).identity].role is Role.DOWNLOADER
    link = published.link.partition("#")[0]
    await bob.get(link, tmp_path / "by link")
    assert tree(tmp_path / "by link") == tree(source)
    await bob.get("lab/members@v1", tmp_path / "by name")
    assert tree(tmp_path / "by name") == tree(source)


async def test_two_thousand_small_files_arrive(alice: Home, bob: Home, tmp_path: Path) -> None:
    files = {f"{n % 40}/{n}.json": f'{{"n": {n}}}'.encode() for n in range(2000)}
    source = write_files(tmp_path / "source", files)
    published = await alice.share(source, name="small")
    await bob.get(published.link, tmp_path / "target")
    assert tree(tmp_path / "target") == tree(source)
    (detail,) = [v for v in (await alice.client.share_detail("small")).versions if v.version == 1]
    assert detail.files == 2000


async def test_share_and_get_on_the_command_line_print_the_link_and_the_checkout(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    make_checkpoint(tmp_path / "source", 2 * MIB)
    shared = await alice.cli("share", tmp_path / "source", "--name", "from/cli", "--allow-no-licence")
    assert shared.returncode == 0, shared.stderr
    assert shared.stdout.startswith("p2pckpt:")
    got = await bob.cli("get", "-", "--to", tmp_path / "target", stdin=shared.stdout)
    assert (got.returncode, got.stdout) == (0, f"{tmp_path}/target\n"), got.stderr
    assert tree(tmp_path / "target") == tree(tmp_path / "source")
    again = await bob.cli("get", "from/cli", "--no-seed")
    assert (again.returncode, again.stdout) == (0, f"{bob.path}/cli-v1\n"), again.stderr
    assert tree(bob.path / "cli-v1") == tree(tmp_path / "source")


async def test_only_fetches_and_writes_what_was_asked_for(alice: Home, bob: Home, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "source", 6 * MIB, shards=2)
    write_files(
        tmp_path / "source",
        {"optimizer/state.dat": seeded_bytes(20 * MIB, 5), "model.safetensors.index.json": b"{}"},
    )
    published = await alice.share(tmp_path / "source", name="only")
    chosen = await bob.get(published.link, tmp_path / "weights", only=("weights",))
    weights = {name for name in tree(tmp_path / "source") if "safetensors" in name}
    expected = {name: what for name, what in tree(tmp_path / "source").items() if name in weights}
    assert tree(tmp_path / "weights") == expected
    assert chosen.wire_size < 10 * MIB
    glob = await bob.get("only", tmp_path / "json", only=("*.json", "optimizer/*"))
    assert set(tree(tmp_path / "json")) == {
        "config.json", "model.safetensors.index.json", "optimizer", "optimizer/state.dat",
    }  # fmt: skip
    assert glob.wire_size >= 19 * MIB
    nothing = await failure(bob.get("only", tmp_path / "none", only=("*.gguf",)))
    assert (nothing.code, nothing.exit_code) == ("not_found", 5)
    assert not (tmp_path / "none").exists()


async def test_what_is_published_while_unnamed_takes_the_directory_s_name(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "My Model!", {"x": b"1"})
    published = await alice.share(source)
    assert published.share == "My-Model"
    job = await bob.client.fetch(m.FetchRequest(source=published.link, base=str(tmp_path)))
    assert (await bob.wait_job(job.id)).path == str(tmp_path / "My-Model-v1")
    assert tree(tmp_path / "My-Model-v1") == tree(source)


async def test_a_public_share_without_a_licence_is_refused_unless_told_otherwise(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"x": b"2"})
    refused = await alice.cli("share", source, "--name", "unlicensed", "--to", "public")
    assert refused.returncode == 2
    assert "licence" in refused.stderr
    assert not [share for share in await alice.client.shares() if share.name == "unlicensed"]
