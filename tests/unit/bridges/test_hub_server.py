"""The gateway's HTTP server, over a daemon made of directories."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from p2pckpt import errors as e
from p2pckpt.bridges.hub_gateway.etags import commit_of
from p2pckpt.bridges.hub_gateway.server import HubGateway
from p2pckpt.control.read_messages import FileInfo

from ...support.homes import seeded_bytes, write_files
from ...support.hub_source import HubSource

SECRET = "s3cret-Of_a-gateway"
WEIGHTS = seeded_bytes(300_000)
NEW = {"User-Agent": "unknown/None; hf_hub/2.4.0; python/3.11"}
OLD = {"User-Agent": "unknown/None; hf_hub/0.36.2; python/3.11"}


class Gateway:
    """One that runs in this process, with a client."""

    def __init__(self, source: HubSource, port: int, session: aiohttp.ClientSession) -> None:
        self.source = source
        self.host = f"127.0.0.1:{port}"
        self._session = session

    def ask(
        self, path: str, method: str = "GET", *, secret: str = SECRET, **more: object
    ) -> aiohttp.client._RequestContextManager:
        return self._session.request(method, f"http://{self.host}/{secret}{path}", **more)  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    files = {"config.json": b"{}", "weights.bin": WEIGHTS, "empty": b"", "unet/a.txt": b"a", "unet/deep/b.txt": b"bb"}
    source = HubSource()
    source.add("cars/sd15", write_files(tmp_path / "one", files), version_name="first", tags=("stable",))
    source.add("cars/sd15", write_files(tmp_path / "two", {**files, "config.json": b"{ }"}))
    huge = FileInfo("huge.bin", 60 * 1000**3, "ab" * 32, "opaque", False)
    source.add_files("big/model", write_files(tmp_path / "big", {"huge.bin": b"x" * 100}), (huge,))
    server = HubGateway(source, SECRET, patience=0.1, retry_after=0)
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Gateway(source, port, session)
    finally:
        await server.stop()


async def test_a_file_comes_with_what_clients_know_it_by(gateway: Gateway) -> None:
    contents = await gateway.source.contents("cars/sd15")
    sha256 = next(file.sha256 for file in contents.files if file.path == "weights.bin")
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin", "HEAD") as head:
        pass
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin") as got:
        assert await got.read() == WEIGHTS
    for answer in (head, got):
        assert answer.status == 200
        assert answer.headers["X-Repo-Commit"] == commit_of(contents.manifest)
        assert answer.headers["ETag"] == answer.headers["X-Linked-ETag"] == f'"{sha256}"'
        assert answer.headers["Content-Length"] == answer.headers["X-Linked-Size"] == str(len(WEIGHTS))
        assert not [name for name in answer.headers if "xet" in name.lower()]
        assert "Set-Cookie" not in answer.headers and "Access-Control-Allow-Origin" not in answer.headers
    assert gateway.source.read_ranges == [("weights.bin", 0, len(WEIGHTS))], "HEAD reads nothing"


async def test_an_empty_file_is_whole_and_reads_nothing(gateway: Gateway) -> None:
    async with gateway.ask("/cars/sd15/resolve/main/empty") as got:
        assert (got.status, await got.read()) == (200, b"")
    assert gateway.source.read_ranges == []


async def test_of_a_range_only_that_is_read(gateway: Gateway) -> None:
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin", headers={"Range": "bytes=100-199"}) as got:
        assert (got.status, await got.read()) == (206, WEIGHTS[100:200])
        assert got.headers["Content-Range"] == f"bytes 100-199/{len(WEIGHTS)}"
    assert gateway.source.read_ranges == [("weights.bin", 100, 200)]
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin", headers={"Range": "bytes=300000-"}) as got:
        assert (got.status, got.headers["Content-Range"]) == (416, f"bytes */{len(WEIGHTS)}")
    old = {"Range": "bytes=100-199", "If-Range": '"what it was before"'}
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin", headers=old) as got:
        assert (got.status, await got.read()) == (200, WEIGHTS)


async def test_what_a_client_has_already_is_not_sent_again(gateway: Gateway) -> None:
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin", "HEAD") as head:
        pass
    known = {"If-None-Match": head.headers["ETag"]}
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin", headers=known) as got:
        assert (got.status, await got.read()) == (304, b"")
    assert gateway.source.read_ranges == []


async def test_a_listing_goes_on_at_an_absolute_address(gateway: Gateway) -> None:
    seen: list[str] = []
    url = f"http://{gateway.host}/{SECRET}/api/models/cars/sd15/tree/main?recursive=True&limit=2"
    async with aiohttp.ClientSession() as session:
        while url:
            async with session.get(url) as got:
                seen += [entry["path"] for entry in await got.json()]
                url = str(got.links["next"]["url"]) if "next" in got.links else ""
                assert not url or url.startswith(f"http://{gateway.host}/{SECRET}/api/models/cars/sd15/tree/main?")
    assert seen == ["config.json", "empty", "unet", "unet/a.txt", "unet/deep", "unet/deep/b.txt", "weights.bin"]


async def test_a_directory_lists_what_is_right_in_it(gateway: Gateway) -> None:
    async with gateway.ask("/api/models/cars/sd15/tree/main/unet?expand=True") as got:
        entries = await got.json()
    assert [(entry["type"], entry["path"]) for entry in entries] == [("file", "unet/a.txt"), ("directory", "unet/deep")]
    assert all(entry["lastCommit"]["title"] == "v2" for entry in entries)
    for path in ("nothing", "unet/a.txt"):
        async with gateway.ask(f"/api/models/cars/sd15/tree/main/{path}") as got:
            assert (got.status, got.headers["X-Error-Code"]) == (404, "EntryNotFound")


@pytest.mark.parametrize("form", ["data", "json"])
async def test_paths_are_told_about_and_those_that_are_none_left_out(gateway: Gateway, form: str) -> None:
    paths = ["config.json", "unet", "nothing"]
    body = {"paths": paths, "expand": "True"} if form == "data" else {"paths": paths, "expand": True}
    more = {"data": [("paths", path) for path in paths] + [("expand", "True")]} if form == "data" else {"json": body}
    async with gateway.ask("/api/models/cars/sd15/paths-info/main", "POST", **more) as got:
        told = await got.json()
    assert [(entry["type"], entry["path"]) for entry in told] == [("file", "config.json"), ("directory", "unet")]
    assert told[0]["lfs"]["oid"] and told[0]["lastCommit"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"paths": [1]}', b'{"paths": 7}', b"{", b"[" * 100_000])
async def test_a_body_that_names_no_paths_is_refused(gateway: Gateway, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with gateway.ask("/api/models/cars/sd15/paths-info/main", "POST", data=body, headers=headers) as got:
        assert got.status == 400


async def test_a_body_is_bounded(gateway: Gateway) -> None:
    async with gateway.ask("/api/models/cars/sd15/paths-info/main", "POST", data=b"paths=" + b"a" * (3 << 20)) as got:
        assert got.status == 413


async def test_refs_are_one_branch_and_every_name_of_a_version(gateway: Gateway) -> None:
    async with gateway.ask("/api/models/cars/sd15/refs") as got:
        refs = await got.json()
    first, second = [commit_of((await gateway.source.contents(f"cars/sd15@{n}")).manifest) for n in (1, 2)]
    assert [(ref["name"], ref["targetCommit"]) for ref in refs["branches"]] == [("main", second)]
    assert {ref["name"]: ref["targetCommit"] for ref in refs["tags"]} == {
        "v1": first,
        "v2": second,
        "first": first,
        "stable": first,
    }


async def test_information_names_the_commit_and_the_files(gateway: Gateway) -> None:
    async with gateway.ask("/api/models/cars/sd15/revision/stable?blobs=true") as got:
        info = await got.json()
    assert info["id"] == "cars/sd15" and info["sha"] == got.headers["X-Repo-Commit"]
    assert [file["rfilename"] for file in info["siblings"]][:2] == ["config.json", "empty"]
    assert info["siblings"][0]["lfs"]["size"] == info["siblings"][0]["size"] == 2
    assert info["cardData"] == {"license": "apache-2.0"}


MISSING = {
    "/api/models/cars/nothing": "RepoNotFound",
    "/cars/nothing/resolve/main/config.json": "RepoNotFound",
    "/api/models/cars/sd15/revision/v9": "RevisionNotFound",
    "/cars/sd15/resolve/v9/config.json": "RevisionNotFound",
    "/cars/sd15/resolve/main/nothing": "EntryNotFound",
}


@pytest.mark.parametrize("path", MISSING)
async def test_what_is_missing_has_the_code_that_clients_look_for(gateway: Gateway, path: str) -> None:
    async with gateway.ask(path) as got:
        assert (got.status, got.headers["X-Error-Code"]) == (404, MISSING[path])
        assert got.headers["X-Error-Message"] == (await got.json())["error"]
        assert ("X-Repo-Commit" in got.headers) == (MISSING[path] == "EntryNotFound")


FAILURES = [
    (e.LicenceNotAccepted("the owner asks for a licence", next_step="p2pckpt get"), 403, 403, "GatedRepo"),
    (e.NotAllowed("no role", next_step="p2pckpt get --request"), 403, 403, "GatedRepo"),
    (e.UnsafeContent("a pickle that runs commands"), 403, 403, None),
    (e.VerificationFailed("not what was signed"), 403, 403, None),
    (e.KeyToReview("a new key"), 403, 403, None),
    (e.NoSeeds("nobody has it"), 429, 503, None),
    (e.TrackerUnreachable("no answer"), 429, 503, None),
    (e.DaemonUnavailable("it does not run"), 429, 503, None),
    (e.NoSpace("the disk is full"), 507, 507, None),
    (e.P2pckptError("something else"), 500, 500, None),
]


@pytest.mark.parametrize(("error", "new", "old", "code"), FAILURES, ids=lambda value: type(value).__name__)
async def test_an_error_before_the_first_byte_is_said_as_the_client_expects_it(
    gateway: Gateway, error: e.P2pckptError, new: int, old: int, code: str | None
) -> None:
    gateway.source.failures["weights.bin"] = error
    for agent, status in ((NEW, new), (OLD, old)):
        async with gateway.ask("/cars/sd15/resolve/main/weights.bin", headers=agent) as got:
            assert (got.status, got.headers.get("X-Error-Code")) == (status, code)
            assert ("Retry-After" in got.headers) == (status in (429, 503))
            assert error.fact in got.headers["X-Error-Message"] and error.next_step in got.headers["X-Error-Message"]


async def test_an_error_s_text_is_one_line_of_a_header_whatever_is_in_it(gateway: Gateway) -> None:
    gateway.source.failures["weights.bin"] = e.BadUsage("no\r\nSet-Cookie: a=b\0 ü", next_step="\x1b[31m")
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin") as got:
        assert (got.status, "Set-Cookie" in got.headers) == (400, False)
        assert got.headers["X-Error-Message"] == "no??Set-Cookie: a=b? ?; next: ?[31m"


async def test_an_error_after_the_first_byte_breaks_the_connection_off(gateway: Gateway) -> None:
    gateway.source.breaks["weights.bin"] = 100_000
    async with gateway.ask("/cars/sd15/resolve/main/weights.bin") as got:
        assert got.status == 200
        with pytest.raises(aiohttp.ClientError):
            await got.read()


async def test_of_a_huge_file_newer_clients_are_not_told_the_length_beforehand(gateway: Gateway) -> None:
    for agent, told in ((NEW, False), (OLD, True)):
        async with gateway.ask("/big/model/resolve/main/huge.bin", "HEAD", headers=agent) as head:
            assert head.status == 200
            assert ("Content-Length" in head.headers, "X-Linked-Size" in head.headers) == (told, told)
    part = {**NEW, "Range": "bytes=10-19"}
    async with gateway.ask("/big/model/resolve/main/huge.bin", headers=part) as got:
        assert (got.status, await got.read()) == (206, b"x" * 10)
        assert got.headers["Content-Range"] == "bytes 10-19/60000000000"


async def test_other_names_of_this_address_are_refused(gateway: Gateway) -> None:
    port = gateway.host.partition(":")[2]
    for host, status in (
        (f"localhost:{port}", 200),
        ("evil.example", 400),
        (f"evil.example:{port}", 400),
        (f"127.0.0.1.evil.example:{port}", 400),
        ("127.0.0.1", 400),
        ("localhost:1", 400),
        ("", 400),
    ):
        async with gateway.ask("/api/whoami-v2", headers={"Host": host}) as got:
            assert got.status == status, host


async def test_a_machine_s_other_users_get_nothing_without_the_secret(gateway: Gateway) -> None:
    for secret in ("", "api", "wrong", SECRET[:-1]):
        for path in ("/api/whoami-v2", "/api/models/cars/sd15", "/cars/sd15/resolve/main/weights.bin"):
            async with gateway.ask(path, secret=secret) as got:
                body = await got.text()
                assert got.status == 403 and SECRET not in body and "cars" not in body
    assert gateway.source.asked == [] and gateway.source.read_ranges == []


async def test_other_methods_are_refused(gateway: Gateway) -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH", "OPTIONS"):
        async with gateway.ask("/cars/sd15/resolve/main/weights.bin", method) as got:
            assert got.status == 400


async def test_files_are_no_pages_of_this_address(gateway: Gateway) -> None:
    async with gateway.ask("/cars/sd15/resolve/main/config.json") as got:
        assert got.headers["Content-Type"] == "application/octet-stream"
        assert got.headers["Content-Disposition"] == "attachment"
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in got.headers["Content-Security-Policy"]


async def test_neither_tokens_nor_the_secret_reach_the_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = {"Authorization": "Bearer hf_atokenofsomebody"}
    gateway.source.failures["weights.bin"] = e.P2pckptError("broken")
    for path in ("/cars/sd15/resolve/main/weights.bin", "/cars/sd15/resolve/main/nothing", "/api/whoami-v2", "/x"):
        async with gateway.ask(path, headers=token) as got:
            assert "hf_atoken" not in await got.text()
    gateway.source.breaks["config.json"] = 1
    gateway.source.failures.clear()
    async with gateway.ask("/cars/sd15/resolve/main/config.json", headers=token) as got:
        with pytest.raises(aiohttp.ClientError):
            await got.read()
    assert "broke off" in caplog.text
    assert "hf_atoken" not in caplog.text and SECRET not in caplog.text


async def test_whoever_asks_is_whoever_runs_the_daemon(gateway: Gateway) -> None:
    async with gateway.ask("/api/whoami-v2") as got:
        assert json.loads(await got.text())["name"] == "alice"


async def test_a_range_is_of_get_alone(gateway: Gateway) -> None:
    for wanted in ("bytes=5-9", "bytes=999999999-"):
        async with gateway.ask("/cars/sd15/resolve/main/weights.bin", "HEAD", headers={"Range": wanted}) as head:
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(WEIGHTS)))
            assert "Content-Range" not in head.headers


@pytest.mark.parametrize("secret", ["", "short"])
def test_without_a_secret_to_speak_of_there_is_no_gateway(secret: str) -> None:
    with pytest.raises(e.BadUsage, match="too short"):
        HubGateway(HubSource(), secret)
