"""Who gets in: links that are spent, expired, protected or revoked; roles; strangers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.links import Link

from ...support.homes import Home, failure, seeded_bytes, tree, until, write_files
from .halves import half_seeded

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


async def publish(alice: Home, tmp_path: Path, name: str, **fields: object) -> tuple[Path, str]:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, name)})
    return source, (await alice.share(source, name=name, **fields)).link


def without_secret(link: str) -> str:
    return link.partition("#")[0]


async def test_a_link_for_one_use_lets_one_person_in(alice: Home, bob: Home, carol: Home, tmp_path: Path) -> None:
    source, link = await publish(alice, tmp_path, "one-use", max_uses=1)
    await bob.get(link, tmp_path / "bob")
    assert tree(tmp_path / "bob") == tree(source)
    refused = await carol.cli("get", link, "--to", tmp_path / "carol")
    assert refused.returncode == 4, refused.stderr
    assert not (tmp_path / "carol").exists()
    (row,) = await alice.client.links("one-use")
    assert (row.max_uses, row.uses) == (1, 1)
    await bob.get(link, tmp_path / "bob again")


async def test_a_link_that_has_expired_lets_nobody_in(alice: Home, bob: Home, tmp_path: Path) -> None:
    await publish(alice, tmp_path, "expiring")
    expires_at = int(time.time()) + 4  # more than it takes to make it
    link = (await alice.client.create_link(am.CreateLinkRequest(share="expiring", expires_at=expires_at))).link

    async def expired() -> bool:
        return time.time() > expires_at + 0.1

    await until(expired, "the link has expired")
    error = await failure(bob.get(link, tmp_path / "bob"))
    assert (error.code, error.exit_code) == ("not_allowed", 4)


async def test_a_link_with_a_password_asks_for_it(alice: Home, bob: Home, tmp_path: Path) -> None:
    source, link = await publish(alice, tmp_path, "protected", password="correct horse")
    without = await bob.cli("get", link, "--to", tmp_path / "bob")
    assert without.returncode == 4
    assert "password" in without.stderr
    wrong = await bob.cli("get", link, "--to", tmp_path / "bob", "--password-stdin", stdin="wrong\n")
    assert wrong.returncode == 4, wrong.stderr
    right = await bob.cli("get", link, "--to", tmp_path / "bob", "--password-stdin", stdin="correct horse\n")
    assert right.returncode == 0, right.stderr
    assert tree(tmp_path / "bob") == tree(source)
    for path in bob.path.rglob("*"):
        assert not path.is_file() or b"correct horse" not in path.read_bytes(), path


async def test_a_revoked_link_lets_nobody_in_any_more_but_who_joined_stays(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source, first = await publish(alice, tmp_path, "revoked")
    made = await alice.cli("link", "new", "revoked")
    second = made.stdout.strip()
    assert second.startswith("p2pckpt:")
    assert second != first
    await bob.get(first, tmp_path / "bob")
    secret = Link.parse(first).secret
    assert secret is not None
    revoked = await alice.cli("link", "revoke", "revoked", secret.link_id)
    assert revoked.returncode == 0, revoked.stderr
    assert {row.link_id: row.revoked for row in await alice.client.links("revoked")}[secret.link_id]
    assert (await failure(carol.get(first, tmp_path / "carol"))).exit_code == 4
    await bob.get("revoked", tmp_path / "bob again")
    await carol.get(second, tmp_path / "carol")
    assert tree(tmp_path / "carol") == tree(source)


@pytest.mark.parametrize("visibility", [Visibility.LINK, Visibility.MEMBERS])
async def test_a_stranger_gets_nothing_without_the_secret(
    alice: Home, carol: Home, tmp_path: Path, visibility: Visibility
) -> None:
    _, link = await publish(alice, tmp_path, f"strangers/{visibility}", to=visibility)
    before = {path for path in (carol.store / "objects").rglob("*") if path.is_file()}
    refused = await carol.cli("get", without_secret(link), "--to", tmp_path / "carol")
    assert refused.returncode in (4, 5), refused.stderr
    assert not (tmp_path / "carol").exists()
    assert {path for path in (carol.store / "objects").rglob("*") if path.is_file()} == before
    assert not [share for share in await carol.client.shares() if share.name.startswith("strangers/")]


async def test_a_viewer_sees_the_card_and_the_files_but_can_not_download(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(MIB, 3), "README.md": b"# Look at me\n"})
    await alice.share(source, name="viewed")
    made = await alice.client.create_link(am.CreateLinkRequest(share="viewed", role=Role.VIEWER))
    refused = await carol.cli("get", made.link, "--to", tmp_path / "carol")
    assert refused.returncode == 4, refused.stderr
    assert not (tmp_path / "carol").exists()
    for job in await carol.client.jobs():
        if job.share == "viewed":
            assert (await failure(carol.wait_job(job.id))).exit_code == 4
    detail = await carol.client.version_detail("viewed")
    assert "Look at me" in detail.card
    assert {file.path for file in detail.files} == {"README.md", "model.bin"}


async def test_a_publisher_adds_versions_that_others_accept(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    source, link = await publish(alice, tmp_path, "lab/together")
    await bob.get(link, tmp_path / "bob")
    await carol.get(link, tmp_path / "carol")
    key = (await bob.client.key()).public_text
    await alice.client.set_member(am.SetMemberRequest("lab/together", key, Role.PUBLISHER))
    write_files(source, {"more.bin": seeded_bytes(MIB, 5)})
    published = await bob.share(source, name="lab/together", version_name="from bob")
    assert (published.version, published.publisher) == (2, (await bob.client.key()).identity)
    got = await carol.get("lab/together", tmp_path / "carol 2")
    assert (got.version, got.publisher) == (2, published.publisher)
    assert tree(tmp_path / "carol 2") == tree(source)
    await alice.client.set_member(am.SetMemberRequest("lab/together", published.publisher, Role.DOWNLOADER))
    await carol.get("lab/together@2", tmp_path / "carol 3")
    write_files(source, {"more.bin": b"not any more"})
    await bob.share(source, name="lab/together")  # a share of bob's own, since he may not add to alice's any more
    assert (await alice.client.share_detail("lab/together")).share.latest == 2


async def test_a_downloader_may_not_publish_tag_invite_or_manage(alice: Home, bob: Home, tmp_path: Path) -> None:
    _, link = await publish(alice, tmp_path, "rights")
    await bob.get(link, tmp_path / "bob")
    share_id = (await bob.client.share_detail("rights")).share.share_id
    me = (await bob.client.key()).identity
    refused: list[Callable[[], Awaitable[object]]] = [
        lambda: bob.client.tag(m.TagRequest(f"{share_id}@1", "stable")),
        lambda: bob.client.create_link(am.CreateLinkRequest(share=share_id)),
        lambda: bob.client.set_member(am.SetMemberRequest(share_id, me, Role.PUBLISHER)),
        lambda: bob.client.links(share_id),
    ]
    for act in refused:
        error = await failure(act())
        assert (error.code, error.exit_code) == ("not_allowed", 4), error.fact
    assert (await alice.client.share_detail("rights")).share.tags == {"latest": 1}


async def test_a_member_who_was_removed_gets_no_later_version(alice: Home, bob: Home, tmp_path: Path) -> None:
    source, link = await publish(alice, tmp_path, "left")
    await bob.get(link, tmp_path / "bob")
    removed = await alice.cli("member", "rm", "left", (await bob.client.key()).identity)
    assert removed.returncode == 0, removed.stderr
    write_files(source, {"more.bin": seeded_bytes(MIB, 6)})
    await alice.share(source, name="left")
    for source_text in ("left@2", without_secret(link)):
        error = await failure(bob.get(source_text, tmp_path / "bob 2"))
        assert error.exit_code in (4, 5), error.fact
    assert not (tmp_path / "bob 2").exists()


async def test_a_fetch_that_runs_while_its_member_is_removed_fails_and_says_why(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    half = await half_seeded(alice, bob, tmp_path, "expelled")
    job = await half.caught(carol, tmp_path / "target")
    key = (await carol.client.key()).identity
    await alice.client.set_member(am.SetMemberRequest("expelled", key, None))
    error = await failure(carol.wait_job(job.id))
    assert (error.code, error.exit_code) == ("not_allowed", 4), error.fact
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    "text",
    [
        "p2pckpt:",
        "p2pckpt:abc",
        "p2pckpt:aaaa?tr=127.0.0.1:1#x",
        "p2pckpt:{share}",
        "p2pckpt:{share}?tr=",
        "p2pckpt:{share}?tr=ftp://x",
        "p2pckpt:{share}?tr=127.0.0.1:1&pk=short",
        "p2pckpt:{share}?tr=127.0.0.1:1&v=-1",
        "p2pckpt:{share}?tr=127.0.0.1:1#cutoff",
        "p2pckpt:{share}?tr=http://192.0.2.1:80",
        "https://example.org/not/a/share",
        "http://127.0.0.1:1/s/x",
        "p2pckpt:" + "a" * 10_000,
    ],
)
async def test_text_that_is_no_link_is_wrong_usage(bob: Home, tmp_path: Path, text: str) -> None:
    error = await failure(bob.get(text.replace("{share}", "a" * 52), tmp_path / "x"))
    assert (error.code, error.exit_code) == ("usage", 2), error.fact


async def test_a_garbled_link_ends_the_command_line_with_2_and_is_not_repeated(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    _, link = await publish(alice, tmp_path, "garbled")
    cut = await bob.cli("get", link[:-5], "--to", tmp_path / "x")
    assert cut.returncode == 2
    assert link.partition("#")[2][:-5] not in cut.stderr
    assert (await bob.cli("get", "no-such-share", "--to", tmp_path / "x")).returncode == 5
