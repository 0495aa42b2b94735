"""Every way in which a link ends, from the command line: the owner sees which, others do not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from p2pckpt.trust.links import Link

from ...support.homes import Home, failure, seeded_bytes, tree, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def new_link(alice: Home, *options: object, stdin: str = "") -> str:
    made = await alice.cli("link", "new", "ends", *options, stdin=stdin)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def link_id(link: str) -> str:
    secret = Link.parse(link).secret
    assert secret is not None
    return secret.link_id


async def test_the_owner_sees_how_each_link_ended_and_a_stranger_does_not(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 16, 77)})
    opened = (await alice.share(source, name="ends")).link
    expired = await new_link(alice, "--expires", "3s")
    (expires_at,) = [row.expires_at for row in await alice.client.links("ends") if row.link_id == link_id(expired)]
    used = await new_link(alice, "--max-uses", "1")
    burnt = await new_link(alice, "--password-stdin", stdin="correct horse\n")
    revoked = await new_link(alice)
    assert (await alice.cli("link", "revoke", "ends", link_id(revoked), "-q")).stdout.strip() == link_id(revoked)
    first = await bob.cli("get", used, "--to", tmp_path / "bob")
    assert first.returncode == 0, first.stderr
    assert tree(tmp_path / "bob") == tree(source)
    wrong = await carol.cli("get", burnt, "--to", tmp_path / "carol", "--password-stdin", stdin="wrong\n")
    assert wrong.returncode == 4
    assert "wrong secret or password" in wrong.stderr
    for _ in range(4):
        assert (await failure(carol.get(burnt, tmp_path / "carol", password="wrong"))).exit_code == 4

    async def has_expired() -> bool:
        return time.time() > expires_at

    await until(has_expired, "the link has expired")
    said = set()
    for link in (expired, used, burnt, revoked):
        late = await carol.cli("get", link, "--to", tmp_path / "carol", "--password-stdin", stdin="correct horse\n")
        assert (late.returncode, late.stdout) == (4, ""), late.stderr
        said.add(late.stderr)
    assert said == {"error: it was revoked, has expired, or was used up\nnext: ask for a new link\n"}, (
        "the same words for each"
    )
    assert not (tmp_path / "carol").exists()
    listed = {row.split()[0]: row for row in (await alice.cli("link", "ls", "ends")).stdout.splitlines()[1:]}
    states = {link_id(link): state for link, state in (
        (opened, "open"), (expired, "expired"), (used, "used up"), (burnt, "burnt"), (revoked, "revoked"),
    )}  # fmt: skip
    assert listed.keys() == states.keys()
    for each, state in states.items():
        assert f" {state} " in listed[each], listed[each]
    assert "1 of 1" in listed[link_id(used)]
    log = (await alice.cli("log", "ends")).stdout
    assert f"link-burnt    {link_id(burnt)}" in log
    assert f"link-revoked  {link_id(revoked)}" in log
