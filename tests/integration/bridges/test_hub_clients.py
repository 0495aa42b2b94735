"""Real clients of a model hub read shares through the gateway: huggingface_hub of three major versions, and ``hf``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from p2pckpt.bridges.hub_gateway.etags import commit_of
from p2pckpt.bridges.hub_gateway.server import HubGateway
from p2pckpt.control import messages as m
from p2pckpt.errors import UnsafeContent

from ...support.homes import Home, seeded_bytes, tree, until, write_files
from ...support.hub_clients import CLIENTS, HubClient
from ...support.hub_source import HubSource
from ...support.owner import change_keyring
from .conftest import Quick, join

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


@dataclass(frozen=True)
class Shared:
    """A share of Alice's with two versions, known to Bob."""

    source: Path
    commits: tuple[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def shared(alice: Home, bob: Home, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    source = tmp_path_factory.mktemp("source")
    files = {
        "README.md": b"---\nlicense: mit\n---\n# Cars\n",
        "config.json": b'{"a": 1}',
        "empty.txt": b"",
        "weights.bin": seeded_bytes(3 * MIB, 5),
        "unet/odd name#1%20ü.json": b"{}",
        "unet/deep/part.bin": seeded_bytes(70_000, 6),
    }
    job = await alice.share(write_files(source, files), name="cars/sd15", tags=("stable",))
    await join(bob, job.link)
    write_files(source, {"config.json": b'{"a": 2}'})
    await alice.share(source, name="cars/sd15", version_name="second")
    await until(lambda: _has(bob, "cars/sd15@v2"), "bob knows the second version")
    manifests = [(await bob.client.contents(f"cars/sd15@v{number}")).manifest for number in (1, 2)]
    return Shared(source, (commit_of(manifests[0]), commit_of(manifests[1])))


async def _has(home: Home, name: str) -> bool:
    with contextlib.suppress(Exception):
        return bool(await home.client.contents(name))
    return False


LOOK = """
import json
from huggingface_hub import HfApi
api = HfApi()
info = api.model_info("cars/sd15", files_metadata=True)
refs = api.list_repo_refs("cars/sd15")
print(json.dumps({
    "sha": info.sha,
    "id": info.id,
    "license": info.card_data["license"],
    "sizes": {file.rfilename: file.size for file in info.siblings},
    "lfs": all(file.lfs.size == file.size for file in info.siblings),
    "stable": api.model_info("cars/sd15", revision="stable").sha,
    "dataset": api.dataset_info("cars/sd15", revision="v2").sha,
    "files": sorted(api.list_repo_files("cars/sd15")),
    "branches": {ref.name: ref.target_commit for ref in refs.branches},
    "tags": {ref.name: ref.target_commit for ref in refs.tags},
    "tree": sorted(entry.path for entry in api.list_repo_tree("cars/sd15", "unet", recursive=True, expand=True)),
    "paths": [entry.path for entry in api.get_paths_info("cars/sd15", ["unet", "config.json", "nothing"])],
    "exists": [api.repo_exists("cars/sd15"), api.repo_exists("cars/nothing"),
               api.file_exists("cars/sd15", "config.json"), api.file_exists("cars/sd15", "nothing"),
               api.revision_exists("cars/sd15", "stable"), api.revision_exists("cars/sd15", "v9")],
    "me": api.whoami()["name"],
}))
"""


async def test_a_client_is_told_about_a_share_as_about_a_repository(
    client: HubClient, endpoint: str, shared: Shared, tmp_path: Path
) -> None:
    told = await client.ask(LOOK, endpoint=endpoint, home=tmp_path / "hf")
    first, second = shared.commits
    sizes = {str(p.relative_to(shared.source)): p.stat().st_size for p in shared.source.rglob("*") if p.is_file()}
    assert told == {
        "sha": second,
        "id": "cars/sd15",
        "license": "mit",
        "sizes": sizes,
        "lfs": True,
        "stable": first,
        "dataset": second,
        "files": sorted(sizes),
        "branches": {"main": second},
        "tags": {"v1": first, "v2": second, "second": second, "stable": first, "latest": second},
        "tree": ["unet/deep", "unet/deep/part.bin", "unet/odd name#1%20ü.json"],
        "paths": ["unet", "config.json"],
        "exists": [True, False, True, False, True, False],
        "me": "bob",
    }


READ = """
import json, os
from huggingface_hub import HfFileSystem, hf_hub_download, snapshot_download
fs = HfFileSystem()
with fs.open("cars/sd15/weights.bin") as file:
    file.seek(1_000_000)
    part = file.read(10)
print(json.dumps({
    "one": open(hf_hub_download("cars/sd15", "unet/odd name#1%20ü.json")).read(),
    "old": open(hf_hub_download("cars/sd15", "config.json", revision="stable")).read(),
    "empty": os.path.getsize(hf_hub_download("cars/sd15", "empty.txt", repo_type="dataset")),
    "some": sorted(os.listdir(snapshot_download("cars/sd15", allow_patterns=["*.json", "README.md"]))),
    "commit": os.path.basename(snapshot_download("cars/sd15", revision="v1", allow_patterns="*.md")),
    "fs": sorted(fs.ls("cars/sd15", detail=False)),
    "found": fs.find("cars/sd15@stable/unet"),
    "part": part.hex(),
}))
"""


async def test_a_client_downloads_files_versions_and_parts(
    client: HubClient, endpoint: str, shared: Shared, tmp_path: Path
) -> None:
    told = await client.ask(READ, endpoint=endpoint, home=tmp_path / "hf")
    assert told == {
        "one": "{}",
        "old": '{"a": 1}',
        "empty": 0,
        "some": ["README.md", "config.json", "unet"],
        "commit": shared.commits[0],
        "fs": [f"cars/sd15/{name}" for name in sorted(p.name for p in shared.source.iterdir())],
        "found": ["cars/sd15@stable/unet/deep/part.bin", "cars/sd15@stable/unet/odd name#1%20ü.json"],
        "part": seeded_bytes(3 * MIB, 5)[1_000_000:1_000_010].hex(),
    }


async def test_hf_download_gives_every_byte_of_a_version(
    client: HubClient, endpoint: str, shared: Shared, tmp_path: Path
) -> None:
    out = await client.hf_run("download", "cars/sd15", endpoint=endpoint, home=tmp_path / "hf")
    snapshot = tmp_path / "hf" / "hub" / "models--cars--sd15" / "snapshots" / shared.commits[1]
    assert str(snapshot) in out
    assert tree(snapshot) == tree(shared.source)
    target = tmp_path / "local"
    arguments = ("--revision", "v2", "--local-dir", target)
    await client.hf_run("download", "cars/sd15", *arguments, endpoint=endpoint, home=tmp_path / "hf2")
    assert tree(target, leave_out=[".cache"]) == tree(shared.source)
    if not client.is_old:
        assert "6 file(s)" in await client.hf_run(
            "cache", "verify", "cars/sd15", endpoint=endpoint, home=tmp_path / "hf"
        )


ERRORS = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
def error(call, *arguments, **more):
    try:
        return "nothing", str(call(*arguments, **more))
    except Exception as exc:
        return [kind.__name__ for kind in type(exc).__mro__], str(exc)
print(json.dumps([
    error(hf_hub_download, "cars/nothing", "config.json"),
    error(hf_hub_download, "cars/sd15", "nothing.json"),
    error(hf_hub_download, "cars/sd15", "config.json", revision="v9"),
    error(snapshot_download, "cars/nothing"),
    error(snapshot_download, "cars/sd15", revision="0" * 40),
    error(hf_hub_download, "gated/model", "model.bin"),
    error(HfApi(endpoint=sys.argv[1]).model_info, "cars/sd15"),
]))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def refused(alice: Home, bob: Home, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A share whose licence Bob has not accepted."""
    source = write_files(tmp_path_factory.mktemp("gated"), {"model.bin": seeded_bytes(1000)})
    link = (await alice.share(source, name="gated/model")).link
    await change_keyring(alice, link, licence="openrail-m")
    await join(bob, link)


async def test_a_client_raises_its_own_errors_and_says_what_to_do(
    client: HubClient, endpoint: str, shared: Shared, refused: None, tmp_path: Path
) -> None:
    without_secret = endpoint.rpartition("/")[0]
    found = await client.ask(ERRORS, without_secret, endpoint=endpoint, home=tmp_path / "hf")
    entry = "EntryNotFoundError" if client.is_old else "RemoteEntryNotFoundError"
    expected = [
        ("RepositoryNotFoundError", ""),
        (entry, "has no file 'nothing.json'"),
        ("RevisionNotFoundError", "has no revision 'v9'"),
        ("RepositoryNotFoundError", ""),
        ("RevisionNotFoundError", ""),
        ("GatedRepoError", "--accept-licence"),
        ("HfHubHTTPError", "p2pckpt gateway env"),
    ]
    for (kinds, text), (kind, said) in zip(found, expected, strict=True):
        assert kind in kinds and said in text, (kinds, text)


ONE = """
import sys
from huggingface_hub import hf_hub_download
print(hf_hub_download(sys.argv[1], sys.argv[2]))
"""


async def test_a_client_waits_while_nobody_seeds_and_goes_on_once_somebody_does(
    client: HubClient, alice: Home, bob: Home, quick: Quick, tmp_path: Path
) -> None:
    data = seeded_bytes(2 * MIB, f"killed {client.version}")
    name = f"starved/of-{client.version}"
    job = await alice.share(write_files(tmp_path / "source", {"model.bin": data}), name=name)
    await join(bob, job.link)
    await bob.client.contents(name)
    await alice.client.pause(job.id)
    process = client.popen(ONE, name, "model.bin", endpoint=quick.endpoint, home=tmp_path / "hf")
    assert process.stderr is not None
    told = ""
    while "Retry" not in told:
        told = await asyncio.wait_for(asyncio.to_thread(process.stderr.readline), 60)
        assert told, "it gave up"
    await alice.client.resume(job.id)
    out, err = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, err
    assert Path(out.splitlines()[-1]).read_bytes() == data


REFUSED = """
import json
from huggingface_hub import hf_hub_download
try:
    hf_hub_download("big/model", "model.pt")
except Exception as exc:
    print(json.dumps([[kind.__name__ for kind in type(exc).__mro__], str(exc)]))
"""


async def test_a_file_that_is_not_handed_out_fails_with_the_reason(
    client: HubClient, small_world: str, tmp_path: Path
) -> None:
    kinds, text = await client.ask(REFUSED, endpoint=small_world, home=tmp_path / "hf")
    assert "HfHubHTTPError" in kinds and "GatedRepoError" not in kinds
    assert "403" in text and "dangerous: model.pt: posix.system" in text


LARGE = """
import json
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
constants.MAX_HTTP_DOWNLOAD_SIZE = 1000
try:
    got = len(open(hf_hub_download("big/model", "model.bin"), "rb").read())
except ValueError as exc:
    got = str(exc)
print(json.dumps([get_hf_file_metadata(hf_hub_url("big/model", "model.bin")).size, got]))
"""


@pytest_asyncio.fixture(loop_scope="package")
async def small_world(tmp_path: Path) -> AsyncIterator[str]:
    """A gateway for which 1,000 bytes are as 50 GB are, with a file that the daemon refuses to read."""
    source = HubSource()
    source.add("big/model", write_files(tmp_path / "big", {"model.bin": seeded_bytes(50_000), "model.pt": b"pickle"}))
    source.failures["model.pt"] = UnsafeContent("dangerous: model.pt: posix.system")
    gateway = HubGateway(source, "a-secret-of-tests", untold=1000)
    try:
        yield f"http://127.0.0.1:{await gateway.start()}/a-secret-of-tests"
    finally:
        await gateway.stop()


async def test_a_file_above_the_client_s_limit_comes_by_plain_http_where_the_client_lets_it(
    client: HubClient, small_world: str, tmp_path: Path
) -> None:
    size, got = await client.ask(LARGE, endpoint=small_world, home=tmp_path / "hf")
    if client.is_old:
        assert size == 50_000 and "too large" in got and "hf_transfer" in got
    else:
        assert (size, got) == (None, 50_000)


@pytest.mark.parametrize("client", CLIENTS[::2], ids=lambda client: client.version, indirect=True)
async def test_after_a_kill_a_download_goes_on_where_the_swarm_was(
    client: HubClient, alice: Home, bob: Home, endpoint: str, tmp_path: Path
) -> None:
    size = 16 * MIB
    data = seeded_bytes(size, f"large {client.version}")
    name = f"killed/of-{client.version}"
    job = await alice.share(write_files(tmp_path / "source", {"model.bin": data}), name=name)
    await join(bob, job.link)
    await bob.limit(6 * MIB)
    process = client.hf("download", name, endpoint=endpoint, home=tmp_path / "hf")
    await alice.wait_until(job.id, lambda job: job.uploaded > size // 3)
    process.kill()
    process.communicate()
    await bob.limit(0)
    out = await client.hf_run("download", name, endpoint=endpoint, home=tmp_path / "hf")
    snapshot = Path(out.split()[-1])
    assert (snapshot / "model.bin").read_bytes() == data
    told: list[int] = []

    def is_all(job: m.Job) -> bool:
        told.append(job.uploaded)
        return len(told) > 2 and told[-3] == told[-1] >= size

    sent = (await alice.wait_until(job.id, is_all)).uploaded
    assert sent < size + 2 * MIB, "what bob's daemon had was sent again"
