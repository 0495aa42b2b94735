"""Who gets nothing from a seed of a share that is not public: libtorrent on both sides, certificates of a real tracker.

| the stranger has | and is told |
|---|---|
| no certificate | no |
| a certificate of an authority that it made | no |
| a member's certificate of another share at the same tracker | no |
| a certificate of the right authority for another torrent's name | no |
| one that has expired | no |
| one that is not yet valid | no |
| the torrent file, without TLS, at either port | no |
| infohash and address, without TLS, at either port | no |
| the pass of a removed member | by the tracker: no announce, no certificate |
| somebody's redemption of a link, captured and sent again | by the tracker: no certificate |

No means 0 bytes of payload, and a member gets everything from the same seed afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2pckpt.swarm.engine import TlsCredentials
from p2pckpt.swarm.libtorrent_engine import LibtorrentEngine
from p2pckpt.tracker_protocol import SwarmState
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.certificates import Authority
from p2pckpt_tracker.store import authority_rows

from ...contract.nodes import Node, Sample
from ...support.swarm_certificates import DAY, HOUR, SwarmAuthority
from ..tracker.conftest import Login
from ..tracker.people import Person, ShareFiles, b64
from ..tracker.test_links import Link
from .strangers import Stranger


async def credentials(person: Person, share_id: str) -> TlsCredentials:
    """What the tracker gives a member."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    reply = await person.good("POST", f"/shares/{share_id}/certificate", {"public_key": b64(public)})
    return TlsCredentials(reply["authority"], reply["certificate"], secret.decode())


class Swarm:
    """A seed of a share's torrent, and members to come."""

    def __init__(self, tracker: Tracker, share: ShareFiles, person: Login, directory: Path) -> None:
        self.tracker = tracker
        self.share = share
        self.person = person
        self.directory = directory
        self.sample = Sample("matrix", name=share.torrent_name)
        self.nodes: list[Node] = []

    async def node(self, owner: Person) -> Node:
        directory = self.directory / str(len(self.nodes))
        tls = await credentials(owner, self.share.share_id)
        node = Node(LibtorrentEngine(["127.0.0.1"], 0, scratch=self.directory / "scratch"), directory, tls)
        self.nodes.append(node)
        await node.engine.start(node.heard)
        return node

    async def start(self) -> None:
        self.seed = await self.node(self.share.owner)
        self.seed.add(self.sample, self.sample.pieces)

    async def stop(self) -> None:
        for node in self.nodes:
            await node.engine.stop()

    async def authority(self) -> SwarmAuthority:
        """The share's own, out of the tracker's database: for certificates that it would never give."""
        share_id = self.share.share_id
        present: Authority | None = await self.tracker._database.read(
            lambda connection: authority_rows.present(connection, share_id)
        )
        assert present is not None
        return SwarmAuthority(authority=present)

    @property
    def name(self) -> str:
        return self.share.torrent_name

    @property
    def believed(self) -> str:
        assert self.seed.tls is not None
        return self.seed.tls.authority

    async def refuses(self, tls: TlsCredentials | None, *, authority: str = "") -> None:
        """A stranger with the torrent file gets nothing at the port for TLS, or without TLS at either port."""
        with Stranger() as stranger:
            stranger.want(self.sample.torrent.data, self.sample.info_hash, tls, authority)
            engine = self.seed.engine
            ports = (engine.tls_port,) if tls or authority else (engine.port, engine.tls_port)
            stranger.connect(*ports)
            await stranger.until_turned_away(2 * len(ports))
            await self.still_serves()
            assert stranger.received == 0

    async def still_serves(self) -> None:
        """A member who comes now gets everything."""
        member = await self.person()
        path = f"/shares/{self.share.share_id}/members/{member.identity}"
        await self.share.owner.good("PUT", path, {"role": "downloader"})
        leech = await self.node(member)
        leech.add(self.sample)
        leech.want(self.sample, self.sample.pieces)
        leech.connect(self.sample, self.seed)
        await leech.received(self.sample, self.sample.pieces)


@pytest.fixture
async def swarm(tracker: Tracker, share: ShareFiles, person: Login, tmp_path: Path) -> AsyncIterator[Swarm]:
    swarm = Swarm(tracker, share, person, tmp_path)
    await swarm.start()
    yield swarm
    await swarm.stop()


async def test_no_certificate(swarm: Swarm) -> None:
    await swarm.refuses(None, authority=swarm.believed)


