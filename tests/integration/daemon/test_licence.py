"""A licence that the owner asks everybody to accept before anything is fetched."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role

from ...support.homes import DEADLINE, Home, failure, seeded_bytes, tree, write_files
from ...support.owner import change_keyring

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def licensed(alice: Home, tmp_path: Path, name: str, licence: str) -> tuple[Path, str]:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 16, name)})
    link = (await alice.share(source, name=name)).link
    await change_keyring(alice, link, licence=licence)
    return source, link


async def test_nothing_is_fetched_before_the_licence_is_accepted(alice: Home, bob: Home, tmp_path: Path) -> None:
    source, link = await licensed(alice, tmp_path, "licensed", "openrail-m")
    refused = await bob.cli("get", link, "--to", tmp_path / "bob")
    assert refused.returncode == 4, refused.stderr
    assert "openrail-m" in refused.stderr
    assert "next: p2pckpt get licensed@v1 --accept-licence" in refused.stderr
    assert not (tmp_path / "bob").exists()
    error = await failure(bob.get("licensed", tmp_path / "bob"))
    assert (error.code, error.exit_code) == ("licence", 4)
    preview = await bob.client.fetch_plan(m.FetchRequest(source="licensed"))
    assert (preview.licence_due, preview.seeds) == ("openrail-m", 0)
    other = await failure(bob.get("licensed", tmp_path / "bob", accept_licence="mit"))
    assert "openrail-m" in other.fact
    accepted = await bob.cli("get", "licensed", "--to", tmp_path / "bob", "--accept-licence")
    assert accepted.returncode == 0, accepted.stderr
    assert tree(tmp_path / "bob") == tree(source)
    again = await bob.cli("get", "licensed", "--to", tmp_path / "bob 2")
    assert again.returncode == 0, "accepted once is accepted"
    listed = {row.name: row for row in await alice.client.members("licensed")}
    assert listed["bob"].accepted_at > 0
    assert listed["alice"].accepted_at == 0
    assert "accepted" in (await alice.cli("member", "ls", "licensed")).stdout
    rows = json.loads((await alice.cli("log", "licensed", "--json")).stdout)["rows"]
    assert [(row["actor_name"], row["action"], row["subject"]) for row in rows if "licence" in row["action"]] == [
        ("alice", "licence", "openrail-m"),
        ("bob", "licence-accepted", "openrail-m"),
    ]
    await change_keyring(alice, link, licence="openrail-m 2")
    changed = await bob.cli("get", "licensed", "--to", tmp_path / "bob 3")
    assert changed.returncode == 4
    assert "openrail-m 2" in changed.stderr
    assert {row.name: row.accepted_at for row in await alice.client.members("licensed")}["bob"] == 0
    await change_keyring(alice, link, licence="")
    await bob.get("licensed", tmp_path / "bob 4")


async def test_publishers_and_owners_need_not_accept(alice: Home, carol: Home, tmp_path: Path) -> None:
    source, link = await licensed(alice, tmp_path, "licensed/own", "cc-by-nc-4.0")
    key = (await carol.client.key()).public_text
    await alice.client.set_member(am.SetMemberRequest("licensed/own", key, Role.PUBLISHER))
    await carol.get(link, tmp_path / "carol")
    assert tree(tmp_path / "carol") == tree(source)
    write_files(source, {"more.bin": b"more"})
    assert (await alice.share(source, name="licensed/own")).version == 2


@pytest.mark.parametrize(("answer", "code"), [("\n", 4), ("y\n", 0)])
async def test_on_a_terminal_the_user_is_asked_and_the_default_is_no(
    alice: Home, bob: Home, tmp_path: Path, answer: str, code: int
) -> None:
    _, link = await licensed(alice, tmp_path, f"licensed/asked{code}", "gemma")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "p2pckpt", "--home", str(bob.path), "get", link, "--to", str(tmp_path / "bob")]
    with os.fdopen(ours, "wb", buffering=0) as typing:
        typing.write(answer.encode())
        process = subprocess.Popen(command, stdin=theirs, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=bob.env)
        os.close(theirs)
        from asyncio import to_thread

        _, said = await to_thread(process.communicate, None, DEADLINE)
    assert process.returncode == code, said
    assert b"accept this licence: gemma" in said
    assert b"[y/N]" in said
    assert (tmp_path / "bob").exists() == (code == 0)
