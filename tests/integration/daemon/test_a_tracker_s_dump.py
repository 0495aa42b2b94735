"""What somebody gets who takes every byte of a tracker's data directory, after a real session with real daemons.

They do NOT get: anything to log in with, a way into a share by its links, content or view keys, anybody's identity,
a way to make or change a version, a root or a keyring.

They DO get, and this is shown here where it is cheap: the names, members, cards and sizes that the tracker knows;
the online key, with which they can hold back news (freeze) for as long as clients ask them instead of the tracker;
and the authorities of the swarms, with which they can make themselves certificates, join swarms, and collect
ciphertext. A tracker that was robbed needs a new online key in every share's root and new authorities.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from p2pckpt import tracker_protocol as tp
from p2pckpt.checkpoint.manifest import unpack
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError, UntrustedKey, VerificationFailed
from p2pckpt.store.layout import StoreLayout
from p2pckpt.trust import admission, sealing
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.links import Link, LinkSecret
from p2pckpt.trust.sealing import EpochKeys
from p2pckpt_tracker.certificates import Authority, issue
from p2pckpt_tracker.metadata import OnlineSigner

from ...support.homes import Home, seeded_bytes, tree, write_files
from ...support.owner import client_of, identity_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery staple"
FILE = "a-name-that-only-the-manifest-has.bin"


@dataclass(frozen=True)
class Loot:
    """The data directory of a tracker, and what its people know."""

    directory: Path
    raw: bytes
    """Every byte of every file, one after another."""
    share_id: bytes
    link: str
    secret: LinkSecret
    people: dict[str, Identity]
    token: str
    announce_pass: str
    keys: EpochKeys
    objects: tuple[Path, ...]
    """Ciphertext, as the swarm moves it."""
    content: bytes

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(self.directory / "tracker.db")
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    @property
    def metadata(self) -> Path:
        return self.directory / "blobs" / self.share_id.hex() / "metadata"

    def newest(self, role: str) -> bytes:
        found = self.metadata.glob(f"*.{role}.json")
        return max(found, key=lambda path: int(path.name.partition(".")[0])).read_bytes()

    @property
    def online_key(self) -> Ed25519PrivateKey:
        key = load_pem_private_key((self.directory / "tracker.key").read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key

    def material(self) -> set[bytes]:
        """All 32-byte values that could be keys: stored digests and hashes, and the tracker's own private keys."""
        found = {self.online_key.private_bytes_raw()}
        found |= {bytes(row[0]) for table in ("tokens", "passes") for row in self.rows(f"SELECT digest FROM {table}")}
        found |= {
            bytes.fromhex(text.decode()) for text in re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", self.raw)
        }
        for row in self.rows("SELECT auth_hash, wrapped_keys FROM links"):
            found |= {bytes.fromhex(row[0]), bytes(row[1])[-32:]}
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loot]:
    """A share with a version, a member who came by a link with a password, and transfers; taken while all runs."""
    homes = tmp_path_factory.mktemp("robbed")
    async with Home(homes / "dora") as dora, Home(homes / "emil") as emil:
        source = write_files(homes / "source", {FILE: seeded_bytes(1 << 20, 5), "README.md": b"# A card\n"})
        await dora.share(source, name="vault/one")
        made = await dora.cli("link", "new", "vault/one", "--password-stdin", stdin=PASSWORD + "\n")
        link = made.stdout.strip()
        await emil.get(link, homes / "emil's", password=PASSWORD)
        assert tree(homes / "emil's") == tree(source)
        parsed = Link.parse(link)
        assert parsed.secret is not None
        client = client_of(emil, link)
        try:
            announce_pass = (await client.announce_pass(parsed.share_id.hex())).announce_pass
            token = await client._bearer()
            await client.certificate(parsed.share_id.hex(), public_key())
        finally:
            await client.close()
        owner = identity_of(dora)
        trusted = admission.load(parsed.share_id, StoreLayout(dora.store).trusted_files(parsed.share_id), owner)
        directory = dora.config.tracker_dir
        yield Loot(
            directory=directory,
            raw=b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()),
            share_id=parsed.share_id,
            link=link,
            secret=parsed.secret,
            people={"dora": owner, "emil": identity_of(emil)},
            token=token,
            announce_pass=announce_pass,
            keys=trusted.keys[1],
            objects=tuple(path for path in (dora.store / "objects").rglob("*") if path.is_file()),
            content=(source / FILE).read_bytes(),
        )


