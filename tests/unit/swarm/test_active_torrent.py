"""What one torrent knows without libtorrent."""

from __future__ import annotations

import pytest

from p2pckpt.swarm.active_torrent import ActiveTorrent


@pytest.mark.parametrize(
    ("alerts", "answered"),
    [
        ("w", [1]),
        ("ww", [1, 1]),
        ("www", [1, 1, 0]),  # nobody asked for the third
        ("fw", [0, 0]),  # the one that was written may be the flush that comes with finishing
        ("fww", [0, 0, 1]),
        ("wfw", [1, 0, 0]),
        ("wfww", [1, 0, 0, 1]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_flush_is_answered_only_when_no_other_can_have_been_meant(alerts: str, answered: list[int]) -> None:
    torrent = ActiveTorrent(private=True, first_piece=(0,), locate=((0, 0),))
    torrent.asked = 2
    assert [torrent.answers(finished=alert == "f") for alert in alerts] == answered
