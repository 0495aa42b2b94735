"""Next roots that wait for a second owner's signature."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Role, Root

from p2pckpt_tracker.app import Tracker

from .conftest import Login
from .people import Answer, Person, ShareFiles, b64, sign

Two = tuple[ShareFiles, Person, Person]


@pytest.fixture
async def two(share: ShareFiles, person: Login) -> Two:
    """A share whose keys change with the signatures of both of its owners."""
    second = await person()
    await share.add_owner(second)
    share.root_version += 1
    root = sign(with_threshold(share, 2), share.owner, second)
    await share.owner.good("POST", f"/shares/{share.share_id}/root", {"root": b64(root)})
    share.root_version += 1
    return share, share.owner, second


def with_threshold(share: ShareFiles, threshold: int, **changes: Any) -> Root:
    roles = share.root().roles | {Root.type: Role(share.owners, threshold)}
    return share.root(roles=roles, **changes)


async def propose(share: ShareFiles, by: Person, root: bytes) -> Answer:
    return await by.call("PUT", f"/shares/{share.share_id}/proposal", {"root": b64(root)})


async def waiting(share: ShareFiles, by: Person) -> list[Any]:
    reply = await by.good("GET", f"/shares/{share.share_id}/proposal")
    return [Metadata.from_bytes(base64.b64decode(each)) for each in reply["roots"]]


async def test_nobody_replaces_or_withdraws_another_owners_proposal(two: Two) -> None:
    share, ann, ben = two
    assert await waiting(share, ann) == []
    easier, same = with_threshold(share, 1), with_threshold(share, 2)
    assert (await propose(share, ann, sign(easier, ann))).status == 204
    assert (await propose(share, ben, sign(same, ben))).status == 204
    assert {each.signed.roles["root"].threshold for each in await waiting(share, ann)} == {1, 2}
    assert (await ben.call("DELETE", f"/shares/{share.share_id}/proposal")).status == 204
    (left,) = await waiting(share, ben)
    assert (left.signed.roles["root"].threshold, set(left.signatures)) == (1, {ann.identity})
    assert (await propose(share, ann, sign(same, ann))).status == 204
    (left,) = await waiting(share, ben)
    assert left.signed.roles["root"].threshold == 2, "one's own newer one takes the place"


async def test_the_same_proposal_gathers_signatures_and_keeps_good_ones(two: Two) -> None:
    share, ann, ben = two
    root = with_threshold(share, 1)
    assert (await propose(share, ann, sign(root, ann))).status == 204
    spoilt = Metadata.from_bytes(sign(root, ann, ben))
    spoilt.signatures[ann.identity].unrecognized_fields["x"] = "y"
    object.__setattr__(spoilt.signatures[ann.identity], "signature", "00" * 64)
    assert (await propose(share, ben, spoilt.to_bytes())).status == 204
    (both,) = await waiting(share, ann)
    assert set(both.signatures) == {ann.identity, ben.identity}
    assert (await ben.call("DELETE", f"/shares/{share.share_id}/proposal")).status == 204
    (both,) = await waiting(share, ann)
    body = {"root": b64(both.to_bytes())}
    await ben.good("POST", f"/shares/{share.share_id}/root", body)


async def test_a_new_root_ends_all_proposals(tracker: Tracker, two: Two) -> None:
    share, ann, ben = two
    for person, threshold in ((ann, 1), (ben, 2)):
        assert (await propose(share, person, sign(with_threshold(share, threshold), person))).status == 204
    root = sign(with_threshold(share, 2), ann, ben)
    await ann.good("POST", f"/shares/{share.share_id}/root", {"root": b64(root)})
    assert await waiting(share, ann) == []
    assert not list(tracker._data.blobs.rglob("proposal*"))


async def test_a_proposal_that_could_never_count_is_refused(two: Two, person: Login) -> None:
    share, ann, ben = two
    renamed = {"p2pckpt": {"name": "a", "torrent_name": share.torrent_name, "owner": ann.identity, "sealed": False}}
    for root, status in (
        (sign(with_threshold(share, 1), ben), 422),
        (sign(with_threshold(share, 1, version=share.root_version + 1), ann), 409),
        (sign(with_threshold(share, 1, unrecognized_fields=renamed), ann), 422),
        (sign(with_threshold(share, 1), ann) + b" " * (256 << 10), 422),
    ):
        assert (await propose(share, ann, root)).status == status
    assert await waiting(share, ann) == []
