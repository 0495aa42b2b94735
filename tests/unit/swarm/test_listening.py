"""Two ports on every address, and which of them a router mapped."""

from __future__ import annotations

import pytest

from p2pckpt.errors import P2pckptError
from p2pckpt.swarm.listening import Listening
from p2pckpt.tracker_protocol import Endpoint


def test_every_address_has_both_ports_the_plain_ones_first() -> None:
    listening = Listening(["127.0.0.1", "::1"], 1001, 1002)
    assert listening.interfaces == "127.0.0.1:1001,[::1]:1001,127.0.0.1:1002s,[::1]:1002s"


async def test_ports_are_chosen_once_and_differ() -> None:
    listening = Listening(["127.0.0.1"], 0, 0)
    listening.choose()
    assert 0 < listening.port != listening.tls_port > 0


async def test_both_ports_must_be_listened_on_somewhere() -> None:
    listening = Listening(["127.0.0.1"], 1001, 1002)
    listening.choose()
    listening.report(tls=True, error="taken")
    listening.report(tls=False, error="")
    with pytest.raises(P2pckptError, match="taken") as raised:
        await listening.wait()
    assert "tls_port" in raised.value.next_step


async def test_one_address_that_works_is_enough() -> None:
    listening = Listening(["127.0.0.1", "::1"], 1001, 1002)
    listening.choose()
    for tls in (False, True):
        listening.report(tls=tls, error="no such address")
        listening.report(tls=tls, error="")
    await listening.wait()


@pytest.mark.parametrize(
    ("external", "plain", "tls"),
    [
        ((), None, None),
        ((1001, 1002), 1001, 1002),
        ((1002,), None, 1002),
        ((1002, 1001), 1001, 1002),
        ((40_001, 40_002), 40_001, 40_002),
        ((1001, 40_002), 1001, 40_002),
    ],
)
def test_a_mapped_port_is_told_by_its_number_or_else_by_its_turn(
    external: tuple[int, ...], plain: int | None, tls: int | None
) -> None:
    listening = Listening(["192.168.1.7"], 1001, 1002)
    for port in external:
        listening.mapped_port(port)
    assert listening.mapped(tls=False) is None
    listening.seen_as("198.51.100.1")
    expected = [port and Endpoint("198.51.100.1", port) for port in (plain, tls)]
    assert [listening.mapped(tls=False), listening.mapped(tls=True)] == expected
