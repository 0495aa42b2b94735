"""The list of bans: what an address may be, that it survives, and what happens to one that can't be read."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest

from p2pckpt.control.health_messages import BanRequest
from p2pckpt.daemon.bans import Bans, parse
from p2pckpt.errors import BadUsage, NotFound, P2pckptError
from p2pckpt.swarm.engine import IpNetwork
from tests.support.homes import failure


class Told:
    """What the engine was told last."""

    def __init__(self) -> None:
        self.networks: list[IpNetwork] | None = None

    def __call__(self, networks: object) -> None:
        self.networks = list(networks)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        (" 192.0.2.7:6881 ", "192.0.2.7/32"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("2001:db8::7", "2001:db8::7/128"),
        ("[2001:db8::7]:6881", "2001:db8::7/128"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_an_address_is_written_in_many_ways(text: str, network: str) -> None:
    assert parse(text) == ip_network(network)


@pytest.mark.parametrize(
    "text", ["", "alice", "300.1.1.1", "0.0.0.0/0", "::/0", "10.0.0.0/7", "1.2.3.4:5:6", "\x1b[2J"]
)
def test_what_is_no_address_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(BadUsage):
        parse(text)


async def test_bans_that_change_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    told = Told()
    bans = Bans(tmp_path / "bans.json", told)
    addresses = [f"192.0.2.{number}" for number in range(8)]
    await asyncio.gather(*(bans.add(BanRequest(address)) for address in addresses))
    assert sorted(row.network for row in bans.rows()) == addresses
    await asyncio.gather(bans.add(BanRequest("192.0.2.9")), bans.remove("192.0.2.0"), bans.remove("192.0.2.1"))
    again = Bans(tmp_path / "bans.json", told)
    again.load()
    assert sorted(row.network for row in again.rows()) == [*addresses[2:], "192.0.2.9"]
    assert told.networks is not None and len(told.networks) == 7


async def test_bans_survive_and_are_taken_back(tmp_path: Path) -> None:
    told, again = Told(), Told()
    bans = Bans(tmp_path / "bans.json", told)
    bans.load()
    assert told.networks is None
    row = await bans.add(BanRequest("192.0.2.7:6881", "sends nonsense"))
    assert (row.network, row.note) == ("192.0.2.7", "sends nonsense")
    await bans.add(BanRequest("10.1.0.0/16"))
    assert await bans.add(BanRequest("192.0.2.7", "again")) == row
    assert told.networks == [ip_network("192.0.2.7/32"), ip_network("10.1.0.0/16")]
    assert (tmp_path / "bans.json").stat().st_mode & 0o777 == 0o600

    later = Bans(tmp_path / "bans.json", again)
    later.load()
    assert again.networks == told.networks
    assert {each.network for each in later.rows()} == {"192.0.2.7", "10.1.0.0/16"}
    await later.remove("192.0.2.7")
    assert again.networks == [ip_network("10.1.0.0/16")]
    assert isinstance(await failure(later.remove("192.0.2.7")), NotFound)


async def test_a_list_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "bans.json").write_bytes(b"{")
    told = Told()
    bans = Bans(tmp_path / "bans.json", told)
    bans.load()
    assert (told.networks, bans.rows()) == ([], ())
    assert (tmp_path / "bans.unreadable").read_bytes() == b"{"


async def test_a_ban_that_cannot_be_kept_is_none(tmp_path: Path) -> None:
    told = Told()
    bans = Bans(tmp_path / "nowhere" / "bans.json", told)
    error = await failure(bans.add(BanRequest("192.0.2.7")))
    assert isinstance(error, P2pckptError)
    assert error.kept == "the bans as they were"
    assert (told.networks, bans.rows()) == (None, ())
