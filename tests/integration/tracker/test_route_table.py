"""Every route of the table with every kind of caller, cell by cell. A route without a probe here fails."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from p2pckpt.tracker_protocol import API, PROBLEM_LICENCE, Role
from p2pckpt_tracker.access_rules import Token, digest
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.route_table import ROUTES, Route, Who

from ...support import route_docs
from .conftest import Login
from .people import Person, ShareFiles, b64, sign

CALLERS = (
    "without a token", "with an expired token", "account that is no member", "owner of another share",
    "removed member", *Role,
)  # fmt: skip
WITHOUT_TOKEN = CALLERS[:2]
STRANGERS = CALLERS[2:5]
EMPTY = b"{}"


@dataclass(frozen=True)
class Probe:
    """A request that changes nothing, or nothing that other probes need, and how the route answers whom it lets in."""

    let_in: int
    body: bytes | None = None
    parts: Callable[[Stage], dict[str, str]] = lambda stage: {}


class Stage:
    """A share with a version, and one of everything that routes name."""

    def __init__(self, share: ShareFiles) -> None:
        self.share = share
        self.callers: dict[str, Person] = {}
        self.blobs: dict[str, str] = {}
        self.spare: Person
        self.asking: Person
        self.link = secrets.token_hex(8)

    async def set(self, tracker: Tracker, person: Login) -> Stage:
        path = f"/shares/{self.share.share_id}"
        self.blobs["torrent"] = await self.share.publish(1)
        target = self.share.targets["v/1"]
        self.blobs |= {"manifest": target.hashes["sha256"], "card": target.custom["card"]}
        for caller in CALLERS:
            self.callers[caller] = self.share.owner if caller == Role.OWNER else await person()
            if caller in (Role.VIEWER, Role.DOWNLOADER, Role.PUBLISHER, "removed member"):
                role = "publisher" if caller == "removed member" else caller
                await self._owner("PUT", f"{path}/members/{self.callers[caller].identity}", {"role": role})
        await self._owner("DELETE", f"{path}/members/{self.callers['removed member'].identity}")
        other = self.callers["owner of another share"]
        await ShareFiles(other, self.share.online_key, name="other").create()
        self.callers["without a token"].token = ""
        expired = self.callers["with an expired token"]
        tracker._rules.tokens[digest(expired.token)] = Token(expired.identity, int(time.time()) - 1)
        self.spare, self.asking = await person(), await person()
        await self._owner("PUT", f"{path}/members/{self.spare.identity}", {"role": "viewer"})
        await self.asking.good("POST", f"{path}/requests", {})
        link = {"link_id": self.link, "auth_hash": "ab" * 32, "wrapped_keys": "", "role": "viewer"}
        await self._owner("POST", f"{path}/links", link)
        return self

    async def _owner(self, method: str, path: str, body: Any = None) -> None:
        await self.share.owner.good(method, path, body)

    async def answer(self, route: Route, caller: str) -> tuple[int, str]:
        """Status and, for refusals, the problem's type."""
        probe = PROBES[route.name]
        path = API + route.path.removeprefix(API).format(share=self.share.share_id, **probe.parts(self))
        someone = self.callers[caller]
        headers = {"Authorization": f"Bearer {someone.token}"} if someone.token else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(route.method, someone.url + path, data=probe.body, headers=headers) as answer,
        ):
            if answer.content_type != "application/problem+json":
                return answer.status, ""  # an event stream has no end to be read to
            return answer.status, (await answer.json(content_type=None))["type"]


def blob(kind: str) -> Callable[[Stage], dict[str, str]]:
    return lambda stage: {"blob": stage.blobs[kind]}


def same_hash(data: bytes) -> Callable[[Stage], dict[str, str]]:
    return lambda stage: {"blob": hashlib.sha256(data).hexdigest()}