async def test_a_certificate_of_another_authority(swarm: Swarm) -> None:
    await swarm.refuses(SwarmAuthority().member(swarm.name, trust=swarm.believed))


async def test_a_certificate_of_another_authority_that_the_stranger_believes_in(swarm: Swarm) -> None:
    await swarm.refuses(SwarmAuthority().member(swarm.name))


async def test_a_members_certificate_of_another_share(swarm: Swarm) -> None:
    stranger = await swarm.person()
    other = ShareFiles(stranger, swarm.share.online_key, name="other/share")
    await other.create()
    given = await credentials(stranger, other.share_id)
    await swarm.refuses(TlsCredentials(swarm.believed, given.certificate, given.key))


async def test_a_certificate_of_another_share_with_torrents_of_the_same_name(swarm: Swarm) -> None:
    stranger = await swarm.person()
    twin = ShareFiles(stranger, swarm.share.online_key, name=swarm.share.name)
    await twin.create()
    assert twin.torrent_name == swarm.name
    given = await credentials(stranger, twin.share_id)
    await swarm.refuses(TlsCredentials(swarm.believed, given.certificate, given.key))


async def test_a_certificate_for_another_name(swarm: Swarm) -> None:
    await swarm.refuses((await swarm.authority()).member("another-name"))


async def test_an_expired_certificate(swarm: Swarm) -> None:
    await swarm.refuses((await swarm.authority()).member(swarm.name, issued=-2 * DAY))


async def test_a_certificate_that_is_not_valid_yet(swarm: Swarm) -> None:
    await swarm.refuses((await swarm.authority()).member(swarm.name, issued=2 * HOUR))


async def test_no_tls_at_either_port(swarm: Swarm) -> None:
    await swarm.refuses(None)


async def test_infohash_and_address_alone(swarm: Swarm) -> None:
    with Stranger() as stranger:
        stranger.want(None, swarm.sample.info_hash, None)
        stranger.connect(swarm.seed.engine.port, swarm.seed.engine.tls_port)
        await stranger.until_turned_away(4)
        await swarm.still_serves()
        assert stranger.received == 0


async def test_a_pass_that_was_stolen_from_somebody_who_was_removed(swarm: Swarm) -> None:
    share, robbed, thief = swarm.share, await swarm.person(), await swarm.person()
    info_hash = await share.publish(1)
    path = f"/shares/{share.share_id}/members/{robbed.identity}"
    await share.owner.good("PUT", path, {"role": "downloader"})
    stolen = await robbed.get_pass(share.share_id)
    own = await credentials(robbed, share.share_id)
    assert (await thief.announce([SwarmState(info_hash, stolen, 1)])).swarms[0].failure == "pass of another account"
    await share.owner.good("DELETE", path)
    for each in (robbed, thief):
        (reply,) = (await each.announce([SwarmState(info_hash, stolen, 1)])).swarms
        assert (reply.failure, reply.peers) == ("pass unknown, expired or revoked", [])
        refused = await each.call("POST", f"/shares/{share.share_id}/certificate", {"public_key": b64(b"x")})
        assert refused.status == 404
    # peers that heard of it have a new authority, under which the certificate that is left opens nothing
    swarm.seed.engine.remove(swarm.sample.info_hash)
    swarm.seed.tls = await credentials(share.owner, share.share_id)
    swarm.seed.add(swarm.sample, swarm.sample.pieces)
    await swarm.refuses(TlsCredentials(swarm.believed, own.certificate, own.key))


async def test_a_redemption_that_is_sent_again(swarm: Swarm) -> None:
    joiner, thief, link = await swarm.person(), await swarm.person(), Link(swarm.share)
    await link.register(max_uses=1)
    certificate = f"/shares/{swarm.share.share_id}/certificate"
    assert (await link.redeem(joiner)).status == 200
    await credentials(joiner, swarm.share.share_id)
    assert (await link.redeem(thief)).status == 410
    assert (await thief.call("POST", certificate, {"public_key": b64(b"x")})).status == 404
    await swarm.share.owner.good("DELETE", f"/shares/{swarm.share.share_id}/members/{joiner.identity}")
    assert (await link.redeem(joiner)).status == 410
    assert (await joiner.call("POST", certificate, {"public_key": b64(b"x")})).status == 404
    swarm.seed.engine.remove(swarm.sample.info_hash)
    swarm.seed.tls = await credentials(swarm.share.owner, swarm.share.share_id)
    swarm.seed.add(swarm.sample, swarm.sample.pieces)
    await swarm.still_serves()
