"""Which address a peer has, and who is told about it."""

from __future__ import annotations

import pytest

from p2pckpt.tracker_protocol import Endpoint
from p2pckpt_tracker.dial_back import may_dial
from p2pckpt_tracker.peer_address import Address, Reach, Realm, address, endpoint, observed, reach, trusted

PROXY = trusted(["10.9.0.0/24", "::1/128"])


def at(text: str) -> Address:
    found = address(text)
    assert found is not None
    return found


def told(how: Reach, asker: str) -> list[Endpoint]:
    return [endpoint(each) for each in how.for_asker(at(asker))]


@pytest.mark.parametrize(
    ("text", "realm"),
    [
        ("8.8.8.8", Realm.PUBLIC),
        ("203.0.113.5", Realm.PUBLIC),
        ("2001:db8::1", Realm.PUBLIC),
        ("10.0.0.1", Realm.LAN),
        ("172.31.0.1", Realm.LAN),
        ("172.32.0.1", Realm.PUBLIC),
        ("192.168.1.1", Realm.LAN),
        ("169.254.1.1", Realm.LAN),
        ("100.64.0.1", Realm.LAN),
        ("fd00::1", Realm.LAN),
        ("127.8.0.1", Realm.LOOPBACK),
        ("::1", Realm.LOOPBACK),
        ("::ffff:127.0.0.1", Realm.LOOPBACK),
        ("::ffff:10.0.0.1", Realm.LAN),
    ],
)
def test_addresses_belong_to_a_realm(text: str, realm: Realm) -> None:
    assert at(text).realm is realm


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "0.0.0.0", "0.0.0.1", "::", "224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1",
     "fe80::1", "fe80::1%eth0", "fec0::1", "1.2.3", "01.2.3.4", "1.2.3.4:80", "::ffff:0.0.0.0"],
)  # fmt: skip
def test_what_nobody_can_dial_is_no_address(text: str) -> None:
    assert address(text) is None


@pytest.mark.parametrize("text", ["203.0.113.5", "10.0.0.1", "2001:db8::1", "127.0.0.1"])
def test_compact_endpoints_come_back_as_they_were(text: str) -> None:
    assert endpoint(at(text).compact(6881)) == Endpoint(text, 6881)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.1", [], "203.0.113.1"),
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),
        ("10.9.0.1", [], "10.9.0.1"),
        ("10.9.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.9.0.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
        ("10.9.0.1", ["192.0.2.66", "198.51.100.1, 10.9.0.2"], "198.51.100.1"),
        ("10.9.0.1", ["127.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("10.9.0.1", ["198.51.100.1, nonsense"], "10.9.0.1"),
        ("10.9.0.1", ["198.51.100.1, nonsense, 10.9.0.7"], "10.9.0.7"),
        ("10.9.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.9.0.1", ["[2001:db8::5]:4711"], "2001:db8::5"),
        ("10.9.0.1", ["2001:db8::5"], "2001:db8::5"),
        ("::1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.9.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.9.0.1", ["10.9.0.3"], "10.9.0.3"),
        ("10.9.0.1", ["192.0.2.66," * 10_000 + "198.51.100.1"], "198.51.100.1"),
    ],
)
def test_the_client_is_the_rightmost_entry_that_is_no_proxy(peer: str, forwarded: list[str], expected: str) -> None:
    assert observed(peer, forwarded, PROXY) == at(expected)


def test_without_trusted_proxies_a_header_counts_for_nothing() -> None:
    assert observed("10.9.0.1", ["198.51.100.1"], ()) == at("10.9.0.1")


def test_a_lan_address_is_for_the_same_nat_and_the_same_subnet_only() -> None:
    how = reach(at("203.0.113.5"), 6881, [Endpoint("192.168.7.2", 6881)])
    lan, seen = Endpoint("192.168.7.2", 6881), Endpoint("203.0.113.5", 6881)
    assert told(how, "203.0.113.5") == [lan, seen]
    assert told(how, "192.168.7.99") == [lan, seen]
    assert told(how, "203.0.113.6") == [seen]
    assert told(how, "192.168.8.99") == [seen]
    assert told(how, "127.0.0.1") == [seen]


def test_an_observed_lan_address_stays_among_those_who_could_dial_it() -> None:
    how = reach(at("10.1.2.3"), 6881, [])
    assert told(how, "10.200.0.1") == [Endpoint("10.1.2.3", 6881)]
    assert told(how, "127.0.0.1") == [Endpoint("10.1.2.3", 6881)]
    assert told(how, "203.0.113.6") == []


def test_loopback_is_for_loopback_only() -> None:
    stated = [Endpoint("127.0.0.1", 7000), Endpoint("::1", 7000)]
    assert told(reach(at("203.0.113.5"), 6881, stated), "127.0.0.1") == [Endpoint("203.0.113.5", 6881)]
    local = reach(at("127.0.0.1"), 6881, stated)
    assert set(told(local, "::1")) == {*stated, Endpoint("127.0.0.1", 6881)}
    assert told(local, "203.0.113.5") == []
    assert told(local, "10.0.0.1") == []


def test_a_stated_public_address_needs_to_be_seen_proven_or_the_trackers_own() -> None:
    mine, other = Endpoint("203.0.113.5", 7000), Endpoint("198.51.100.1", 7000)
    how = reach(at("203.0.113.5"), 6881, [mine, other])
    assert told(how, "192.0.2.1") == [mine, Endpoint("203.0.113.5", 6881)]
    assert how.unproven == (other,)
    how = reach(at("203.0.113.5"), 6881, [other], lambda each: each == other)
    assert other in told(how, "192.0.2.1")
    assert other in told(reach(at("127.0.0.1"), 6881, [other]), "192.0.2.1")
    assert reach(at("192.168.1.5"), 6881, [other]).unproven == (other,)


def test_nonsense_among_stated_addresses_is_skipped() -> None:
    stated = [Endpoint("nonsense", 1), Endpoint("10.0.0.1", 0), Endpoint("10.0.0.1", 70_000)]
    assert reach(at("203.0.113.5"), 6881, stated) == reach(at("203.0.113.5"), 6881, [])
    many = [Endpoint(f"10.0.{n}.1", 1) for n in range(200)]
    assert len(reach(at("203.0.113.5"), 6881, many).near) == 32, "16 addresses, each in two places"


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        (Endpoint("8.8.8.8", 6881), True),
        (Endpoint("2606:4700::1", 6881), True),
        (Endpoint("8.8.8.8", 1023), False),
        (Endpoint("8.8.8.8", 22), False),
        (Endpoint("10.0.0.1", 6881), False),
        (Endpoint("127.0.0.1", 6881), False),
        (Endpoint("203.0.113.5", 6881), False),
        (Endpoint("169.254.169.254", 6881), False),
        (Endpoint("::ffff:10.0.0.1", 6881), False),
        (Endpoint("64:ff9b::a00:1", 6881), False),
        (Endpoint("example.org", 6881), False),
        (Endpoint("8.8.8.8", 70_000), False),
    ],
)
def test_only_global_addresses_and_high_ports_are_dialled_back(where: Endpoint, allowed: bool) -> None:
    assert may_dial(where) is allowed
