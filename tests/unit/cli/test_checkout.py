"""``checkout`` against a daemon that answers from a script: the files are real, and so are the links to them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from p2pckpt.cli.checkout_work import managed_directory
from p2pckpt.control import messages as m
from p2pckpt.control.read_messages import Contents
from tests.support.canned_daemon import CannedDaemon, job, preview, share, version
from tests.support.homes import tree, write_files
from tests.support.pickles import call, torch_file
from tests.unit.bridges.test_image_tools import weights
from tests.unit.bridges.versions import contents
from tests.unit.cli.conftest import Cli

FILES = {"unet/my model.safetensors": weights("sdxl"), "README.md": b"# x"}


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    return write_files(tmp_path / "ComfyUI", {"models/checkpoints/put_checkpoints_here": b"", "main.py": b""})


def told(daemon: CannedDaemon, directory: Path, *, path: str | None = None, number: int = 3) -> Contents:
    """Let the daemon tell of a version that is ``directory``, with its checkout there or at ``path``."""
    found = contents(directory, version=number)
    found = msgspec.structs.replace(found, path=str(directory) if path is None else path)
    daemon.replies["GET", "/v1/contents/cars%2Fsd15"] = found
    daemon.replies["GET", f"/v1/contents/cars%2Fsd15@v{number}"] = found
    daemon.replies["GET", f"/v1/shares/{found.share_id}"] = m.ShareDetail(share(), (version(number),))
    return found


def test_comfyui_gets_what_it_can_use_and_gives_it_back(
    daemon: CannedDaemon, cli: Cli, tmp_path: Path, comfyui: Path
) -> None:
    model = write_files(tmp_path / "model", FILES)
    told(daemon, model)
    before, empty = tree(model), tree(comfyui)
    outcome = cli("checkout", "cars/sd15", "--comfyui", str(comfyui))
    target = comfyui / "models" / "checkpoints" / "cars-sd15-v3.safetensors"
    assert (outcome.code, outcome.out) == (0, f"{target}\n")
    assert "no byte copied" in outcome.err
    assert target.read_bytes() == FILES["unet/my model.safetensors"]
    assert cli("checkout", "cars/sd15", "--comfyui", str(comfyui / "models"), "-q").out == f"{target}\n"
    assert cli("checkout", "cars/sd15", "--comfyui", str(comfyui), "--remove").code == 0
    assert (tree(comfyui), tree(model)) == (empty, before)
    assert cli("checkout", "cars/sd15", "--comfyui", str(comfyui), "--remove").code == 5


def test_a_name_that_is_taken_is_left_alone(daemon: CannedDaemon, cli: Cli, tmp_path: Path, comfyui: Path) -> None:
    told(daemon, write_files(tmp_path / "model", FILES))
    write_files(comfyui, {"models/checkpoints/cars-sd15-v3.safetensors": b"mine"})
    outcome = cli("checkout", "cars/sd15", "--comfyui", str(comfyui))
    assert outcome.code == 1
    assert "are there already" in outcome.err
    assert (comfyui / "models" / "checkpoints" / "cars-sd15-v3.safetensors").read_bytes() == b"mine"


def test_versions_stand_side_by_side_and_one_can_be_taken_away(
    daemon: CannedDaemon, cli: Cli, tmp_path: Path, comfyui: Path
) -> None:
    for number in (2, 3):
        told(daemon, write_files(tmp_path / f"model {number}", FILES), number=number)
        assert cli("checkout", "cars/sd15", "--comfyui", str(comfyui)).code == 0
    assert json.loads(cli("checkout", "cars/sd15@2", "--comfyui", str(comfyui), "--remove", "--json").out) == {
        "removed": 1,
        "left": [],
    }
    here = sorted(path.name for path in (comfyui / "models" / "checkpoints").iterdir())
    assert here == ["cars-sd15-v3.safetensors", "put_checkpoints_here"]


def test_dangerous_pickles_reach_no_image_program_unless_told_so(
    daemon: CannedDaemon, cli: Cli, tmp_path: Path, comfyui: Path
) -> None:
    told(daemon, write_files(tmp_path / "model", {"a.ckpt": torch_file(call("os", "system"))}))
    arguments = ("checkout", "cars/sd15", "--comfyui", str(comfyui), "--as", "checkpoint")
    outcome = cli(*arguments)
    assert outcome.code == 6
    assert "dangerous: a.ckpt" in outcome.err
    assert "--allow-unsafe-pickle" in outcome.err
    target = comfyui / "models" / "checkpoints" / "cars-sd15-v3.ckpt"
    assert not target.exists()
    allowed = cli(*arguments, "--allow-unsafe-pickle")
    assert (allowed.code, target.exists()) == (0, True)
    assert "dangerous: a.ckpt" in allowed.err


def test_a_directory_gets_every_file(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    model = write_files(tmp_path / "model", FILES)
    told(daemon, model)
    outcome = cli("checkout", "cars/sd15", "--dir", "there", "--json")
    assert outcome.code == 0
    said = json.loads(outcome.out)
    assert (said["paths"], said["copied"], said["source"]) == ([str(tmp_path / "there")], 0, str(model))
    assert tree(tmp_path / "there") == tree(model)


def test_a_checkout_that_is_not_whole_is_restored_first(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    whole = write_files(tmp_path / "whole", FILES)
    version_ = told(daemon, whole, path=str(tmp_path / "gone"))
    daemon.replies["POST", "/v1/fetch/plan"] = preview(licence_due="openrail")
    daemon.replies["POST", "/v1/fetch"] = job()
    daemon.follow(job(), job(state=m.JobState.SEEDING, done=100_000_000))
    refused = cli("checkout", "cars/sd15", "--dir", "there", "--to", str(whole / ".." / "restored"))
    assert refused.code == 4
    assert daemon.asked("POST", "/v1/fetch") == []
    (tmp_path / "there").mkdir()
    outcome = cli("checkout", "cars/sd15", "--dir", "there", "--to", "restored", "--accept-licence")
    assert outcome.code == 6, "this daemon restores nothing"
    [body] = daemon.asked("POST", "/v1/fetch")
    assert (body["to"], body["accept_licence"]) == (str(tmp_path / "restored"), "openrail")
    assert body["source"] == f"{version_.share_id}@3"
    assert not body["allow_unsafe_pickle"]
    assert list((tmp_path / "there").iterdir()) == []


def test_what_may_run_commands_is_restored_if_the_user_says_so(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    told(daemon, write_files(tmp_path / "whole", FILES), path="")
    daemon.replies["POST", "/v1/fetch/plan"] = preview()
    daemon.replies["POST", "/v1/fetch"] = job()
    daemon.follow(job(), job(state=m.JobState.SEEDING, done=100_000_000))
    cli("checkout", "cars/sd15", "--dir", "there", "--to", "restored", "--allow-unsafe-pickle")
    [body] = daemon.asked("POST", "/v1/fetch")
    assert body["allow_unsafe_pickle"]


def test_a_checkout_is_not_placed_over_itself(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    model = write_files(tmp_path / "model", FILES)
    told(daemon, model)
    before = tree(model)
    for directory in (model, model / "unet" / "deeper"):
        outcome = cli("checkout", "cars/sd15", "--dir", str(directory))
        assert (outcome.code, "inside the checkout" in outcome.err) == (2, True)
        assert cli("checkout", "cars/sd15", "--dir", str(directory), "--remove").code == 5
    assert tree(model) == before


def test_another_version_takes_the_place_of_one(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    for number in (2, 3):
        files = {"weights": b"%d" % number, "config": b"same"}
        told(daemon, write_files(tmp_path / f"model {number}", files), number=number)
        assert cli("checkout", "cars/sd15", "--dir", "there").code == 0
        assert (tmp_path / "there" / "weights").read_bytes() == b"%d" % number
    assert json.loads(cli("checkout", "cars/sd15@2", "--dir", "there", "--remove", "--json").out)["removed"] == 0
    assert json.loads(cli("checkout", "cars/sd15@3", "--dir", "there", "--remove", "--json").out)["removed"] == 2
    assert not (tmp_path / "there").exists()
    assert (tmp_path / "model 2" / "weights").read_bytes() == b"2"


def test_shares_of_one_name_are_not_taken_away_together(daemon: CannedDaemon, cli: Cli, tmp_path: Path) -> None:
    for share_id in ("ab" * 32, "cd" * 32):
        found = contents(write_files(tmp_path / share_id[:2], {share_id[:2]: b"x"}))
        daemon.replies["GET", "/v1/contents/cars%2Fsd15"] = msgspec.structs.replace(found, share_id=share_id)
        daemon.replies["GET", f"/v1/shares/{share_id}"] = m.ShareDetail(share(share_id=share_id), (version(),))
        assert cli("checkout", "cars/sd15", "--dir", "there").code == 0
    outcome = cli("checkout", "cars/sd15", "--dir", "there", "--remove")
    assert (outcome.code, "cdcdcdcd" in outcome.err) == (2, True)
    assert cli("checkout", "cdcdcdcd", "--dir", "there", "--remove").code == 0
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["ab"]


@pytest.mark.parametrize("name", ["/etc", "../../../up", "a/..", "...", "/", ""])
def test_no_name_of_a_share_leads_out_of_where_versions_are_restored(tmp_path: Path, name: str) -> None:
    version_ = contents(write_files(tmp_path / "m", FILES), share=name)
    managed = managed_directory(tmp_path / "data", version_)
    assert managed.resolve().parent.parent == tmp_path / "data" / "checkouts"
    assert managed.parent.name.startswith(version_.share_id[:16])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--hf-cache", "--dir", "x"),
        ("--dir", "x", "--repo-id", "a/b"),
        ("--hf-cache", "--as", "vae"),
        ("--comfyui", "ComfyUI", "--as", "nonsense"),
        ("--a1111", "ComfyUI"),
        ("--dir", "x", "--to", "x"),
        ("--dir", "x", "--remove", "--allow-unsafe-pickle"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    daemon: CannedDaemon, cli: Cli, comfyui: Path, arguments: tuple[str, ...]
) -> None:
    assert cli("checkout", "cars/sd15", *arguments).code == 2
    assert len(daemon.requests) == 0
