"""When certificates are asked for again, whatever the clocks do, and what is not believed of a tracker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.certificates import Certificates
from p2pckpt.access.pool import Trackers
from p2pckpt.errors import TrackerUnreachable, VerificationFailed
from p2pckpt_tracker.certificates import issue, new_authority

SHARE = bytes(32)
DAY = 24 * 3600


class Tracker:
    """Issues for a day, from a clock of its own that nobody else shares."""

    def __init__(self) -> None:
        self.generation = 1
        self.asked = 0
        self.away = False
        self.spoil = False

    async def certificate(self, share_id: str, public_key: bytes) -> tp.CertificateReply:
        self.asked += 1
        if self.away:
            raise TrackerUnreachable("away")
        authority = new_authority(share_id, self.generation, 10**9)
        given = issue(authority, public_key, "ab" * 32, "name", 10**9, 10**9 + DAY)
        other = new_authority(share_id, self.generation, 10**9).certificate
        shown = other if self.spoil else authority.certificate
        return tp.CertificateReply(given, shown, self.generation, 10**9, 10**9 + DAY)


class Clocks:
    wall = 5e9
    monotonic = 100.0


@pytest.fixture
def tracker() -> Tracker:
    return Tracker()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def certificates(tracker: Tracker, clocks: Clocks) -> Certificates:
    trackers: Any = SimpleNamespace(client=lambda text: tracker)
    return Certificates(cast(Trackers, trackers), lambda: clocks.wall, lambda: clocks.monotonic)


@pytest.mark.parametrize(
    ("wall", "monotonic", "again"),
    [
        (DAY * 0.4, DAY * 0.4, False),
        (DAY * 0.6, DAY * 0.6, True),
        (DAY * 0.6, 0, True),  # the machine slept, or the clock was set forward
        (-DAY * 9, DAY * 0.4, False),  # set back
        (-DAY * 9, DAY * 0.6, True),
    ],
)
async def test_half_of_a_life_by_either_clock(
    certificates: Certificates, tracker: Tracker, clocks: Clocks, wall: float, monotonic: float, again: bool
) -> None:
    first = await certificates.get(SHARE, "t")
    clocks.wall += wall
    clocks.monotonic += monotonic
    assert (await certificates.get(SHARE, "t") != first) is again
    assert tracker.asked == 1 + again


async def test_a_tracker_that_is_away_takes_nothing(
    certificates: Certificates, tracker: Tracker, clocks: Clocks
) -> None:
    first = await certificates.get(SHARE, "t")
    clocks.wall += DAY
    tracker.away = True
    with pytest.raises(TrackerUnreachable):
        await certificates.get(SHARE, "t")
    assert certificates.held(SHARE) == first


async def test_a_replaced_authority_voids_what_is_held(certificates: Certificates, tracker: Tracker) -> None:
    first = await certificates.get(SHARE, "t")
    assert not certificates.outdate(SHARE, 1)
    assert certificates.outdate(SHARE, 2)
    assert certificates.held(SHARE) is None
    tracker.generation = 2
    second = await certificates.get(SHARE, "t")
    assert second.generation == 2
    assert second.key != first.key
    assert "PRIVATE" not in repr(second)


async def test_a_certificate_that_its_authority_did_not_give_is_refused(
    certificates: Certificates, tracker: Tracker
) -> None:
    tracker.spoil = True
    with pytest.raises(VerificationFailed):
        await certificates.get(SHARE, "t")
    assert certificates.held(SHARE) is None
