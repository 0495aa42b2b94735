"""What one publisher or one owner can't put into a share's signed files, because others could not use it afterwards."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import DelegatedRole, Delegations, TargetFile

from ...unit.trust.people import person as identity_of
from ...unit.trust.people import target as version_target
from .conftest import Login
from .people import Answer, Person, ShareFiles, b64, sign, tuf_key

NOW = datetime.now(UTC)


async def add_publisher(share: ShareFiles, person: Login) -> Person:
    publisher = await person()
    share.publishers, share.root_version = [publisher], share.root_version + 1
    path = f"/shares/{share.share_id}"
    await share.owner.good("PUT", f"{path}/members/{publisher.identity}", {"role": "publisher"})
    await share.owner.good("POST", f"{path}/root", {"root": b64(sign(share.root(), share.owner))})
    return publisher


async def offer(share: ShareFiles, by: Person, **changes: Any) -> Answer:
    """Send targets one version on, with these changes; counts them when they were taken."""
    signed = sign(share.targets_file(version=share.targets_version + 1, **changes), by)
    answer = await by.call("POST", f"/shares/{share.share_id}/targets", {"targets": b64(signed)})
    if answer.status == 200:
        share.targets_version += 1
    return answer


def changed(target: TargetFile, **custom: Any) -> TargetFile:
    copied = copy.deepcopy(target)
    copied.unrecognized_fields["custom"] |= custom
    return copied


def said(tags: Any = None, trackers: Any = None, **more: Any) -> dict[str, Any]:
    return {"p2pckpt": {"tags": tags or {}, "trackers": trackers or []} | more}


BAD_CUSTOM: dict[str, dict[str, Any]] = {
    "another publisher": {"publisher": "ab" * 32},
    "no publisher": {"publisher": None},
    "a publisher in capitals": {"publisher": "AB" * 32},
    "no name": {"name": 5},
    "a long name": {"name": "x" * 101},
    "a name for terminals": {"name": "red \x1b[31m"},
    "a negative time": {"published_at": -1},
    "a time in a text": {"published_at": "1"},
    "a size that is no exact number": {"size": 1 << 53},
    "a huge size": {"size": 10**40},
    "a truth for a number": {"files": True},
    "nothing for a number": {"torrent_size": None},
    "a negative epoch": {"epoch": -1},
    "too much of it": {"other": "x" * 4096},
}


@pytest.mark.parametrize("case", BAD_CUSTOM)
async def test_a_version_that_clients_could_not_read_is_refused(share: ShareFiles, case: str) -> None:
    _, target = await share.upload(1)
    spoilt = changed(target, **BAD_CUSTOM[case])
    answer = await offer(share, share.owner, targets={"v/1": spoilt})
    assert answer.status == 422, answer.body
    assert (await offer(share, share.owner, targets={"v/1": target})).status == 200


@pytest.mark.parametrize("text", [b'"\\ud800"', b"1.5", b"1e400"])
async def test_what_has_no_canonical_form_is_refused(share: ShareFiles, text: bytes) -> None:
    _, target = await share.upload(1)
    signed = sign(share.targets_file(version=2, targets={"v/1": target}), share.owner)
    spoilt = signed.replace(b'"step-1"', text)
    assert spoilt != signed
    answer = await share.owner.call("POST", f"/shares/{share.share_id}/targets", {"targets": b64(spoilt)})
    assert answer.status == 422, answer.body


async def test_what_clients_do_not_write_around_versions_is_refused(share: ShareFiles) -> None:
    _, target = await share.upload(1)
    own, good = share.owner.identity, {"v/1": target}
    role = DelegatedRole("keyring", [own], 1, True, ["keyring/*"])
    odd_key = tuf_key(own)
    odd_key.unrecognized_fields["x"] = "y"
    odd_role = DelegatedRole("keyring", [own], 1, True, ["keyring/*"], unrecognized_fields={"x": "y"})
    beside = copy.deepcopy(target)
    beside.unrecognized_fields["x"] = "y"
    two_hashes = TargetFile(target.length, target.hashes | {"sha512": "00" * 64}, "v/1", target.unrecognized_fields)
    cases: dict[str, dict[str, Any]] = {
        "tag on no version": {"unrecognized_fields": said({"stable": 2})},
        "tag on version 0": {"unrecognized_fields": said({"stable": 0})},
        "tag on true": {"unrecognized_fields": said({"stable": True})},
        "tag like a version": {"unrecognized_fields": said({"v1": 1})},
        "tag like a number": {"unrecognized_fields": said({"1": 1})},
        "tag in capitals": {"unrecognized_fields": said({"Stable": 1})},
        "long tag": {"unrecognized_fields": said({"x" * 65: 1})},
        "empty tag": {"unrecognized_fields": said({"": 1})},
        "tracker that is a number": {"unrecognized_fields": said(trackers=[5])},
        "tracker with a line": {"unrecognized_fields": said(trackers=["a\nb"])},
        "long tracker": {"unrecognized_fields": said(trackers=["x" * 1001])},
        "many trackers": {"unrecognized_fields": said(trackers=["x"] * 17)},
        "one field more of ours": {"unrecognized_fields": said(x=1)},
        "one field more": {"unrecognized_fields": said() | {"x": 1}},
        "key with a field more": {"delegations": Delegations({own: odd_key}, {"keyring": role})},
        "key that signs nothing": {
            "delegations": Delegations({own: tuf_key(own), "x": tuf_key("ab" * 32)}, {"keyring": role})
        },
        "role with a field more": {"delegations": Delegations({own: tuf_key(own)}, {"keyring": odd_role})},
        "custom and more": {"targets": {"v/1": beside}},
        "two hashes": {"targets": {"v/1": two_hashes}},
        "runs out soon": {"expires": NOW + timedelta(days=299)},
        "runs out late": {"expires": NOW + timedelta(days=402)},
        "number skipped": {"targets": {"v/2": target}},
    }
    for case, changes in cases.items():
        answer = await offer(share, share.owner, **({"targets": good} | changes))
        assert answer.status == 422, (case, answer.body)
    fields = said({"stable": 1, "latest": 1, "a.b_c-1": 1}, ["x" * 1000] * 16)
    assert (await offer(share, share.owner, targets=good, unrecognized_fields=fields)).status == 200
    _, second = await share.upload(2)
    _, third = await share.upload(3)
    both = good | {"v/2": second, "v/3": third}
    assert (await offer(share, share.owner, targets=both, unrecognized_fields=fields)).status == 422, "two at once"


async def test_a_publisher_takes_nothing_away_from_others(share: ShareFiles, person: Login) -> None:
    publisher = await add_publisher(share, person)
    await share.publish(1)
    _, own = await share.upload(2, publisher)
    versions = share.targets | {"v/2": own}
    tags = {"latest": 2, "theirs": 1, "mine": 2}
    assert (await offer(share, publisher, targets=versions, unrecognized_fields=said(tags))).status == 200
    fewer = {"latest": 2, "mine": 2}
    assert (await offer(share, publisher, targets=versions, unrecognized_fields=said(fewer))).status == 422
    for gone in versions:
        left = {path: target for path, target in versions.items() if path != gone}
        assert (await offer(share, publisher, targets=left, unrecognized_fields=said(tags))).status == 422
    moved = {"latest": 1, "theirs": 2, "mine": 2}
    assert (await offer(share, publisher, targets=versions, unrecognized_fields=said(moved))).status == 200
    moved.pop("mine")
    assert (await offer(share, publisher, targets=versions, unrecognized_fields=said(moved))).status == 200
    assert (await offer(share, share.owner, targets={"v/2": own}, unrecognized_fields=said())).status == 200


def epochs(*numbers: int, lead: str = "") -> list[dict[str, Any]]:
    return [
        {"epoch": n, "sealed": {}, "earlier_view": lead + str(n), "earlier_content": lead + str(n)} for n in numbers
    ]


def content(*numbers: int, **more: Any) -> dict[str, Any]:
    return {"p2pckpt": {"epochs": epochs(*numbers)} | more}


async def test_a_sealed_share_keeps_its_epochs_and_adds_one_at_a_time(person: Login) -> None:
    owner = await person()
    files = ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])
    fields = files.root().unrecognized_fields["p2pckpt"] | {"sealed": True}
    body = files.create_body() | {"root": b64(sign(files.root(unrecognized_fields={"p2pckpt": fields}), owner))}
    assert (await owner.call("POST", "/shares", body)).status == 422, "without an epoch"
    body["keyring"] = b64(sign(files.keyring(unrecognized_fields=content(1)), owner))
    share_id = (await owner.good("POST", "/shares", body))["share_id"]
    version = 2
    reader = {"role": "viewer", "receive_key": "ab" * 32}

    async def send(unrecognized: dict[str, Any]) -> int:
        nonlocal version
        signed = sign(files.keyring(version=version, unrecognized_fields=unrecognized), owner)
        status = (await owner.call("POST", f"/shares/{share_id}/keyring", {"keyring": b64(signed)})).status
        version += status == 200
        return status

    other_lead = {"p2pckpt": {"epochs": epochs(1, lead="other")}}
    for wrong in (content(), content(2), content(1, 3), content(1, 2, 3), content(1, 1), other_lead):
        assert await send(wrong) == 422, wrong
    assert await send(content(1, 2)) == 200
    assert await send(content(1)) == 422, "an epoch less"
    resealed = content(1, 2)
    resealed["p2pckpt"]["epochs"][1]["sealed"] = {"ab" * 32: base64.b64encode(b"keys").decode()}
    assert await send(resealed) == 200
    many = {f"{number:064x}": reader for number in range(20_001)}
    assert await send(content(1, 2, readers=many)) == 422
    assert await send(content(1, 2, readers=dict(list(many.items())[:20]))) == 200


async def test_a_share_that_is_not_sealed_has_no_epochs(share: ShareFiles) -> None:
    signed = sign(share.keyring(version=2, unrecognized_fields=content(1)), share.owner)
    answer = await share.owner.call("POST", f"/shares/{share.share_id}/keyring", {"keyring": b64(signed)})
    assert answer.status == 422


def test_what_a_client_signs_about_a_version_is_what_tests_here_sign() -> None:

    written = msgspec.to_builtins(version_target(1, publisher=identity_of("a").hex))
    for derived in ("version", "manifest_sha256", "manifest_length"):
        del written[derived]
    assert written.keys() == {
        "infohash", "torrent_length", "torrent_size", "name", "published_at", "publisher", "epoch", "size", "files",
        "card",
    }  # fmt: skip
