"""Certificates for the swarms of shares that are not public: who gets one, what it says, and when all of them die."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from p2pckpt.tracker_protocol import (
    CERTIFICATE_LIFETIME,
    AuthorityChanged,
    CertificateReply,
    Revoked,
    SwarmState,
)
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.certificates import CannotIssue, issue, new_authority
from p2pckpt_tracker.settings import Listen, Settings

from .conftest import Login
from .people import Events, Person, ShareFiles, b64
from .test_log import read


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> bytes:
    public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


async def certificate(person: Person, share_id: str) -> CertificateReply:
    reply = await person.good("POST", f"/shares/{share_id}/certificate", {"public_key": b64(spki())})
    return CertificateReply(**reply)


def parsed(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


async def set_role(share: ShareFiles, person: Person, role: str | None) -> None:
    path = f"/shares/{share.share_id}/members/{person.identity}"
    await share.owner.good("DELETE" if role is None else "PUT", path, role and {"role": role})


async def test_a_certificate_names_the_torrents_and_the_member_and_lasts_a_day(share: ShareFiles) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = f"/shares/{share.share_id}/certificate"
    answer = await share.owner.call("POST", path, {"public_key": b64(spki(key))})
    assert answer.status == 201
    reply = CertificateReply(**answer.json())
    leaf, authority = parsed(reply.certificate), parsed(reply.authority)
    leaf.verify_directly_issued_by(authority)
    assert leaf.public_key() == key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [share.torrent_name]
    assert [each.value for each in leaf.subject] == [share.owner.identity]
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc.timestamp() == reply.expires_at == reply.issued_at + CERTIFICATE_LIFETIME
    assert leaf.not_valid_before_utc.timestamp() == reply.issued_at - 3600
    assert abs(reply.issued_at - time.time()) < 60
    assert reply.generation == 1


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x03\x02\x01\x01", id="no key"),
        pytest.param(spki() + bytes(1), id="more than a key"),
        pytest.param(spki(ec.generate_private_key(ec.SECP384R1())), id="another curve"),
        pytest.param(spki(rsa.generate_private_key(65537, 1024)), id="RSA"),
        pytest.param(bytes(100_000), id="too long"),
    ],
)
async def test_no_certificate_for_a_key_that_is_not_on_p256(share: ShareFiles, key: bytes) -> None:
    answer = await share.owner.call("POST", f"/shares/{share.share_id}/certificate", {"public_key": b64(key)})
    assert (answer.status, answer.json()["title"]) == (400, "no certificate for this")


@pytest.mark.parametrize("name", ["*", "ма", "a*b"])
def test_no_certificate_names_more_than_one_torrent(name: str) -> None:
    with pytest.raises(CannotIssue):
        issue(new_authority("ab" * 32, 1, 0), spki(), "cd" * 32, name, 0, 1)


async def test_a_public_share_has_no_certificates(person: Login) -> None:
    owner = await person()
    files = ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])
    await files.create("public")
    for each in (owner, await person()):
        answer = await each.call("POST", f"/shares/{files.share_id}/certificate", {"public_key": b64(spki())})
        assert answer.status == 409


async def test_each_share_has_an_authority_of_its_own(share: ShareFiles, person: Login) -> None:
    other = ShareFiles(share.owner, share.online_key, name="other")
    await other.create()
    one, two = await certificate(share.owner, share.share_id), await certificate(share.owner, other.share_id)
    assert one.authority != two.authority
    with pytest.raises(Exception, match=r"(?i)signature|issuer"):
        parsed(one.certificate).verify_directly_issued_by(parsed(two.authority))
    member = await person()
    await set_role(share, member, "downloader")
    assert (await certificate(member, share.share_id)).authority == one.authority


@pytest.mark.parametrize("after", [None, "viewer"], ids=["removed", "demoted"])
async def test_losing_the_right_to_download_ends_all_certificates_and_everybody_is_told(
    share: ShareFiles, person: Login, session: aiohttp.ClientSession, after: str | None
) -> None:
    leaver, stayer = await person(), await person()
    for each in (leaver, stayer):
        await set_role(share, each, "downloader")
    before = await certificate(stayer, share.share_id)
    info_hash = await share.publish(1)
    stayers_pass, leavers_pass = [await each.get_pass(share.share_id) for each in (stayer, leaver)]
    async with Events(stayer, session) as told, Events(leaver, session) as told_leaver:
        await set_role(share, leaver, after)
        assert await told.wait_for(AuthorityChanged) == AuthorityChanged(share.share_id, 2)
        if after is None:
            assert await told_leaver.wait_for(Revoked) == Revoked(share.share_id)
    now = await certificate(stayer, share.share_id)
    assert now.generation == 2
    assert now.authority != before.authority
    with pytest.raises(Exception, match=r"(?i)signature|issuer"):
        parsed(before.certificate).verify_directly_issued_by(parsed(now.authority))
    refused = await leaver.call("POST", f"/shares/{share.share_id}/certificate", {"public_key": b64(spki())})
    assert refused.status == (404 if after is None else 403)
    # whose event stream was down learns it from the next announce; the leaver's pass is dead
    (kept,) = (await stayer.announce([SwarmState(info_hash, stayers_pass, 1)])).swarms
    (lost,) = (await leaver.announce([SwarmState(info_hash, leavers_pass, 1)])).swarms
    assert (kept.failure, kept.authority) == ("", 2)
    assert (lost.failure, lost.authority, lost.peers) == ("pass unknown, expired or revoked", 0, [])
    rotated = [row for row in await read(share.owner, share.share_id) if row.action == "ca-rotated"]
    assert [row.subject for row in rotated] == ["2"]


async def test_changes_that_take_no_right_leave_the_authority(share: ShareFiles, person: Login) -> None:
    member, viewer = await person(), await person()
    await set_role(share, member, "downloader")
    assert (await certificate(member, share.share_id)).generation == 1
    await set_role(share, viewer, "viewer")
    await set_role(share, member, "publisher")
    await set_role(share, member, "downloader")
    await set_role(share, viewer, None)
    assert (await certificate(member, share.share_id)).generation == 1


async def test_without_a_certificate_there_is_nothing_to_replace(share: ShareFiles, person: Login) -> None:
    member = await person()
    await set_role(share, member, "downloader")
    info_hash = await share.publish(1)
    await set_role(share, member, None)
    announce_pass = await share.owner.get_pass(share.share_id)
    (reply,) = (await share.owner.announce([SwarmState(info_hash, announce_pass, 0)])).swarms
    assert reply.authority == 0


async def test_the_authority_outlives_a_restart_of_the_tracker_and_its_old_keys_do_not(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    listen = Listen("127.0.0.1", 0)
    settings = Settings(tmp_path / "t", listen, None, None, plain_http=True, only_listed=False, certificate_lifetime=7)
    tracker = Tracker(settings)
    await tracker.start()
    try:
        owner = await Person(session, f"http://127.0.0.1:{tracker.api_port}").login()
        member = await Person(session, owner.url).login()
        share = ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])
        await share.create()
        info_hash = await share.publish(1)
        await set_role(share, member, "downloader")
        first = await certificate(owner, share.share_id)
        assert first.expires_at == first.issued_at + 7
        await set_role(share, member, None)
        second = await certificate(owner, share.share_id)
    finally:
        await tracker.stop()
    tracker = Tracker(settings)
    await tracker.start()
    try:
        owner.url = f"http://127.0.0.1:{tracker.api_port}"
        announce_pass = await owner.get_pass(share.share_id)
        (reply,) = (await owner.announce([SwarmState(info_hash, announce_pass, 0)])).swarms
        assert reply.authority == 2
        assert (await certificate(owner, share.share_id)).authority == second.authority
    finally:
        await tracker.stop()
    assert (tmp_path / "t" / "tracker.db").stat().st_mode & 0o077 == 0