def public_key() -> bytes:
    """Of a fresh key for a swarm's certificate."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def forms(secret: bytes) -> set[bytes]:
    """How a secret could lie in a file: raw, in hex, in base32, in base64 wherever in the text it begins."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    found.add(base64.b32encode(secret).rstrip(b"=").lower()[:-1])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            encoded = encode(bytes(shift) + secret)
            found.add(encoded[(8 * shift + 5) // 6 : -4])
    return found


async def test_forms_are_found_wherever_a_secret_lies() -> None:
    secret = hashlib.sha256(b"secret").digest()
    for shift in range(6):
        for encode in (base64.b64encode, base64.urlsafe_b64encode, bytes.hex):
            text = encode(bytes(shift) + secret + bytes(7))
            data = text if isinstance(text, bytes) else text.encode()
            assert any(form in data for form in forms(secret))


async def test_no_secret_of_anybody_is_in_it(loot: Loot) -> None:
    salt = bytes.fromhex(loot.rows(f"SELECT password_salt FROM links WHERE link_id = '{loot.secret.link_id}'")[0][0])
    opened = loot.secret.keys(PASSWORD, salt)
    secrets = {
        "token": loot.token.encode(),
        "bytes of the token": bytes.fromhex(loot.token[5:69]),
        "pass": loot.announce_pass.encode(),
        "bytes of the pass": bytes.fromhex(loot.announce_pass[5:69]),
        "password": PASSWORD.encode(),
        "link secret": loot.secret.secret,
        "link secret as the link writes it": loot.secret.text.encode(),
        "link auth value": opened.auth,
        "link wrapping key": opened.wrap,
        "view key": loot.keys.view,
        "content key": loot.keys.content,
        "a file's name": FILE.encode(),
        "content": loot.content[:32],
        "content further on": loot.content[500_000:500_032],
    }
    for name, person in loot.people.items():
        secrets[f"signing key of {name}"] = person.signing.private_bytes_raw()
        secrets[f"receive key of {name}"] = person.receiving.private_bytes_raw()
        secrets[f"model key of {name}"] = person.modelling.private_numbers().private_value.to_bytes(32)
    assert all(len(secret) >= 16 for secret in secrets.values())
    assert {name for name, secret in secrets.items() if any(form in loot.raw for form in forms(secret))} == set()
    assert not re.search(rb"p2p[tp]_[0-9a-f]{8}", loot.raw), "a token or pass of the daemons themselves"
    # the search finds what is there
    for known in (bytes.fromhex(opened.auth_hash), loot.share_id, hashlib.sha256(loot.token.encode()).digest()):
        assert any(form in loot.raw for form in forms(known))
    assert b"vault/one" in loot.raw


async def test_what_is_stored_of_tokens_passes_and_links_lets_nobody_in(loot: Loot) -> None:
    stored = {bytes(row[0]) for table in ("tokens", "passes") for row in loot.rows(f"SELECT digest FROM {table}")}
    stored |= {bytes.fromhex(row[0]) for row in loot.rows("SELECT auth_hash FROM links")}
    assert len(stored) >= 4
    tracker = Link.parse(loot.link).tracker
    base = tracker.urls[0] + tp.API
    pinned = aiohttp.Fingerprint(tracker.certificate)

    def well_formed(prefix: str, digest: bytes) -> str:
        body = prefix + digest.hex()
        return body + f"{binascii.crc32(body.encode()):08x}"

    async with aiohttp.ClientSession() as session:
        for digest in stored:
            for token in (digest.hex(), well_formed(tp.TOKEN_PREFIX, digest), base64.b64encode(digest).decode()):
                headers = {"Authorization": f"Bearer {token}"}
                async with session.get(f"{base}/shares", headers=headers, ssl=pinned) as answer:
                    assert answer.status == 401
        headers = {"Authorization": f"Bearer {loot.token}"}
        async with session.get(f"{base}/shares", headers=headers, ssl=pinned) as answer:
            assert answer.status == 200, "the token itself does let in"
        (info_hash,) = loot.rows("SELECT info_hash FROM torrents")[0]
        states = [
            {"info_hash": info_hash, "announce_pass": well_formed(tp.PASS_PREFIX, each), "left": 0} for each in stored
        ]
        body = {"peer_id": "ab" * 20, "port": 6881, "addresses": [], "swarms": states}
        async with session.post(f"{base}/announce", json=body, headers=headers, ssl=pinned) as answer:
            swarms = (await answer.json())["swarms"]
        assert [bool(swarm["failure"]) for swarm in swarms] == [True] * len(stored)
        query = f"SELECT auth_hash FROM links WHERE link_id = '{loot.secret.link_id}'"
        redeem = {"auth": loot.rows(query)[0][0], "binding": "00" * 32}
        path = f"{base}/links/{loot.secret.link_id}/redeem"
        async with session.post(path, json=redeem, headers=headers, ssl=pinned) as answer:
            assert answer.status == 403


async def test_content_and_manifests_stay_sealed(loot: Loot) -> None:
    (manifest,) = (loot.directory / "blobs" / loot.share_id.hex() / "manifest").iterdir()
    sealed = manifest.read_bytes()
    opened = unpack(sealing.open_manifest(sealed, {1: loot.keys}, loot.share_id, 1))
    assert FILE in {file.path for file in opened.body.files}, "with the key it opens"
    keyring = json.loads(loot.newest("keyring"))["signed"][tp.SIGNED_EXTENSION]
    to_members = [base64.b64decode(each) for each in keyring["epochs"][0]["sealed"].values()]
    (wrapped,) = loot.rows(f"SELECT wrapped_keys FROM links WHERE link_id = '{loot.secret.link_id}'")[0]
    attempts: list[Callable[[bytes], object]] = [
        lambda key: sealing.open_manifest(sealed, {1: EpochKeys(1, key, key)}, loot.share_id, 1),
        lambda key: sealing.unwrap(key, bytes(wrapped), tp.LINK_WRAP_CONTEXT + loot.share_id),
        *(
            lambda key, each=each: sealing.open_as_member(each, X25519PrivateKey.from_private_bytes(key), loot.share_id)
            for each in to_members
        ),
    ]
    candidates = loot.material()
    assert len(candidates) >= 8
    for candidate in candidates:
        for attempt in attempts:
            with pytest.raises((VerificationFailed, NotAllowed)):
                attempt(candidate)
    # what the swarm moves holds nothing readable either, for somebody who collects it with a certificate
    assert loot.objects
    for path in loot.objects:
        data = path.read_bytes()
        assert not any(loot.content[at : at + 32] in data for at in range(0, len(loot.content), 100_003))


class Forger:
    """A tracker in the hands of somebody with the dump: serves its files, some forged, and signs all it can."""

    def __init__(self, loot: Loot) -> None:
        self._loot = loot
        self._signer = OnlineSigner(loot.online_key)
        self.files = {path.name: path.read_bytes() for path in loot.metadata.iterdir()}
        numbers = [int(name.partition(".")[0]) for name in self.files if name.endswith(".timestamp.json")]
        self._timestamp = max(numbers)
        self.files["timestamp.json"] = self.files[f"{self._timestamp}.timestamp.json"]

    def sign(self, root: bytes, targets: bytes, keyring: bytes, made: datetime | None = None) -> None:
        """Snapshot and timestamp that name these files."""
        now, number = (made or datetime.now(UTC)).replace(microsecond=0), self._timestamp + 1
        snapshot = self._signer.snapshot(number, root, targets, keyring, now)
        self.files[f"{number}.snapshot.json"] = snapshot
        self.files["timestamp.json"] = self._signer.timestamp(number, root, snapshot, now)

    def forged(self, role: str, kind: type[Root] | type[Targets]) -> bytes:
        """The next file of a role, signed by the online key under every key id that could count."""
        metadata: Metadata[Any] = Metadata.from_bytes(self._loot.newest(role))
        assert type(metadata.signed) is kind
        metadata.signed.version += 1
        metadata.signed.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=300)
        keyids = [*metadata.signatures, hashlib.sha256(b"ed25519:" + bytes.fromhex(self._signer.public)).hexdigest()]
        metadata.signatures.clear()
        for keyid in keyids:
            key = SSlibKey(keyid, "ed25519", "ed25519", {"public": self._signer.public})
            metadata.sign(CryptoSigner(self._loot.online_key, key), append=True)
        return metadata.to_bytes()

    def fetch(self, name: str) -> bytes:
        if name not in self.files:
            raise NotFound(name)
        return self.files[name]

    def judged(self, directory: Path) -> admission.TrustedShare:
        return admission.refresh(self._loot.share_id, directory, self.fetch, self._loot.people["emil"])


@pytest.mark.parametrize(("role", "kind"), [("targets", Targets), ("keyring", Targets), ("root", Root)])
async def test_what_its_key_signs_besides_snapshot_and_timestamp_is_refused(
    loot: Loot, tmp_path: Path, role: str, kind: type[Root] | type[Targets]
) -> None:
    forger = Forger(loot)
    assert forger.judged(tmp_path / "as it was").targets.latest == 1
    files = {name: loot.newest(name) for name in ("root", "targets", "keyring")}
    files[role] = forger.forged(role, kind)
    forger.files[f"{Metadata[Any].from_bytes(files[role]).signed.version}.{role}.json"] = files[role]
    forger.sign(**files)
    with pytest.raises(P2pckptError) as refusal:
        forger.judged(tmp_path / "forged")
    assert isinstance(refusal.value, UntrustedKey | VerificationFailed), refusal.value


async def test_with_its_key_news_can_be_held_back(loot: Loot, tmp_path: Path) -> None:
    """Freeze: yesterday's files under a fresh timestamp are believed. That is what a TUF online key is trusted with."""
    forger = Forger(loot)
    forger.sign(*(loot.newest(name) for name in ("root", "targets", "keyring")))
    assert forger.judged(tmp_path / "frozen").targets.latest == 1
    old = Forger(loot)
    old.sign(
        *(loot.newest(name) for name in ("root", "targets", "keyring")), made=datetime.now(UTC) - timedelta(days=2)
    )
    with pytest.raises(VerificationFailed):
        old.judged(tmp_path / "old")


async def test_with_its_authority_certificates_for_the_swarm_can_be_made(loot: Loot) -> None:
    """And so ciphertext be collected: a certificate opens connections, and no content."""
    where = f"WHERE share_id = '{loot.share_id.hex()}'"
    authority = Authority(*loot.rows(f"SELECT generation, certificate, key FROM swarm_authorities {where}")[0])
    now = int(datetime.now(UTC).timestamp())
    (name,) = loot.rows(f"SELECT torrent_name FROM shares {where}")[0]
    made = x509.load_pem_x509_certificate(issue(authority, public_key(), "somebody", name, now, now + 3600).encode())
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate.encode()))
