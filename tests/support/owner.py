"""What a share's owner signs, for tests that sign what no command does: with the keys of a real home."""

from __future__ import annotations

import json
from typing import Any

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Targets

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.client import TrackerClient
from p2pckpt.trust import identity_file
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.links import Link

from .homes import Home


def identity_of(home: Home) -> Identity:
    """The private keys in a home."""
    return identity_file.load(home.config.keys_dir)


def client_of(home: Home, link: str) -> TrackerClient:
    """The tracker that a link names, asked as the person of this home; to be closed."""
    return TrackerClient(Link.parse(link).tracker, identity_of(home), home.path.name)


async def change_keyring(owner: Home, link: str, **fields: Any) -> None:
    """Sign and publish the share's next keyring with other fields in our part of it."""
    identity, share_id = identity_of(owner), Link.parse(link).share_id.hex()
    client = client_of(owner, link)
    try:
        timestamp = json.loads(await client.metadata(share_id, "timestamp.json"))["signed"]
        number = timestamp["meta"]["snapshot.json"]["version"]
        snapshot = json.loads(await client.metadata(share_id, f"{number}.snapshot.json"))["signed"]
        version = snapshot["meta"]["keyring.json"]["version"]
        keyring = Metadata[Targets].from_bytes(await client.metadata(share_id, f"{version}.keyring.json"))
        keyring.signed.unrecognized_fields[tp.SIGNED_EXTENSION] |= fields
        keyring.signed.version += 1
        (keyid,) = keyring.signatures
        keyring.signatures.clear()
        key = SSlibKey(keyid, "ed25519", "ed25519", {"public": identity.hex})
        keyring.sign(CryptoSigner(identity.signing, key))
        await client.publish_keyring(share_id, keyring.to_bytes())
    finally:
        await client.close()
