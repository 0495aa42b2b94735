"""The identity on the disk and on its way: passphrases, backups on another machine, and that no secret gets out."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control.client import connect
from p2pckpt.tracker_protocol import Role, Visibility

from ...support.homes import DEADLINE, Home, failure, seeded_bytes, tree, until, write_files
from ...support.tracker_process import start_tracker

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
PASSPHRASE = "sesame-5e1f-opens"


def written(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


async def stopped(home: Home) -> None:
    """Stop a daemon that the command line started."""
    with contextlib.suppress(OSError, json.JSONDecodeError):
        await home.cli("daemon", "stop")


async def test_a_daemon_takes_the_passphrase_from_a_file_or_a_credential(tmp_path: Path) -> None:
    async with Home(tmp_path / "erin") as erin:
        identity = (await erin.client.key()).identity
        await erin.stop()
        assert (await erin.cli("key", "passphrase", "set", "--passphrase-stdin", stdin=PASSPHRASE)).returncode == 0
        erin.set(passphrase_file=written(tmp_path / "passphrase", PASSPHRASE))
        await erin.start()
        assert (await erin.client.key()).identity == identity
        assert "with a passphrase" in (await erin.client.key()).path
        await erin.stop()
        del erin.env["P2PCKPT_PASSPHRASE_FILE"]
        (tmp_path / "credentials").mkdir()
        written(tmp_path / "credentials" / "p2pckpt-passphrase", PASSPHRASE)
        erin.env["CREDENTIALS_DIRECTORY"] = str(tmp_path / "credentials")
        await erin.start()
        assert (await erin.client.key()).identity == identity


async def test_without_the_passphrase_no_daemon_starts_and_everybody_says_why(tmp_path: Path) -> None:
    async with Home(tmp_path / "erin") as erin:
        await erin.stop()
        assert (await erin.cli("key", "passphrase", "set", "--passphrase-stdin", stdin=PASSPHRASE)).returncode == 0
        for settings, code, words in (
            ({}, 2, "this needs a passphrase, and nobody can be asked"),
            ({"passphrase_file": written(tmp_path / "wrong", "wrong")}, 6, "does not open the identity"),
            ({"passphrase_file": tmp_path / "missing"}, 5, "there is no passphrase in"),
        ):
            erin.set(**settings)
            asked = await erin.cli("ls")
            assert asked.returncode == code, asked.stderr
            assert words in asked.stderr
            assert "next: " in asked.stderr
            assert "Traceback" not in asked.stderr
        del erin.env["P2PCKPT_PASSPHRASE_FILE"]
        # what the terminal interface and the Python functions show
        error = await failure(connect(erin.config))
        assert (error.code, "needs its passphrase; next: p2pckpt daemon start" in error.fact) == ("daemon", True)
        alone = subprocess.run(
            [sys.executable, "-m", "p2pckpt.daemon.main"],
            env=erin.env,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert alone.returncode == 4
        assert "needs its passphrase; next: " in alone.stderr.splitlines()[-1]
        assert "Traceback" not in alone.stderr


async def test_a_command_asks_on_the_terminal_and_hands_over_by_pipe(tmp_path: Path) -> None:
    erin = Home(tmp_path / "erin")
    async with erin:
        await erin.stop()
        assert (await erin.cli("key", "passphrase", "set", "--passphrase-stdin", stdin=PASSPHRASE)).returncode == 0
        try:
            shown = type_in(erin, ["daemon", "status", "--json"], "")
            assert shown[0] == 8, "nothing is asked where nothing is started"
            assert type_in(erin, ["daemon", "start"], "wrong")[0] == 6
            code, out = type_in(erin, ["daemon", "start", "--json"], PASSPHRASE)
            assert code == 0, out
            pid = json.loads(out)["pid"]
            assert PASSPHRASE.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert PASSPHRASE.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        finally:
            await stopped(erin)


def type_in(home: Home, arguments: list[str], answer: str) -> tuple[int, str]:
    """Run a command on a terminal and type ``answer`` once it asks; exit code and stdout."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "p2pckpt", "--home", str(home.path), *arguments]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=home.env, start_new_session=True
    )
    os.close(theirs)
    assert process.stdout is not None
    assert process.stderr is not None
    said, deadline = b"", time.monotonic() + DEADLINE
    try:
        # what is typed before the question is thrown away by the terminal
        while answer and b"Passphrase of your identity" not in said:
            assert select.select([process.stderr], [], [], max(0, deadline - time.monotonic()))[0], said
            read = os.read(process.stderr.fileno(), 4096)
            assert read, said
            said += read
        if answer:
            os.write(ours, answer.encode() + b"\n")
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert answer == "" or answer.encode() not in said + err + out
    return process.returncode, out.decode()


