"""Requests for access as a lying tracker could list them: nothing is sealed to a key that nobody signed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from p2pckpt import tracker_protocol as tp
from p2pckpt.errors import UntrustedKey, VerificationFailed
from p2pckpt.jobs.members import Members
from p2pckpt.store.catalogue import KnownShare

from ..trust.people import OWNER, STRANGER

SHARE = KnownShare(bytes(32), "cars/sd15", "tracker", "members", "owner", {})
PUBLIC = STRANGER.public
HONEST = tp.AccessRequest(
    PUBLIC.identity.hex(), "somebody", PUBLIC.receive_key.hex(), PUBLIC.signature.hex(), "hello", 1
)


def listing(*listed: tp.AccessRequest) -> Members:
    """Members of shares whose tracker lists what the test says."""
    anything: Any = None

    async def requests(share_id: str) -> list[tp.AccessRequest]:
        return list(listed)

    shares: Any = SimpleNamespace(client=lambda share: SimpleNamespace(requests=requests))
    return Members(anything, anything, shares, anything, anything)


async def test_who_asks_with_a_key_of_their_own_is_listed() -> None:
    ((request, public),) = await listing(HONEST).requests(SHARE)
    assert (request.name, public.identity) == ("somebody", PUBLIC.identity)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"receive_key": OWNER.public.receive_key.hex()}, UntrustedKey),
        ({"identity": OWNER.hex}, UntrustedKey),
        ({"receive_key_signature": "00" * 64}, UntrustedKey),
        ({"identity": "not hex"}, VerificationFailed),
        ({"identity": ""}, UntrustedKey),
        ({"receive_key": "\x1b[2J"}, VerificationFailed),
    ],
)
async def test_a_request_whose_keys_do_not_belong_together_is_refused(fields: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await listing(msgspec.structs.replace(HONEST, **fields)).requests(SHARE)
