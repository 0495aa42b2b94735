"""Versions in the cache of the model hubs' client: found offline by the real ones, and deleted by them without harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pckpt.cloning import clone
from tests.support.training import safetensors, weights

from ...support.homes import Home, seeded_bytes, tree, write_files
from ...support.hub_clients import CLIENTS, INSTALLED, HubClient

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]

NOWHERE = "http://127.0.0.1:9"
"""Where nobody answers: what is not in the cache is not found."""
OFFLINE = "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"
FIND = (
    OFFLINE
    + """
import sys
from huggingface_hub import hf_hub_download, snapshot_download
for revision in sys.argv[2:]:
    where = snapshot_download(sys.argv[1], revision=revision, local_files_only=True)
    file = hf_hub_download(sys.argv[1], "unet/model.safetensors", revision=revision, local_files_only=True)
    assert file.startswith(where), (file, where)
    print(where)
"""
)
DELETE = """
import sys
from huggingface_hub import scan_cache_dir
found = scan_cache_dir()
assert not found.warnings, found.warnings
commits = [revision.commit_hash for repo in found.repos for revision in repo.revisions if repo.repo_id == sys.argv[1]]
assert len(commits) == int(sys.argv[2]), commits
found.delete_revisions(*commits).execute()
"""
LOAD = (
    OFFLINE
    + """
