"""Limits of single jobs: what a job may move is divided among the torrents that carry its version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from p2pckpt.jobs.joined import Joined
from p2pckpt.swarm.engine import Engine, TorrentStats

_IDLE_PART: Final = 20
"""A torrent that moves nothing keeps an equal part divided by this, to start with."""


class JobLimits:
    """Knows the limit of each job and tells the engine what each torrent may move.

    The limit of a job is never exceeded. A torrent that several jobs need goes by the strictest of them.
    """

    def __init__(self, engine: Engine, joined: Mapping[bytes, Joined]) -> None:
        self._engine = engine
        self._joined = joined
        self._limits: dict[str, tuple[int, int]] = {}
        self._told: dict[bytes, tuple[int, int]] = {}

    def set(self, job: str, down: int, up: int) -> None:
        """Bytes per second; 0 for none. Counts from the next ``share_out`` on."""
        self._limits.pop(job, None)
        if down or up:
            self._limits[job] = down, up

    def share_out(self, stats: Mapping[bytes, TorrentStats], entered: bytes = b"") -> None:
        """Divide anew, by what moves at present; ``entered`` is new in the engine and knows of no limit yet."""
        self._told.pop(entered, None)
        if not self._limits and not self._told:
            return
        torrents: dict[str, list[bytes]] = {job: [] for job in self._limits}
        for info_hash, joined in self._joined.items():
            for job in joined.wanted if joined.in_engine else ():
                if job in torrents:
                    torrents[job].append(info_hash)
        found: dict[bytes, tuple[int, int]] = {}
        for job, (down, up) in self._limits.items():
            mine = torrents[job]
            receiving = [info_hash for info_hash in mine if any(self._joined[info_hash].left.values())]
            downs = dict.fromkeys(mine, down) | _divided(down, receiving, [_rates(stats, h)[0] for h in receiving])
            ups = _divided(up, mine, [_rates(stats, info_hash)[1] for info_hash in mine])
            for info_hash in mine:
                before = found.get(info_hash, (0, 0))
                found[info_hash] = _stricter(before[0], downs[info_hash]), _stricter(before[1], ups[info_hash])
        for info_hash in self._told.keys() | found.keys():
            limits = found.get(info_hash, (0, 0))
            if limits != self._told.get(info_hash, (0, 0)):
                self._engine.limit_torrent(info_hash, *limits)
        self._told = found


def parts(limit: int, rates: Sequence[int]) -> list[int]:
    """``limit`` divided among torrents that move ``rates`` now: each may double, an idle one may begin.

    The parts add up to the limit, or to one each where it is smaller than that.
    """
    if not limit or not rates:
        return [0] * len(rates)
    floor = limit / len(rates) / _IDLE_PART
    asked = [max(floor, 2.0 * rate) for rate in rates]
    spare, more = limit - floor * len(rates), sum(asked) - floor * len(rates)
    if more > spare:
        asked = [floor + (each - floor) * spare / more for each in asked]
    else:
        asked = [each + (limit - sum(asked)) / len(asked) for each in asked]
    return [max(1, int(each)) for each in asked]


def _divided(limit: int, torrents: list[bytes], rates: list[int]) -> dict[bytes, int]:
    return dict(zip(torrents, parts(limit, rates), strict=True))


def _rates(stats: Mapping[bytes, TorrentStats], info_hash: bytes) -> tuple[int, int]:
    found = stats.get(info_hash)
    return (found.rate_down, found.rate_up) if found is not None else (0, 0)


def _stricter(one: int, other: int) -> int:
    return min(filter(None, (one, other)), default=0)
