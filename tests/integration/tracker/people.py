"""People with identities, and the shares they sign: what tests bring to a tracker."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from p2pckpt.tracker_protocol import (
    API,
    RECEIVE_KEY_CONTEXT,
    AnnounceReply,
    Endpoint,
    PassReply,
    SwarmState,
    TrackerEvent,
    login_message,
)
from p2pckpt_tracker.wire import bencode

DEADLINE = 20.0
"""Seconds that any event may take before a test gives up."""
SOON = timedelta(days=365)


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Any

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Person:
    """An identity and, once logged in, a token. ``address`` is what a trusted proxy would report."""

    def __init__(self, session: aiohttp.ClientSession, url: str, address: str = "") -> None:
        self.key = Ed25519PrivateKey.generate()
        self.identity = self.key.public_key().public_bytes_raw().hex()
        self.receive_key = secrets.token_hex(32)
        self.address = address
        self.url = url
        self.token = ""
        self.certificate = ""
        """SHA-256 of the certificate that the tracker shows, hex; empty for plain HTTP."""
        self._session = session

    async def call(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Answer:
        headers = dict(kwargs.pop("headers", {}))
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.address:
            headers["X-Forwarded-For"] = self.address
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        async with self._session.request(method, self.url + API + path, data=data, headers=headers, **kwargs) as answer:
            return Answer(answer.status, await answer.read(), answer.headers)

    async def good(self, method: str, path: str, body: Any = None) -> Any:
        """A call that must succeed; its JSON, or None without a body."""
        answer = await self.call(method, path, body)
        assert answer.status < 300, (method, path, answer.status, answer.body)
        return answer.json() if answer.body else None

    async def login_body(self) -> dict[str, str]:
        """A login request with a fresh challenge, ready to be sent or spoilt."""
        info = await self.good("GET", "/tracker")
        challenge = (await self.good("POST", "/challenges"))["challenge"]
        signed = login_message(info["tracker_id"], challenge, self.certificate)
        return {
            "identity": self.identity,
            "receive_key": self.receive_key,
            "receive_key_signature": self.key.sign(RECEIVE_KEY_CONTEXT + bytes.fromhex(self.receive_key)).hex(),
            "name": "somebody",
            "challenge": challenge,
            "certificate": self.certificate,
            "signature": self.key.sign(signed).hex(),
        }

    async def login(self) -> Person:
        self.token = ""
        self.token = (await self.good("POST", "/tokens", await self.login_body()))["token"]
        return self

    async def get_pass(self, share_id: str) -> str:
        reply = msgspec.convert(await self.good("POST", f"/shares/{share_id}/pass"), PassReply)
        return reply.announce_pass

    async def announce(
        self,
        swarms: Sequence[SwarmState],
        *,
        port: int = 6881,
        addresses: Sequence[Endpoint] = (),
        peer_id: str = "",
    ) -> AnnounceReply:
        body = {
            "peer_id": peer_id or hashlib.sha1(self.identity.encode()).hexdigest(),
            "port": port,
            "addresses": list(addresses),
            "swarms": list(swarms),
        }
        return msgspec.convert(await self.good("POST", "/announce", body), AnnounceReply)


class Events:
    """An open event stream."""

    def __init__(self, person: Person, session: aiohttp.ClientSession) -> None:
        self._person = person
        self._session = session

    async def __aenter__(self) -> Events:
        headers = {"Authorization": f"Bearer {self._person.token}"}
        if self._person.address:
            headers["X-Forwarded-For"] = self._person.address
        self._answer = await self._session.get(self._person.url + API + "/events", headers=headers)
        assert self._answer.status == 200
        return self

    async def __aexit__(self, *_: object) -> None:
        self._answer.close()

    async def next(self) -> Any:
        """The next event of any kind; None at the end of the stream."""
        async with asyncio.timeout(DEADLINE):
            line = await self._answer.content.readline()
        return msgspec.json.decode(line, type=TrackerEvent) if line else None

    async def wait_for(self, kind: type) -> Any:
        """The next event of this kind; others before it are skipped."""
        while True:
            event = await self.next()
            assert event is not None, f"the stream ended before a {kind.__name__}"
            if isinstance(event, kind):
                return event


def signer(person: Person) -> CryptoSigner:
    return CryptoSigner(person.key)


def tuf_key(public: str) -> Key:
    return SSlibKey(public, "ed25519", "ed25519", {"public": public})


def sign(signed: Any, *people: Person) -> bytes:
    metadata = Metadata(signed)
    for person in people:
        key = SSlibKey(person.identity, "ed25519", "ed25519", {"public": person.identity})
        metadata.sign(CryptoSigner(person.key, key), append=True)
    return metadata.to_bytes()


def torrent(name: str) -> tuple[str, bytes]:
    """(v2 infohash, bytes) of a random small v2 torrent with this name."""
    leaf = {b"": {b"length": 5, b"pieces root": secrets.token_bytes(32)}}
    info = {
        b"meta version": 2,
        b"piece length": 16384,
        b"name": name.encode(),
        b"private": 1,
        b"file tree": {b"a": leaf},
    }
    return hashlib.sha256(bencode(info)).hexdigest(), bencode({b"info": info})


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class ShareFiles:
    """A share's signed files as its owner's client would keep them."""

    owner: Person
    online_key: str
    publishers: Sequence[Person] = ()
    co_owners: Sequence[Person] = ()
    name: str = "cars/sd15"
    root_version: int = 1
    targets_version: int = 1
    keyring_version: int = 1
    targets: dict[str, TargetFile] = field(default_factory=dict)
    share_id: str = ""

    def root(self, **changes: Any) -> Root:
        own = self.owner.identity
        owners = self.owners
        publics = [*owners, *(each.identity for each in self.publishers)]
        values: dict[str, Any] = {
            "version": self.root_version,
            "expires": datetime.now(UTC) + SOON,
            "keys": {public: tuf_key(public) for public in [*publics, self.online_key]},
            "roles": {
                Root.type: Role(owners, 1),
                Targets.type: Role(publics, 1),
                Snapshot.type: Role([self.online_key], 1),
                Timestamp.type: Role([self.online_key], 1),
            },
            "consistent_snapshot": True,
            "unrecognized_fields": {
                "p2pckpt": {"name": self.name, "torrent_name": "share-" + self.name[:4], "owner": own, "sealed": False}
            },
        }
        return Root(**(values | changes))

    @property
    def torrent_name(self) -> str:
        return "share-" + self.name[:4]

    @property
    def owners(self) -> list[str]:
        """Identities, the first of them the owner's."""
        return [self.owner.identity, *(each.identity for each in self.co_owners)]

    def targets_file(self, **changes: Any) -> Targets:
        own = self.owners
        keyring = DelegatedRole("keyring", own, 1, True, ["keyring/*"])
        values: dict[str, Any] = {
            "version": self.targets_version,
            "expires": datetime.now(UTC) + SOON,
            "targets": dict(self.targets),
            "delegations": Delegations({each: tuf_key(each) for each in own}, {"keyring": keyring}),
            "unrecognized_fields": {"p2pckpt": {"tags": {}, "trackers": []}},
        }
        return Targets(**(values | changes))

    def keyring(self, **changes: Any) -> Targets:
        values: dict[str, Any] = {
            "version": self.keyring_version,
            "expires": datetime.now(UTC) + SOON,
            "unrecognized_fields": {"p2pckpt": {"epochs": []}},
        }
        return Targets(**(values | changes))

    def create_body(self, visibility: str = "members") -> dict[str, str]:
        return {
            "root": b64(sign(self.root(), self.owner)),
            "targets": b64(sign(self.targets_file(), self.owner)),
            "keyring": b64(sign(self.keyring(), self.owner)),
            "visibility": visibility,
        }

    async def create(self, visibility: str = "members") -> str:
        """Make the share; returns its id."""
        record = await self.owner.good("POST", "/shares", self.create_body(visibility))
        self.share_id = record["share_id"]
        return self.share_id

    async def add_owner(self, person: Person) -> None:
        """Sign a root that names one owner more, then give that role."""
        self.co_owners = [*self.co_owners, person]
        self.root_version += 1
        self.targets_version += 1
        files = {"root": b64(sign(self.root(), self.owner)), "targets": b64(sign(self.targets_file(), self.owner))}
        await self.owner.good("POST", f"/shares/{self.share_id}/root", files)
        await self.owner.good("PUT", f"/shares/{self.share_id}/members/{person.identity}", {"role": "owner"})

    async def upload(
        self, number: int, by: Person | None = None, leans_on: Sequence[str] | None = ()
    ) -> tuple[str, TargetFile]:
        """Upload a manifest, torrent and card; returns (infohash, target) and publishes nothing.

        ``leans_on`` is None for a version that says nothing of it.
        """
        by = by or self.owner
        manifest, card = secrets.token_bytes(100), b"# card " + secrets.token_bytes(4)
        info_hash, data = torrent(self.torrent_name)
        blobs = f"/shares/{self.share_id}/blobs"
        manifest_hash, card_hash = (hashlib.sha256(each).hexdigest() for each in (manifest, card))
        await by.good("PUT", f"{blobs}/manifest/{manifest_hash}", manifest)
        await by.good("PUT", f"{blobs}/card/{card_hash}", card)
        await by.good("PUT", f"{blobs}/torrent/{info_hash}", data)
        custom = {
            "infohash": info_hash,
            "torrent_length": 5,
            "torrent_size": 5,
            "name": f"step-{number}",
            "published_at": 1_700_000_000,
            "publisher": by.identity,
            "epoch": 0,
            "size": 5,
            "files": 1,
            "card": card_hash,
        }
        if leans_on is not None:
            custom["leans_on"] = list(leans_on)
        return info_hash, TargetFile(len(manifest), {"sha256": manifest_hash}, f"v/{number}", {"custom": custom})

    async def publish(self, number: int, by: Person | None = None, leans_on: Sequence[str] | None = ()) -> str:
        """Upload and publish a version; returns its infohash."""
        info_hash, target = await self.upload(number, by, leans_on)
        self.targets[f"v/{number}"] = target
        self.targets_version += 1
        signed = sign(self.targets_file(), by or self.owner)
        await (by or self.owner).good("POST", f"/shares/{self.share_id}/targets", {"targets": b64(signed)})
        return info_hash