import sys, torch
from transformers import AutoModel
from diffusers import DDPMPipeline
model = AutoModel.from_pretrained(sys.argv[1])
print(model.dtype, float(sum(p.sum() for p in model.parameters())))
print(type(DDPMPipeline.from_pretrained(sys.argv[2]).unet).__name__)
"""
)
MAKE = """
import sys, torch
from transformers import BertConfig, BertModel
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
torch.manual_seed(1)
config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
model = BertModel(config)
model.save_pretrained(sys.argv[1])
unet = UNet2DModel(sample_size=8, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4,
                   down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
DDPMPipeline(unet, DDPMScheduler()).save_pretrained(sys.argv[2])
print(model.dtype, float(sum(p.sum() for p in model.parameters())))
"""


def a_model(directory: Path, seed: int) -> Path:
    return write_files(
        directory,
        {
            "README.md": b"---\nlicense: mit\n---\n",
            "unet/model.safetensors": safetensors(weights(seed, width=64)),
            "a file of its own.bin": seeded_bytes(5000, seed),
        },
    )


def shape_of(directory: Path) -> dict[str, tuple[int, int]]:
    """Inode and mode of every file."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): (path.stat().st_ino, path.stat().st_mode) for path in files}


def is_shared(blob: Path, source: Path, tmp_path: Path) -> bool:
    """Whether ``blob`` takes no blocks of its own; on a file system with clones that is what it was made as."""
    return blob.samefile(source) or clone(source, tmp_path / "a clone")


async def checkout(home: Home, hf_home: Path, *arguments: object) -> dict[str, object]:
    """``checkout --hf-cache`` into the cache below ``hf_home``, and what it says."""
    home.env["HF_HOME"] = str(hf_home)
    done = await home.cli("checkout", *arguments, "--hf-cache", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


async def test_from_pretrained_finds_a_received_version_offline_with_no_byte_copied(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    made = (
        await INSTALLED.run(MAKE, tmp_path / "bert", tmp_path / "ddpm", endpoint=NOWHERE, home=tmp_path / "hf")
    ).split("\n")[-2]
    for name in ("bert", "ddpm"):
        link = (await alice.share(tmp_path / name, name=f"hub/{name}")).link
        await bob.get(link, tmp_path / f"bob {name}")
        found = await checkout(bob, tmp_path / "hf", f"hub/{name}")
        assert (found["copied"], found["source"]) == (0, str(tmp_path / f"bob {name}"))
    snapshot = Path(str(found["paths"][0]))  # type: ignore[index]
    blob = (snapshot / "unet" / "diffusion_pytorch_model.safetensors").resolve()
    assert blob.parent == tmp_path / "hf" / "hub" / "models--hub--ddpm" / "blobs"
    assert is_shared(blob, tmp_path / "bob ddpm" / "unet" / "diffusion_pytorch_model.safetensors", tmp_path)
    said = await INSTALLED.run(LOAD, "hub/bert", "hub/ddpm", endpoint=NOWHERE, home=tmp_path / "hf")
    assert said.split("\n")[-3:-1] == [made, "UNet2DModel"]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.version)
async def test_deleting_the_revision_never_touches_the_checkout(alice: Home, tmp_path: Path, client: HubClient) -> None:
    source, hf = a_model(tmp_path / "model", 1), tmp_path / "hf"
    name = f"hub/deleted-{client.version[0]}"
    await alice.share(source, name=name)
    before, shape = tree(source), shape_of(source)
    found = await checkout(alice, hf, name)
    assert shape_of(source) == shape, "the checkout's own files are as they were"
    seen = await client.run(FIND, name, "main", "v1", "latest", endpoint=NOWHERE, home=hf)
    assert seen.split() == found["paths"] * 3  # type: ignore[operator]
    await client.run(DELETE, name, 1, endpoint=NOWHERE, home=hf)
    assert not list((hf / "hub").glob("models--*"))
    assert (tree(source), shape_of(source)) == (before, shape)
    if not client.is_old:  # which has no command for it that asks nothing
        await checkout(alice, hf, name)
        await client.hf_run("cache", "prune", "--yes", endpoint=NOWHERE, home=hf)
        await client.run(FIND, name, "main", endpoint=NOWHERE, home=hf)
        await client.hf_run("cache", "rm", f"model/{name}", "--yes", endpoint=NOWHERE, home=hf)
        assert not list((hf / "hub").glob("models--*"))
        assert (tree(source), shape_of(source)) == (before, shape)


async def test_versions_share_blobs_and_go_one_by_one(alice: Home, tmp_path: Path) -> None:
    source, hf, name = a_model(tmp_path / "model", 1), tmp_path / "hf", "hub/versions"
    await alice.share(source, name=name)
    kept = tmp_path / "kept"
    await alice.get(f"{name}@1", kept)
    await checkout(alice, hf, name)
    write_files(source, {"unet/model.safetensors": safetensors(weights(2, width=64))})
    await alice.share(source, name=name, tags=("best",), version_name="step-2")
    await checkout(alice, hf, name)
    before = tree(kept), tree(source)
    assert await checkout(alice, hf, name) == await checkout(alice, hf, name), "again changes nothing"
    repo = hf / "hub" / "models--hub--versions"
    assert len(list((repo / "blobs").iterdir())) == 4, "two of three files are the same"
    assert {path.name for path in (repo / "refs").iterdir()} == {"main", "v1", "v2", "latest", "best", "step-2"}
    first, second = (repo / "refs" / name for name in ("v1", "v2"))
    assert (repo / "refs" / "main").read_text() == second.read_text() != first.read_text()
    removed = await alice.cli("checkout", f"{name}@v1", "--hf-cache", "--remove")
    assert removed.returncode == 0, removed.stderr
    assert not first.exists()
    assert len(list((repo / "blobs").iterdir())) == 3
    await INSTALLED.run(FIND, name, "main", "best", "step-2", endpoint=NOWHERE, home=hf)
    await alice.cli("checkout", name, "--hf-cache", "--remove")
    assert not repo.exists()
    assert (tree(kept), tree(source)) == before
    assert (await alice.cli("checkout", name, "--hf-cache", "--remove")).returncode == 5


async def test_a_repository_that_came_from_elsewhere_is_left_alone(alice: Home, tmp_path: Path) -> None:
    source, hf, name = a_model(tmp_path / "model", 3), tmp_path / "hf", "hub/taken"
    await alice.share(source, name=name)
    theirs = write_files(
        hf / "hub" / "models--hub--taken",
        {"refs/main": b"c" * 40, f"snapshots/{'c' * 40}/unet/model.safetensors": b"theirs", "blobs/x": b"y"},
    )
    before = tree(theirs)
    alice.env["HF_HOME"] = str(hf)
    refused = await alice.cli("checkout", name, "--hf-cache")
    assert refused.returncode == 1, refused.stderr
    assert "--repo-id" in refused.stderr
    assert tree(theirs) == before
    found = await checkout(alice, hf, name, "--repo-id", "mine/taken")
    seen = await CLIENTS[1].run(FIND, "mine/taken", "main", endpoint=NOWHERE, home=hf)
    assert seen.split() == found["paths"]


async def test_without_a_whole_checkout_one_is_restored_and_what_differs_is_never_linked(
    alice: Home, tmp_path: Path
) -> None:
    source, hf, name = a_model(tmp_path / "model", 4), tmp_path / "hf", "hub/restored"
    await alice.share(source, name=name)
    before = tree(source)
    write_files(source, {"a file of its own.bin": seeded_bytes(5000, 99)})  # as long, and not what was published
    done = await alice.cli("checkout", name, "--hf-cache", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    [managed] = (alice.config.data_dir / "checkouts").glob("*-restored/v1")
    assert found["source"] == str(managed)
    assert tree(Path(found["source"])) == before
    assert tree(Path(found["paths"][0])) == before
    again = await checkout(alice, hf, name)
    assert again["source"] == found["source"]