@pytest.mark.parametrize("visibility", [Visibility.LINK, Visibility.MEMBERS])
async def test_an_owner_who_restores_on_an_empty_machine_owns_again(
    carol: Home, tmp_path: Path, visibility: Visibility
) -> None:
    name = f"mine-{visibility}"
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(2 * MIB, 71)})
    backup = tmp_path / "backup.txt"
    carols_key = (await carol.client.key()).public_text
    with start_tracker(tmp_path / "tracker", plain_http=True) as tracker:
        async with Home(tmp_path / "old", tracker=tracker.url) as old:
            published = await old.share(source, name=name, to=visibility)
            await old.client.set_member(am.SetMemberRequest(name, carols_key, Role.DOWNLOADER))
            await carol.get(published.link, tmp_path / "carol")
            made = await old.cli("key", "backup", backup, "--passphrase-stdin", stdin=PASSPHRASE)
            assert made.returncode == 0, made.stderr
            identity = (await old.client.key()).identity
        new = Home(tmp_path / "new", tracker=tracker.url)
        new.path.mkdir(mode=0o700)
        restored = await new.cli("key", "restore", backup, "--passphrase-stdin", stdin=PASSPHRASE)
        assert restored.returncode == 0, restored.stderr
        async with new:
            assert (await new.client.key()).identity == identity
            await new.get(published.link, tmp_path / "again")
            assert tree(tmp_path / "again", leave_out=["model.sig"]) == tree(source)
            (share,) = await new.client.shares()
            assert (share.name, share.role) == (name, Role.OWNER)
            write_files(tmp_path / "again", {"new.bin": seeded_bytes(MIB, 72)})
            second = await new.share(tmp_path / "again", name=name, to=visibility)
            assert second.version == 2
            dave = Home(tmp_path / "dave")
            async with dave:
                key = (await dave.client.key()).public_text
                members = (await new.client.set_member(am.SetMemberRequest(name, key, Role.PUBLISHER))).members
                assert {row.role for row in members} == {Role.OWNER, Role.DOWNLOADER, Role.PUBLISHER}
                link = published.link.partition("#")[0]
                await dave.get(link, tmp_path / "daves")
                assert tree(tmp_path / "daves", leave_out=["model.sig"]) == tree(
                    tmp_path / "again", leave_out=["model.sig"]
                )
            await carol.get(f"{name}@v2", tmp_path / "carol2")
            another = await new.client.create_link(am.CreateLinkRequest(share=name))
            assert another.link.startswith("p2pckpt:")


# -- nothing gets out


def spellings(secret: bytes) -> Iterable[bytes]:
    """How the bytes of a secret could lie in a file."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for shift in range(3):  # base64 of a text in which it begins anywhere
        inner = base64.b64encode(bytes(shift) + secret)[4:-4]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


async def test_no_secret_leaves_the_key_file_in_a_whole_session(bob: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 73)})
    backup = tmp_path / "backup.txt"
    password = "password-of-the-link-77aa"
    looked: list[bytes] = []

    async def look(home: Home) -> None:
        assert home.process is not None
        for pid in (home.process.pid, home.tracker_pid):
            looked.extend(Path(f"/proc/{pid}/{what}").read_bytes() for what in ("cmdline", "environ"))
            core = [row for row in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file size" in row]
            assert core[0].split()[4:6] == ["0", "0"], "a crash would write the keys to the disk"

    async with Home(tmp_path / "erin") as erin:
        share = await erin.share(source, name="guarded", password=password)
        await bob.get(share.link, tmp_path / "bob", password=password)
        await erin.get("guarded", tmp_path / "again")
        await look(erin)
        said = [await erin.cli("key", "backup", backup, "--passphrase-stdin", stdin=PASSPHRASE)]
        keys = json.loads((erin.config.keys_dir / "identity.json").read_bytes())
        said.append(await erin.cli("key", "passphrase", "set", "--passphrase-stdin", stdin=PASSPHRASE))
        erin.set(passphrase_file=written(tmp_path / "passphrase", PASSPHRASE))
        await erin.restart()
        await until(erin.has_tracker, "the tracker runs")
        await look(erin)
        other = tmp_path / "other"
        said.append(await erin.cli("--home", other, "key", "restore", backup, "--passphrase-stdin", stdin=PASSPHRASE))
        said.append(await erin.cli("--home", other, "key", "restore", backup, "--passphrase-stdin", stdin="wrong"))
        said.append(await erin.cli("key", "show"))
        assert [done.returncode for done in said] == [0, 0, 0, 6, 0], said
    looked.extend(f"{done.stdout}{done.stderr}".encode() for done in said)
    secrets = [bytes.fromhex(keys[name]) for name in ("signing_key", "receive_key", "model_key")]
    needles = {spelling for secret in secrets for spelling in spellings(secret)}
    needles |= {*spellings(PASSPHRASE.encode()), password.encode()}
    files = [path for home in (erin.path, other) for path in home.rglob("*") if path.is_file()]
    assert {"daemon.log", "tracker.log", "catalogue.db", "jobs.db"} <= {path.name for path in files}
    restored = other / "data" / "keys" / "identity.json"
    assert any(needle in restored.read_bytes() for needle in needles), "the search finds what is there"
    for path in files:
        content = path.read_bytes()
        if path != restored:
            assert not [needle for needle in needles if needle in content], path
        assert not re.search(rb"p2p[tp]_[0-9a-f]{16}", content), f"a token or pass is in {path}"
    for content in looked:
        assert not [needle for needle in needles if needle in content]
        assert not re.search(rb"p2p[tp]_[0-9a-f]{16}", content)
