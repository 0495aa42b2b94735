"""Making shares and publishing versions."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets
from tuf.ngclient import Updater, UpdaterConfig

from p2pckpt.tracker_protocol import PROBLEM_CONFLICT, PROBLEM_NOT_LISTED, MembersChanged, TargetsChanged
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.store import tables

from .conftest import Login
from .people import DEADLINE, Answer, Events, Person, ShareFiles, b64, sign, torrent, tuf_key

PAST = datetime.now(UTC) - timedelta(days=1)


async def send_targets(share: ShareFiles, signed: bytes, by: Person | None = None) -> Answer:
    body = {"targets": b64(signed)}
    return await (by or share.owner).call("POST", f"/shares/{share.share_id}/targets", body)


async def new_files(person: Login) -> ShareFiles:
    owner = await person()
    return ShareFiles(owner, (await owner.good("GET", "/tracker"))["online_key"])


async def test_a_share_is_known_by_the_hash_of_its_first_root(person: Login) -> None:
    files = await new_files(person)
    body = files.create_body()
    record = await files.owner.good("POST", "/shares", body)
    assert record["name"] == "cars/sd15"
    assert record["role"] == "owner"
    assert record["torrent_name"] == files.torrent_name
    answer = await files.owner.call("GET", f"/shares/{record['share_id']}/metadata/1.root.json")
    assert hashlib.sha256(answer.body).hexdigest() == record["share_id"]
    again = await files.owner.call("POST", "/shares", body)
    assert (again.status, again.json()["type"]) == (409, PROBLEM_CONFLICT)


async def test_a_tuf_client_follows_a_share_from_its_first_root_to_the_newest_version(
    share: ShareFiles, tmp_path: Path, session: Any
) -> None:
    base = f"{share.owner.url}/api/v1/shares/{share.share_id}/metadata/"
    first = (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/1.root.json")).body
    await share.publish(1)
    await share.publish(2)
    files: dict[str, bytes] = {}
    names = ["2.root.json", "timestamp.json", "3.snapshot.json", "3.targets.json", "1.keyring.json"]
    for name in names:
        answer = await share.owner.call("GET", f"/shares/{share.share_id}/metadata/{name}")
        if answer.status == 200:
            files[base + name] = answer.body

    class Fetched:
        """Serves what the tracker answered; anything else is 404."""

        def download_bytes(self, url: str, limit: int) -> bytes:
            from tuf.api.exceptions import DownloadHTTPError

            if url not in files:
                raise DownloadHTTPError("not found", 404)
            return files[url]

    def follow() -> Any:
        updater = Updater(
            str(tmp_path / "tuf"),
            base,
            fetcher=Fetched(),  # type: ignore[arg-type]
            config=UpdaterConfig(),
            bootstrap=first,
        )
        updater.refresh()
        return updater.get_targetinfo("v/2"), updater.get_targetinfo("keyring/none")

    found, nothing = await asyncio.to_thread(follow)
    assert found.hashes == share.targets["v/2"].hashes
    assert nothing is None
    assert len(files) == 4, "there is no second root, and everything else is there"


Spoil = Callable[[ShareFiles, Person], dict[str, bytes]]

FIRST_FILES: dict[str, Spoil] = {
    "root signed by somebody else": lambda s, o: {"root": sign(s.root(), o)},
    "root version 2": lambda s, o: {"root": sign(s.root(version=2), s.owner)},
    "root expired": lambda s, o: {"root": sign(s.root(expires=PAST), s.owner)},
    "root without consistent snapshots": lambda s, o: {"root": sign(s.root(consistent_snapshot=False), s.owner)},
    "root without our field": lambda s, o: {"root": sign(s.root(unrecognized_fields={}), s.owner)},
    "root with a torrent name that is a path": lambda s, o: {
        "root": sign(
            s.root(
                unrecognized_fields={
                    "p2pckpt": {"name": "a", "torrent_name": "../a", "owner": s.owner.identity, "sealed": False}
                }
            ),
            s.owner,
        )
    },
    "root that names another owner": lambda s, o: {
        "root": sign(
            s.root(
                unrecognized_fields={
                    "p2pckpt": {"name": "a", "torrent_name": "a", "owner": o.identity, "sealed": False}
                }
            ),
            s.owner,
        )
    },
    "snapshot by another key": lambda s, o: {"root": sign(ShareFiles(s.owner, o.identity).root(), s.owner)},
    "the online key may sign targets": lambda s, o: {
        "root": sign(
            s.root(roles=s.root().roles | {Targets.type: Role([s.owner.identity, s.online_key], 1)}),
            s.owner,
        )
    },
    "threshold not met": lambda s, o: {
        "root": sign(
            s.root(
                keys=s.root().keys | {o.identity: tuf_key(o.identity)},
                roles=s.root().roles | {Root.type: Role([s.owner.identity, o.identity], 2)},
            ),
            s.owner,
        )
    },
    "one key under two ids": lambda s, o: {
        "root": sign(
            s.root(
                keys=s.root().keys | {"again": tuf_key(s.owner.identity)},
                roles=s.root().roles | {Root.type: Role([s.owner.identity, "again"], 1)},
            ),
            s.owner,
        )
    },
    "targets signed by somebody else": lambda s, o: {"targets": sign(s.targets_file(), o)},
    "targets version 2": lambda s, o: {"targets": sign(s.targets_file(version=2), s.owner)},
    "targets expired": lambda s, o: {"targets": sign(s.targets_file(expires=PAST), s.owner)},
    "targets without our field": lambda s, o: {"targets": sign(s.targets_file(unrecognized_fields={}), s.owner)},
    "targets without a keyring": lambda s, o: {"targets": sign(s.targets_file(delegations=None), s.owner)},
    "keyring delegated to another key": lambda s, o: {
        "targets": sign(s.targets_file(delegations=delegation(o.identity)), s.owner),
        "keyring": sign(s.keyring(), o),
    },
    "keyring delegated to one key more": lambda s, o: {
        "targets": sign(s.targets_file(delegations=delegation(s.owner.identity, o.identity)), s.owner)
    },
    "keyring delegated for other paths": lambda s, o: {
        "targets": sign(s.targets_file(delegations=delegation(s.owner.identity, paths=["*"])), s.owner)
    },
    "keyring signed by somebody else": lambda s, o: {"keyring": sign(s.keyring(), o)},
    "keyring version 2": lambda s, o: {"keyring": sign(s.keyring(version=2), s.owner)},
    "keyring is a root": lambda s, o: {"keyring": sign(s.root(), s.owner)},
    "root is no JSON": lambda s, o: {"root": b"\xff"},
    "root is a bomb": lambda s, o: {"root": b"[" * 100_000},
    "root has a key twice": lambda s, o: {
        "root": sign(s.root(), s.owner).replace(b'{"signatures"', b'{"signatures":[],"signatures"', 1)
    },
    "root has a NaN": lambda s, o: {
        "root": sign(s.root(), s.owner).replace(b'{"signatures"', b'{"x":NaN,"signatures"', 1)
    },
}


def delegation(*publics: str, paths: list[str] | None = None) -> Delegations:
    role = DelegatedRole("keyring", list(publics), 1, True, paths or ["keyring/*"])
    return Delegations({public: tuf_key(public) for public in publics}, {"keyring": role})


@pytest.mark.parametrize("case", FIRST_FILES)
async def test_a_share_with_wrong_first_files_is_refused(person: Login, case: str) -> None:
    files, stranger = await new_files(person), await person()
    body = files.create_body()
    for name, data in FIRST_FILES[case](files, stranger).items():
        assert b64(data) != body[name], "the case must change something"
        body[name] = b64(data)
    answer = await files.owner.call("POST", "/shares", body)
    assert answer.status == 422, answer.body
    assert (await files.owner.good("GET", "/shares"))["shares"] == []


async def test_two_publishers_at_once_and_one_wins(person: Login, share: ShareFiles) -> None:
    rounds = 5
    for number in range(1, rounds + 1):
        offers = [await share.upload(number) for _ in range(2)]
        signed = []
        for _, target in offers:
            targets = share.targets | {f"v/{number}": target}
            signed.append(sign(share.targets_file(version=share.targets_version + 1, targets=targets), share.owner))
        answers = await asyncio.gather(*(send_targets(share, each) for each in signed))
        assert sorted(each.status for each in answers) == [200, 409]
        won = [each.status for each in answers].index(200)
        assert answers[1 - won].json()["type"] == PROBLEM_CONFLICT
        share.targets[f"v/{number}"] = offers[won][1]
        share.targets_version += 1
        stored = await share.owner.call(
            "GET", f"/shares/{share.share_id}/metadata/{share.targets_version}.targets.json"
        )
        assert stored.body == signed[won]
    assert (await share.owner.good("GET", f"/shares/{share.share_id}"))["versions"] == rounds


async def test_a_published_version_never_changes(share: ShareFiles) -> None:
    await share.publish(1)
    _, other = await share.upload(1)
    other.path = "v/1"
    changed = share.targets_file(version=3, targets={"v/1": other})
    answer = await send_targets(share, sign(changed, share.owner))
    assert answer.status == 422
    retired = share.targets_file(version=3, targets={})
    assert (await send_targets(share, sign(retired, share.owner))).status == 200
    again = share.targets_file(version=4, targets={"v/1": other})
    assert (await send_targets(share, sign(again, share.owner))).status == 422, "its number is used up"


async def test_targets_that_break_a_rule_are_refused_and_change_nothing(share: ShareFiles, person: Login) -> None:
    stranger = await person()
    await share.publish(1)
    _, target = await share.upload(2)
    before = (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/timestamp.json")).body

    def signed(by: Person = share.owner, **changes: Any) -> bytes:
        return sign(share.targets_file(**({"version": 3} | changes)), by)

    def with_custom(**custom: Any) -> dict[str, Any]:
        changed = type(target).from_dict(target.to_dict(), "v/2")
        changed.unrecognized_fields = {"custom": target.custom | custom}
        return {"targets": share.targets | {"v/2": changed}}

    odd_length = type(target)(target.length + 1, target.hashes, "v/2", target.unrecognized_fields)
    refused = {
        "jump": (signed(version=4), 409),
        "same again": (signed(version=2), 409),
        "other signer": (signed(by=stranger), 422),
        "expired": (signed(expires=PAST), 422),
        "other keyring": (signed(delegations=delegation(stranger.identity)), 422),
        "other path": (signed(targets=share.targets | {"weights": target}), 422),
        "leading zero": (signed(targets=share.targets | {"v/02": target}), 422),
        "no such torrent": (signed(**with_custom(infohash="ab" * 32)), 422),
        "no such card": (signed(**with_custom(card="ab" * 32)), 422),
        "no length": (signed(**with_custom(torrent_length=True)), 422),
        "upper case": (signed(**with_custom(infohash="AB" * 32)), 422),
        "other length": (signed(targets=share.targets | {"v/2": odd_length}), 422),
        "keyring instead": (sign(share.root(), share.owner), 422),
    }
    for case, (data, status) in refused.items():
        answer = await send_targets(share, data)
        assert answer.status == status, (case, answer.body)
    after = (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/timestamp.json")).body
    assert after == before
    share.targets["v/2"] = target
    assert (await send_targets(share, signed())).status == 200


async def test_a_publisher_needs_both_the_role_and_a_key_in_the_root(share: ShareFiles, person: Login) -> None:
    publisher = await person()
    members = f"/shares/{share.share_id}/members/{publisher.identity}"
    _, target = await share.upload(1)
    target.unrecognized_fields["custom"]["publisher"] = publisher.identity
    signed = sign(share.targets_file(version=2, targets={"v/1": target}), publisher)
    assert (await send_targets(share, signed, publisher)).status == 404
    await share.owner.good("PUT", members, {"role": "publisher"})
    assert (await send_targets(share, signed, publisher)).status == 422
    share.publishers, share.root_version = [publisher], 2
    body = {"root": b64(sign(share.root(), share.owner))}
    await share.owner.good("POST", f"/shares/{share.share_id}/root", body)
    assert (await send_targets(share, signed, share.owner)).status == 422, "the caller must have signed"
    assert (await send_targets(share, signed, publisher)).status == 200


async def test_a_root_can_not_strand_the_current_targets(share: ShareFiles, person: Login) -> None:
    publisher, heir = await person(), await person()
    path = f"/shares/{share.share_id}"
    await share.owner.good("PUT", f"{path}/members/{publisher.identity}", {"role": "publisher"})

    async def send_root(*by: Person, **changes: Any) -> Answer:
        return await share.owner.call("POST", f"{path}/root", {"root": b64(sign(share.root(**changes), *by))})

    share.publishers, share.root_version = [publisher], 2
    assert (await send_root(publisher)).status == 422
    assert (await send_root(share.owner, version=3)).status == 409
    renamed = {"p2pckpt": {"name": "a", "torrent_name": "other", "owner": share.owner.identity, "sealed": False}}
    assert (await send_root(share.owner, unrecognized_fields=renamed)).status == 422
    two = Role([share.owner.identity, heir.identity], 2)
    keys = share.root().keys | {heir.identity: tuf_key(heir.identity)}
    roles = share.root().roles | {Root.type: two}
    assert (await send_root(share.owner, keys=keys, roles=roles)).status == 422, "the new threshold counts"
    assert (await send_root(share.owner)).status == 200
    await share.publish(1, publisher)
    share.publishers, share.root_version = [], 3
    answer = await send_root(share.owner)
    assert answer.status == 422, "the current targets are signed by the publisher who would go"
    share.targets_version += 1
    assert (await send_targets(share, sign(share.targets_file(), share.owner))).status == 200
    assert (await send_root(share.owner)).status == 200


async def test_a_keyring_is_swapped_by_its_owner_only_and_in_order(share: ShareFiles, person: Login) -> None:
    stranger = await person()
    path = f"/shares/{share.share_id}/keyring"
    for signed, status in (
        (sign(share.keyring(version=3), share.owner), 409),
        (sign(share.keyring(version=2), stranger), 422),
        (sign(share.keyring(version=2, expires=PAST), share.owner), 422),
        (sign(share.keyring(version=2), share.owner), 200),
        (sign(share.keyring(version=2), share.owner), 409),
    ):
        assert (await share.owner.call("POST", path, {"keyring": b64(signed)})).status == status
    snapshot = await share.owner.call("GET", f"/shares/{share.share_id}/metadata/2.snapshot.json")
    meta = Metadata.from_bytes(snapshot.body).signed.meta
    assert {name: each.version for name, each in meta.items()} == {"targets.json": 1, "keyring.json": 2}


async def test_metadata_that_the_client_has_is_not_sent_again(share: ShareFiles) -> None:
    path = f"/shares/{share.share_id}/metadata/timestamp.json"
    first = await share.owner.call("GET", path)
    headers = {"If-None-Match": first.headers["ETag"]}
    assert (await share.owner.call("GET", path, headers=headers)).status == 304
    await share.publish(1)
    assert (await share.owner.call("GET", path, headers=headers)).status == 200


@pytest.mark.parametrize(
    "name",
    ["2.root.json", "0.root.json", "2.targets.json", "root.json", "01.root.json", "1.timestamp.json",
     "..%2f..%2ftracker.key", "%2e%2e", "1.root.json%00", "tracker.db"],
)  # fmt: skip
async def test_files_that_do_not_count_are_not_found(share: ShareFiles, name: str) -> None:
    assert (await share.owner.call("GET", f"/shares/{share.share_id}/metadata/{name}")).status == 404


async def test_a_blob_is_stored_only_under_its_own_hash(share: ShareFiles) -> None:
    path = f"/shares/{share.share_id}/blobs"
    data = secrets.token_bytes(3 << 20)
    name = hashlib.sha256(data).hexdigest()
    assert (await share.owner.call("PUT", f"{path}/manifest/{name}", data[:-1])).status == 422
    assert (await share.owner.call("GET", f"{path}/manifest/{name}")).status == 404
    assert (await share.owner.call("PUT", f"{path}/manifest/{name}", data)).status == 201
    assert (await share.owner.call("PUT", f"{path}/manifest/{name}", data)).status == 200
    stored = await share.owner.call("GET", f"{path}/manifest/{name}")
    assert stored.body == data
    assert stored.headers["X-Content-Type-Options"] == "nosniff"
    large = bytes((1 << 20) + 1)
    name = hashlib.sha256(large).hexdigest()
    assert (await share.owner.call("PUT", f"{path}/card/{name}", large)).status == 413
    for odd in ("..", "AB" * 32, "ab" * 31, "%2e%2e%2ftracker.key"):
        assert (await share.owner.call("GET", f"{path}/card/{odd}")).status == 404


async def test_a_torrent_must_be_v2_and_carry_the_name_of_the_share(share: ShareFiles) -> None:
    path = f"/shares/{share.share_id}/blobs/torrent"
    for data in (b"", b"de", b"d4:infodee", b"i1e", b"d4:info" + b"d" * 100, b"l" * 100_000):
        assert (await share.owner.call("PUT", f"{path}/{'ab' * 32}", data)).status == 422
    info_hash, data = torrent("another name")
    assert (await share.owner.call("PUT", f"{path}/{info_hash}", data)).status == 422
    info_hash, data = torrent(share.torrent_name)
    assert (await share.owner.call("PUT", f"{path}/{'ab' * 32}", data)).status == 422
    assert (await share.owner.call("PUT", f"{path}/{info_hash}", data)).status == 201


async def test_shares_are_listed_in_pages_to_those_who_may_see_them(person: Login) -> None:
    owner, stranger = await person(), await person()
    online_key = (await owner.good("GET", "/tracker"))["online_key"]
    public = set()
    for at in range(5):
        visibility = "public" if at % 2 else "members"
        files = ShareFiles(owner, online_key, name=f"cars/100%_{at}")
        await files.create(visibility)
        if visibility == "public":
            public.add(files.share_id)

    async def all_of(who: Person, query: str = "") -> list[str]:
        found: list[str] = []
        after = ""
        while True:
            page = await who.good("GET", f"/shares?limit=2&after={after}&query={query}")
            found += [each["share_id"] for each in page["shares"]]
            if page["next"] is None:
                return found
            after = page["next"]

    mine = await all_of(owner)
    assert len(mine) == 5
    assert mine == sorted(mine)
    assert set(await all_of(stranger)) == public
    assert len(await all_of(owner, "100%25_3")) == 1, "a percent sign is no wildcard"
    assert (await owner.call("GET", "/shares?limit=0")).status == 400
    role = (await stranger.good("GET", f"/shares/{public.pop()}"))["role"]
    assert role == "downloader"


async def test_members_hear_of_a_version_and_owners_of_members(share: ShareFiles, person: Login, session: Any) -> None:
    viewer = await person()
    async with Events(share.owner, session) as owners, Events(viewer, session) as viewers:
        assert (await owners.next()).tracker_id
        assert (await viewers.next()).tracker_id
        await share.owner.good("PUT", f"/shares/{share.share_id}/members/{viewer.identity}", {"role": "viewer"})
        for stream in (owners, viewers):
            assert await stream.next() == MembersChanged(share.share_id, viewer.identity, "viewer")  # type: ignore[arg-type]
        await share.publish(1)
        for stream in (owners, viewers):
            assert await stream.next() == TargetsChanged(share.share_id, 2)


async def test_only_listed_people_make_shares_where_the_list_counts(tracker: Tracker, person: Login) -> None:
    files = await new_files(person)
    tracker._services.only_listed = True
    answer = await files.owner.call("POST", "/shares", files.create_body())
    assert (answer.status, answer.json()["type"]) == (403, PROBLEM_NOT_LISTED)


async def timestamp_runs_out(tracker: Tracker, share: ShareFiles, at: int) -> None:
    """Have the tracker believe that it signed the present timestamp until then, in Unix seconds."""
    change = update(tables.shares).where(tables.shares.c.share_id == share.share_id).values(timestamp_expires=at)
    await tracker._database.write(lambda connection: connection.execute(change))


async def test_a_timestamp_that_has_run_out_is_signed_anew_when_asked_for(tracker: Tracker, share: ShareFiles) -> None:
    path = f"/shares/{share.share_id}/metadata"
    before = (await share.owner.call("GET", f"{path}/timestamp.json")).json()["signed"]
    await timestamp_runs_out(tracker, share, 0)
    after = (await share.owner.call("GET", f"{path}/timestamp.json")).json()["signed"]
    assert after["version"] == before["version"] + 1
    snapshot = after["meta"]["snapshot.json"]["version"]
    assert (await share.owner.call("GET", f"{path}/{snapshot}.snapshot.json")).status == 200


async def test_one_damaged_share_does_not_keep_the_others_from_being_signed(tracker: Tracker, person: Login) -> None:
    owner = await person()
    online_key = (await owner.good("GET", "/tracker"))["online_key"]
    shares = [ShareFiles(owner, online_key, name=f"cars/{n}") for n in range(3)]
    soon = int(datetime.now(UTC).timestamp()) + 60
    for share in shares:
        await share.create()
        await timestamp_runs_out(tracker, share, soon)
    damaged = sorted(shares, key=lambda share: share.share_id)[0]
    root = tracker._data.blobs / damaged.share_id / "metadata" / "1.root.json"
    root.write_bytes(b"\xff")
    signing = asyncio.create_task(tracker._services.freshness.keep(3600))
    try:
        async with asyncio.timeout(DEADLINE):
            for share in shares:
                path = f"/shares/{share.share_id}/metadata/timestamp.json"
                version = 0
                while share is not damaged and version < 2:
                    version = (await owner.call("GET", path)).json()["signed"]["version"]
    finally:
        signing.cancel()
