"""The pickle gate between real daemons: what is not published, what receivers are told, and a publisher that lies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.store.checkout import partial_directory

from ...support.homes import Home, failure, seeded_bytes, tree, write_files
from ...support.pickles import BENIGN, UNREADABLE, call, torch_file

pytestmark = pytest.mark.asyncio(loop_scope="package")

EVIL = torch_file(call("posix", "system"))
UNKNOWN = torch_file(call("mylib", "Thing"))
SAID = "dangerous: {}: a pickle imports posix.system"


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def mallory(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    """Who publishes without looking, and says that nothing was found."""
    directory = tmp_path_factory.mktemp("liar")
    lie = "import p2pckpt.jobs.publish as publish\npublish.scan_files = lambda *_: ()\n"
    (directory / "sitecustomize.py").write_text(lie)
    home = Home(tmp_path_factory.mktemp("homes") / "mallory")
    home.env["PYTHONPATH"] = f"{directory}:{home.env.get('PYTHONPATH', '')}"
    async with home:
        yield home


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "README.md", "sub/weights.txt"])
async def test_a_dangerous_pickle_is_not_published_whatever_it_is_called(
    alice: Home, tmp_path: Path, name: str
) -> None:
    source = write_files(tmp_path / "source", {name: EVIL, "config.json": b"{}"})
    known = {share.name for share in await alice.client.shares()}
    for allow in (False, True):
        error = await failure(alice.share(source, name="dangerous", allow_unsafe_pickle=allow))
        assert (error.code, error.exit_code) == ("unsafe_content", 6)
        assert error.fact == SAID.format(name)
        assert error.kept == "nothing was published"
        assert "convert" in error.next_step
    assert {share.name for share in await alice.client.shares()} == known


@pytest.mark.parametrize("data", [UNREADABLE["pickle cut off"], UNREADABLE["7z"]])
async def test_what_cannot_be_read_is_published_only_when_told_so(alice: Home, tmp_path: Path, data: bytes) -> None:
    source = write_files(tmp_path / "source", {"model.bin": data})
    error = await failure(alice.share(source, name=f"unreadable-{len(data)}"))
    assert error.fact.startswith("unreadable: model.bin: it is a ")
    assert "--allow-unsafe-pickle" in error.next_step
    job = await alice.share(source, name=f"unreadable-{len(data)}", allow_unsafe_pickle=True)
    assert any(warning.startswith("unreadable: model.bin") for warning in job.warnings)


async def test_unknown_imports_are_published_when_told_so_and_receivers_are_told(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.pt": UNKNOWN, "w.bin": seeded_bytes(100_000)})
    plan = await alice.client.publish_plan(pm.PublishRequest(path=str(source)))
    assert "unknown: model.pt: a pickle imports mylib.Thing" in plan.warnings
    assert any("would not be published" in warning for warning in plan.warnings)
    refused = await alice.cli("share", source, "--name", "unknown", "--allow-no-licence")
    assert refused.returncode == 6
    assert "unknown: model.pt: a pickle imports mylib.Thing" in refused.stderr
    assert "--allow-unsafe-pickle" in refused.stderr

    shared = await alice.cli("share", source, "--name", "unknown", "--allow-no-licence", "--allow-unsafe-pickle")
    assert shared.returncode == 0, shared.stderr
    link = shared.stdout.strip()
    told = "the publisher's scan: unknown: model.pt: a pickle imports mylib.Thing"
    shown = await alice.cli("show", "unknown")
    assert told in shown.stderr
    manifest = json.loads((await alice.cli("show", "unknown", "--manifest")).stdout)
    assert manifest["findings"] == ["unknown: model.pt: a pickle imports mylib.Thing"]

    preview = await bob.cli("get", link, "-n")
    assert told in preview.stderr
    got = await bob.cli("get", link, "--to", tmp_path / "got")
    assert got.returncode == 0, got.stderr
    assert "warning: unknown: model.pt: a pickle imports mylib.Thing" in got.stderr
    assert tree(tmp_path / "got") == tree(source)


async def test_files_without_findings_travel_without_a_word(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {f"{n}.bin": data for n, data in enumerate(BENIGN.values())})
    assert len(tree(source)) >= 30
    job = await alice.share(source, name="benign")
    got = await bob.get(job.link, tmp_path / "got")
    assert not [text for text in (*job.warnings, *got.warnings) if "pickle" in text]
    assert tree(tmp_path / "got") == tree(source)


async def test_a_publisher_that_lies_is_caught_by_whoever_receives(mallory: Home, bob: Home, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model.safetensors": EVIL, "w.bin": seeded_bytes(200_000)}
    source, target = write_files(tmp_path / "source", files), tmp_path / "got"
    job = await mallory.share(source, name="trojan")
    manifest = json.loads((await mallory.cli("show", "trojan", "--manifest")).stdout)
    assert manifest["findings"] == []

    got = await bob.cli("get", job.link, "--to", target)
    assert got.returncode == 6, got.stderr
    assert SAID.format("model.safetensors") in got.stderr
    assert "was not handed over" in got.stderr
    assert "--allow-unsafe-pickle" in got.stderr
    assert not target.exists()
    assert partial_directory(target).exists()

    # nor is a byte of it handed over to who reads without a checkout
    refused = await failure(bob.client.read_all("trojan", "model.safetensors", 0, 8))
    assert (refused.code, refused.fact) == ("unsafe_content", SAID.format("model.safetensors"))
    assert await bob.client.read_all("trojan", "w.bin") == files["w.bin"]

    # going on with the same job does not get around it, and fetches nothing again
    failed = next(row for row in await bob.client.jobs() if row.path == str(target))
    assert failed.state is m.JobState.FAILED
    await bob.client.resume(failed.id)
    again = await failure(bob.wait_job(failed.id))
    assert again.code == "unsafe_content"

    allowed = await bob.get(job.link, target, allow_unsafe_pickle=True)
    assert allowed.wire_done == 0
    assert SAID.format("model.safetensors") in allowed.warnings
    assert tree(target) == tree(source)
    # what somebody decided to have is repaired without asking again
    (target / "config.json").write_bytes(b"[]")
    repaired = await bob.verify("trojan", repair=True)
    assert repaired.state is m.JobState.DONE
    assert (target / "config.json").read_bytes() == b"{}"


async def test_the_chosen_files_count_whatever_way_they_came(mallory: Home, bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"a/model.bin": EVIL, "notes.txt": b"harmless", "b.bin": EVIL[:-30]})
    job = await mallory.share(source, name="mixed")
    chosen = await bob.get(job.link, tmp_path / "chosen", only=("notes.txt",))
    assert chosen.warnings == () or not any("pickle" in warning for warning in chosen.warnings)
    assert sorted(tree(tmp_path / "chosen")) == ["notes.txt"]
    for only in ("a/*", "b.bin"):
        error = await failure(bob.get(job.link, tmp_path / f"one {only[0]}", only=(only,)))
        assert error.code == "unsafe_content"
        assert not (tmp_path / f"one {only[0]}").exists()
    # files that lie at the target already are not handed over either
    adopted = write_files(tmp_path / "adopted", {"a/model.bin": EVIL})
    error = await failure(bob.get(job.link, adopted))
    assert "a/model.bin" in error.fact
    assert sorted(tree(adopted)) == ["a", "a/model.bin"]
