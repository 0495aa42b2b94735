"""A job's limit, divided among its torrents."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from p2pckpt.jobs.job_limits import JobLimits, parts
from p2pckpt.swarm.engine import TorrentStats

A, B, C = b"a", b"b", b"c"


class Bench:
    """Torrents of jobs, and what the engine was told."""

    def __init__(self, **torrents: dict[str, int]) -> None:
        """Info hash → bytes that each of its jobs still wants."""
        self.joined: dict[bytes, Any] = {
            name.encode(): SimpleNamespace(wanted={job: {} for job in left}, left=left, in_engine=True)
            for name, left in torrents.items()
        }
        self.told: dict[bytes, tuple[int, int]] = {}
        self.calls = 0
        self.limits = JobLimits(self, self.joined)  # type: ignore[arg-type]

    def limit_torrent(self, info_hash: bytes, down: int, up: int) -> None:
        self.told[info_hash] = down, up
        self.calls += 1


def moving(down: int, up: int) -> TorrentStats:
    return TorrentStats(rate_down=down, rate_up=up, downloaded=0, uploaded=0, peers=1, seeds=1)


@pytest.mark.parametrize("rates", [[0], [0, 0, 0], [5000, 0, 0], [5000, 5000], [1, 2, 3], [9999, 1, 0, 0]])
def test_the_parts_add_up_to_the_limit(rates: list[int]) -> None:
    found = parts(10_000, rates)
    assert 10_000 - len(rates) <= sum(found) <= 10_000
    assert min(found) >= 10_000 // len(rates) // 20


def test_who_moves_gets_what_the_idle_leave() -> None:
    assert parts(10_000, [9000, 0]) == [9750, 250]
    assert parts(10_000, [0, 0]) == [5000, 5000]
    assert parts(10_000, [1000, 0]) == [5875, 4125]
    assert parts(10_000, [5000, 5000]) == [5000, 5000]


def test_a_part_is_never_none() -> None:
    assert parts(1, [0, 0, 0]) == [1, 1, 1]
    assert parts(0, [5, 5]) == [0, 0]
    assert parts(5, []) == []


def test_one_torrent_has_the_whole_limit() -> None:
    bench = Bench(a={"j1": 5})
    bench.limits.set("j1", 1000, 0)
    bench.limits.share_out({})
    bench.limits.share_out({A: moving(900, 0)})
    assert (bench.told, bench.calls) == ({A: (1000, 0)}, 1)


def test_only_torrents_that_still_receive_share_in_what_may_be_received() -> None:
    bench = Bench(a={"j1": 5}, b={"j1": 0})
    bench.limits.set("j1", 1000, 400)
    bench.limits.share_out({})
    assert bench.told == {A: (1000, 200), B: (1000, 200)}


def test_a_torrent_of_several_jobs_goes_by_the_strictest() -> None:
    bench = Bench(a={"j1": 5, "j2": 5, "j3": 5}, b={"j3": 5})
    bench.limits.set("j1", 1000, 0)
    bench.limits.set("j2", 3000, 70)
    bench.limits.share_out({})
    assert bench.told == {A: (1000, 70)}
    bench.limits.set("j1", 0, 0)
    bench.limits.share_out({})
    assert bench.told == {A: (3000, 70)}
    bench.limits.set("j2", 0, 0)
    bench.limits.share_out({})
    assert bench.told == {A: (0, 0)}


def test_a_torrent_that_comes_back_is_told_again() -> None:
    bench = Bench(a={"j1": 5}, b={"j2": 5})
    bench.limits.set("j1", 1000, 0)
    bench.joined[A].in_engine = False
    bench.limits.share_out({})
    assert bench.told == {}
    bench.joined[A].in_engine = True
    for _ in range(2):
        bench.limits.share_out({}, A)
    assert (bench.told, bench.calls) == ({A: (1000, 0)}, 2)
    bench.limits.share_out({}, B)
    assert bench.calls == 2
