"""``model.sig`` in checkouts: what the public verifier and p2pckpt say of it, and that it gets in nobody's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.trust import oms

from ...support.homes import Home, failure, flip_bit, seeded_bytes, tree, write_files
from ...support.model_signing import sign_elsewhere, verifier

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


def model(directory: Path, seed: int) -> Path:
    files = {
        "model.bin": seeded_bytes(MIB, seed),
        "README.md": b"---\nlicense: mit\n---\n",
        ".gitattributes": b"*.bin filter=lfs\n",
        "sub/empty": b"",
    }
    return write_files(directory, files)


async def signing_key(home: Home, name: str, to: Path) -> Path:
    shown = await home.cli("show", name, "--signing-key")
    assert shown.returncode == 0, shown.stderr
    to.write_text(shown.stdout)
    return to


async def test_the_public_verifier_accepts_what_was_received_and_refuses_what_was_changed(
    alice: Home, bob: Home, carol: Home, tmp_path: Path
) -> None:
    link = (await alice.share(model(tmp_path / "source", 81), name="oms")).link
    assert not (tmp_path / "source" / oms.FILE).exists()
    await bob.get(link, tmp_path / "bob")
    await carol.get(link, tmp_path / "carol")
    signature = (tmp_path / "bob" / oms.FILE).read_bytes()
    assert (tmp_path / "carol" / oms.FILE).read_bytes() == signature
    key = await signing_key(bob, "oms", tmp_path / "key.pem")
    assert key.read_text() == (await alice.cli("key", "show", "--pem")).stdout
    accepted = verifier(tmp_path / "bob", key)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    # it is no file of the version: nothing is damaged, fetched again or moved aside because of it
    await bob.verify(str(tmp_path / "bob"), full=True)
    before = (tmp_path / "bob" / oms.FILE).stat().st_mtime_ns
    again = await bob.get("oms", tmp_path / "bob")
    assert (again.wire_size, again.warnings) == (0, ())
    assert (tmp_path / "bob" / oms.FILE).stat().st_mtime_ns == before
    flip_bit(tmp_path / "carol" / "model.bin", 5)
    assert verifier(tmp_path / "carol", key).returncode != 0


async def test_a_damaged_signature_is_found_and_repaired(alice: Home, bob: Home, tmp_path: Path) -> None:
    link = (await alice.share(model(tmp_path / "source", 82), name="oms-damaged")).link
    await bob.get(link, tmp_path / "bob")
    path = tmp_path / "bob" / oms.FILE
    right = path.read_bytes()
    for damage in (right[:-10] + b"x" + right[-9:], b"{}", b""):
        path.write_bytes(damage)
        error = await failure(bob.verify("oms-damaged"))
        assert (error.code, error.exit_code) == ("verification_failed", 6)
        assert "model.sig (is not what the publisher signed)" in error.fact
        await bob.verify("oms-damaged", repair=True)
        assert path.read_bytes() == right
    path.unlink()
    await bob.verify("oms-damaged")


async def test_a_checkout_that_is_shared_again_leaves_our_signature_out_and_renews_it(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    link = (await alice.share(model(tmp_path / "source", 83), name="oms-again")).link
    await alice.get("oms-again", tmp_path / "checkout")
    first = (tmp_path / "checkout" / oms.FILE).read_bytes()
    same = await alice.share(tmp_path / "checkout", name="oms-again")
    assert same.version == 1
    assert any("nothing changed" in warning for warning in same.warnings)
    write_files(tmp_path / "checkout", {"new.bin": seeded_bytes(MIB, 84)})
    changed = await alice.share(tmp_path / "checkout", name="oms-again")
    assert changed.version == 2
    assert (tmp_path / "checkout" / oms.FILE).read_bytes() != first
    await alice.verify("oms-again@2")
    await bob.get(link, tmp_path / "bob")
    detail = await bob.client.version_detail("oms-again@2")
    assert oms.FILE not in {row.path for row in detail.files}
    assert tree(tmp_path / "bob") == tree(tmp_path / "checkout")
    key = await signing_key(bob, "oms-again", tmp_path / "key.pem")
    for checkout in (tmp_path / "bob", tmp_path / "checkout"):
        accepted = verifier(checkout, key)
        assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    # and the next version, fetched over the first
    await bob.get("oms-again@v1", tmp_path / "older")
    moved = await bob.get("oms-again@v2", tmp_path / "older")
    assert not moved.warnings
    assert verifier(tmp_path / "older", key).returncode == 0


async def test_a_signature_of_somebody_else_travels_as_it_is(alice: Home, bob: Home, tmp_path: Path) -> None:
    source = model(tmp_path / "source", 85)
    sign_elsewhere(source, tmp_path / "theirs.pem")
    shared = await alice.share(source, name="oms-theirs")
    assert any("model.sig travels as it is" in warning for warning in shared.warnings)
    await bob.get(shared.link, tmp_path / "bob")
    assert (tmp_path / "bob" / oms.FILE).read_bytes() == (source / oms.FILE).read_bytes()
    assert verifier(tmp_path / "bob", tmp_path / "theirs.pem").returncode == 0
    await bob.verify("oms-theirs")
    none = await bob.cli("show", "oms-theirs", "--signing-key")
    assert (none.returncode, none.stdout) == (5, "")


async def test_a_part_of_a_version_gets_no_signature_until_it_is_whole(alice: Home, bob: Home, tmp_path: Path) -> None:
    link = (await alice.share(model(tmp_path / "source", 86), name="oms-part")).link
    await bob.get(link, tmp_path / "bob", only=("model.bin",))
    assert not (tmp_path / "bob" / oms.FILE).exists()
    await bob.verify("oms-part")
    await bob.get(link, tmp_path / "bob")
    key = await signing_key(bob, "oms-part", tmp_path / "key.pem")
    assert verifier(tmp_path / "bob", key).returncode == 0


async def test_a_signature_that_a_user_put_at_the_target_is_kept_aside(alice: Home, bob: Home, tmp_path: Path) -> None:
    link = (await alice.share(model(tmp_path / "source", 87), name="oms-aside")).link
    write_files(tmp_path / "bob", {oms.FILE: b"the user's own"})
    job = await bob.get(link, tmp_path / "bob")
    assert any("were kept in .p2pckpt-replaced" in warning for warning in job.warnings)
    (kept,) = (tmp_path / "bob" / ".p2pckpt-replaced").rglob(oms.FILE)
    assert kept.read_bytes() == b"the user's own"
    key = await signing_key(bob, "oms-aside", tmp_path / "key.pem")
    assert verifier(tmp_path / "bob", key).returncode == 0
