from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from unittest.mock import patch

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.access import addresses
from p2pckpt.access.addresses import endpoints, listening_addresses, machine_addresses
from p2pckpt.tracker_protocol import MAX_ADDRESSES, Endpoint


class _Stats(NamedTuple):
    isup: bool


class _Address(NamedTuple):
    family: int
    address: str


V4, V6 = socket.AF_INET, socket.AF_INET6
INTERFACES: dict[str, list[tuple[int, str]]] = {
    "lo": [(V4, "127.0.0.1"), (V6, "::1")],
    "eth0": [(V4, "192.168.1.7"), (V6, "fe80::1%eth0"), (V6, "2001:4860::7"), (psutil.AF_LINK, "00:11:22:33:44:55")],
    "wlan0": [(V4, "10.0.0.9")],
    "wan": [(V4, "8.8.4.4")],
    "docker0": [(V4, "172.17.0.1")],
    "veth12ab": [(V4, "172.18.0.1")],
    "br-0a1b": [(V4, "172.19.0.1")],
    "down": [(V4, "192.168.9.9")],
    "empty": [(V4, "0.0.0.0")],
    "auto": [(V4, "169.254.3.4")],
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with all kinds of interfaces, in an order of its own."""

    def stats() -> Mapping[str, _Stats]:
        return {name: _Stats(name != "down") for name in INTERFACES}

    def listed() -> Mapping[str, Sequence[_Address]]:
        return {name: [_Address(*entry) for entry in entries] for name, entries in INTERFACES.items()}

    monkeypatch.setattr(psutil, "net_if_stats", stats)
    monkeypatch.setattr(psutil, "net_if_addrs", listed)


@pytest.mark.usefixtures("machine")
def test_addresses_come_farthest_reaching_first_and_only_those_that_others_can_use() -> None:
    assert machine_addresses() == ["8.8.4.4", "2001:4860::7", "10.0.0.9", "192.168.1.7", "127.0.0.1", "::1"]


def test_this_machine_has_loopback_last() -> None:
    found = machine_addresses()
    assert "127.0.0.1" in found
    loopbacks = [ipaddress.ip_address(address).is_loopback for address in found]
    assert loopbacks == sorted(loopbacks)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("listen", ["", "::", "0.0.0.0", "192.168.1.7", "2001:4860::7", "127.0.0.1"])
def test_who_listens_on_everything_answers_on_every_address(listen: str) -> None:
    everything = machine_addresses()
    expected = {"": everything, "::": everything, "0.0.0.0": [a for a in everything if ":" not in a]}
    assert listening_addresses(listen) == expected.get(listen, [listen])


@pytest.mark.usefixtures("machine")
def test_stated_and_mapped_addresses_come_before_the_machines_own() -> None:
    found = endpoints("0.0.0.0", 6881, "203.0.113.5", Endpoint("198.51.100.1", 40_000))
    assert found[:2] == [Endpoint("203.0.113.5", 6881), Endpoint("198.51.100.1", 40_000)]
    assert found[2:] == [Endpoint(a, 6881) for a in ("8.8.4.4", "10.0.0.9", "192.168.1.7", "127.0.0.1")]


PUBLIC = {
    "": [],
    "203.0.113.5": [Endpoint("203.0.113.5", 6881)],
    "203.0.113.5:70": [Endpoint("203.0.113.5", 70)],
    "2001:db8::5": [Endpoint("2001:db8::5", 6881)],
    "[2001:db8::5]": [Endpoint("2001:db8::5", 6881)],
    "[2001:db8::5]:70": [Endpoint("2001:db8::5", 70)],
    "127.0.0.1:": [Endpoint("127.0.0.1", 6881)],
}


@pytest.mark.parametrize("public", PUBLIC)
def test_a_stated_address_may_have_a_port_of_its_own(public: str) -> None:
    assert endpoints("127.0.0.2", 6881, public, None) == [*PUBLIC[public], Endpoint("127.0.0.2", 6881)]


@pytest.mark.parametrize(
    "public",
    ["203.0.113.5:port", "203.0.113.5:70000", "203.0.113.5:-1", "x" * 300, "a..b", "[::1", ":", "\0", "[]:5"],
    ids=lambda public: ascii(public[:20]),
)
def test_a_stated_address_that_is_none_is_left_out(public: str) -> None:
    assert endpoints("127.0.0.2", 6881, public, None) == [Endpoint("127.0.0.2", 6881)]


def test_a_name_stands_for_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: None, **options: object) -> list[object]:
        assert host == "gateway.example"
        return [(V4, 1, 6, "", ("198.51.100.7", 0)), (V6, 1, 6, "", ("2001:db8::7", 0, 0, 0))] * 2

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found = endpoints("127.0.0.2", 6881, "gateway.example:70", None)
    assert found == [Endpoint("198.51.100.7", 70), Endpoint("2001:db8::7", 70), Endpoint("127.0.0.2", 6881)]


def test_a_port_for_tls_takes_the_place_of_the_one_that_was_stated() -> None:
    found = endpoints("127.0.0.2", 6882, "203.0.113.5:70", Endpoint("198.51.100.1", 40_000), public_port=71)
    assert found == [Endpoint("203.0.113.5", 71), Endpoint("198.51.100.1", 40_000), Endpoint("127.0.0.2", 6882)]


def test_no_address_is_told_twice() -> None:
    found = endpoints("127.0.0.1", 6881, "127.0.0.1", Endpoint("127.0.0.1", 6881))
    assert found == [Endpoint("127.0.0.1", 6881)]


def test_no_more_are_told_than_a_tracker_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "machine_addresses", lambda: [f"10.0.0.{number}" for number in range(100)])
    found = endpoints("", 6881, "203.0.113.5", None)
    assert len(found) == MAX_ADDRESSES
    assert found[0] == Endpoint("203.0.113.5", 6881)


def _only_literals(host: str) -> list[str]:
    """Asks no name server, whatever a test makes up."""
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)]
    except (OSError, ValueError):
        return []


@given(st.text(alphabet="0123456789.:[]ab%/ \0é", max_size=40))
def test_whatever_is_stated_what_is_told_are_addresses_with_ports(public: str) -> None:
    with patch.object(addresses, "_resolve", _only_literals):
        for endpoint in endpoints("127.0.0.2", 6881, public, None):
            ipaddress.ip_address(endpoint.host.partition("%")[0])
            assert 0 < endpoint.port < 1 << 16