PROBES: dict[str, Probe] = {
    "tracker_info": Probe(200),
    "make_challenge": Probe(201),
    "log_in": Probe(400, EMPTY),
    "list_shares": Probe(200),
    "create_share": Probe(400, EMPTY),
    "show_share": Probe(200),
    "read_metadata": Probe(200, parts=lambda stage: {"file": "timestamp.json"}),
    "publish_targets": Probe(400, EMPTY),
    "publish_keyring": Probe(400, EMPTY),
    "publish_root": Probe(400, EMPTY),
    "propose_root": Probe(400, EMPTY),
    "read_proposal": Probe(200),
    "withdraw_proposal": Probe(204),
    "put_manifest": Probe(422, b"x", same_hash(b"y")),
    "put_torrent": Probe(422, b"x", same_hash(b"x")),
    "put_card": Probe(422, b"x", same_hash(b"y")),
    "get_manifest": Probe(200, parts=blob("manifest")),
    "get_torrent": Probe(200, parts=blob("torrent")),
    "get_card": Probe(200, parts=blob("card")),
    "list_members": Probe(200),
    "set_member": Probe(200, b'{"role": "viewer"}', lambda stage: {"identity": stage.spare.identity}),
    "remove_member": Probe(204, parts=lambda stage: {"identity": stage.spare.identity}),
    "request_access": Probe(202, EMPTY),
    "list_requests": Probe(200),
    "deny_request": Probe(204, parts=lambda stage: {"identity": stage.asking.identity}),
    "accept_licence": Probe(409, b'{"licence": "none", "signature": ""}'),
    "read_log": Probe(200),
    "create_link": Probe(400, EMPTY),
    "list_links": Probe(200),
    "rewrap_link": Probe(204, b'{"wrapped_keys": ""}', lambda stage: {"link": stage.link}),
    "revoke_link": Probe(204, parts=lambda stage: {"link": stage.link}),
    "link_info": Probe(200, parts=lambda stage: {"link": stage.link}),
    "redeem_link": Probe(400, EMPTY, lambda stage: {"link": stage.link}),
    "issue_certificate": Probe(400, EMPTY),
    "make_pass": Probe(201),
    "list_peers": Probe(200),
    "announce": Probe(400, EMPTY),
    "stream_events": Probe(200),
}


def expected(route: Route, caller: str) -> int:
    """The status that the table asks for."""
    if route.need is Who.ANYONE:
        return PROBES[route.name].let_in
    if caller in WITHOUT_TOKEN:
        return 401
    if route.need is Who.ACCOUNT:
        return PROBES[route.name].let_in
    assert isinstance(route.need, Role)
    if caller in STRANGERS:
        return 404
    return PROBES[route.name].let_in if Role(caller).covers(route.need) else 403


async def test_every_route_lets_in_exactly_those_whom_the_table_names(
    tracker: Tracker, share: ShareFiles, person: Login
) -> None:
    missing = {route.name for route in ROUTES} ^ PROBES.keys()
    assert not missing, f"routes without a probe, or probes without a route: {missing}"
    stage = await Stage(share).set(tracker, person)
    # what a link leads to is asked for before the owner's probe revokes it
    order = sorted(ROUTES, key=lambda route: route.name == "revoke_link")
    wrong = []
    for route in order:
        for caller in CALLERS:
            status, _ = await stage.answer(route, caller)
            if status != expected(route, caller):
                wrong.append((route.name, caller, status, expected(route, caller)))
    assert not wrong
    for role in Role:
        assert (await stage.callers[role].call("GET", f"/shares/{share.share_id}")).json()["role"] == role


async def test_a_licence_closes_its_routes_to_downloaders_and_to_nobody_else(
    tracker: Tracker, share: ShareFiles, person: Login
) -> None:
    stage = await Stage(share).set(tracker, person)
    keyring = share.keyring(version=2, unrecognized_fields={"p2pckpt": {"epochs": [], "licence": "openrail"}})
    body = {"keyring": b64(sign(keyring, share.owner))}
    await share.owner.good("POST", f"/shares/{share.share_id}/keyring", body)
    cells = 0
    for route in ROUTES:
        if route.need not in (Role.VIEWER, Role.DOWNLOADER):
            continue
        for role in Role:
            answer = await stage.answer(route, role)
            if not role.covers(route.need):
                assert answer[0] == 403
            elif route.licence and role is Role.DOWNLOADER:
                assert answer == (403, PROBLEM_LICENCE), (route, role)
                cells += 1
            else:
                assert answer[0] == expected(route, role), (route, role)
    assert cells == sum(route.licence for route in ROUTES) >= 2


async def test_in_a_public_share_every_account_is_a_downloader(
    tracker: Tracker, share: ShareFiles, person: Login
) -> None:
    public = ShareFiles(share.owner, share.online_key, name="open")
    await public.create("public")
    stage = await Stage(public).set(tracker, person)
    for route in ROUTES:
        if isinstance(route.need, Role):
            for caller in (*STRANGERS, *WITHOUT_TOKEN, Role.VIEWER):
                known = Role.DOWNLOADER if caller not in WITHOUT_TOKEN else caller
                assert (await stage.answer(route, caller))[0] == expected(route, known), (route, caller)


def test_the_page_has_the_table_as_the_code_has_it() -> None:
    page = route_docs.PAGE.read_text()
    assert route_docs.in_page(page) == route_docs.rendered(), "bring it in step: python -m tests.support.route_docs"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_is_documented(route: Route) -> None:
    assert f"`{route.method} {route.path.removeprefix(API).replace('{share}', '{id}')}`" in route_docs.rendered()
