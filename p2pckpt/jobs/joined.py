"""One torrent that this machine takes part in, as the parts that look after it know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.errors import NotFound, P2pckptError
from p2pckpt.swarm.engine import TlsCredentials
from p2pckpt.swarm.torrent import Torrent

NO_LONGER: Final = "your access to this share was taken away"


def why(refusal: P2pckptError) -> str:
    """A tracker's refusal for people: it shows to who may not see a share that there is none."""
    return NO_LONGER if isinstance(refusal, NotFound) else refusal.fact


@dataclass(slots=True)
class Joined:
    """Lives while any job needs the torrent."""

    torrent: Torrent
    share_id: bytes
    tracker: str
    wanted: dict[str, Mapping[int, set[int]]] = field(default_factory=dict)
    """By job."""
    left: dict[str, int] = field(default_factory=dict)
    have: tuple[PieceSet, ...] = ()
    """By file, what the engine was told is here."""
    arrived: dict[int, PieceSet] = field(default_factory=dict)
    """By file, what came since."""
    tls: TlsCredentials | None = None
    """What it is in the engine with; None for plain connections."""
    in_engine: bool = False
    """False while a certificate is waited for, or once access was taken away."""
    problem: bool = False
    """The engine stopped it, and lost what was not written yet."""
    complete: bool = False
    announced: bool = False
    was_leech: bool = False
    seeds: int = 0
    leechers: int = 0
    failure: str = ""

    def rewant(self, job: str, wanted: Mapping[int, set[int]]) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
        """What ``job`` wants from now on. Returns (what it did not want before, what nobody wants any more)."""
        before, self.wanted[job] = self.wanted[job], wanted
        others = [theirs for other, theirs in self.wanted.items() if other != job]
        return _without(wanted, before), _without(before, wanted, *others)

    def wanted_by_any(self) -> dict[int, set[int]]:
        """By file."""
        union: dict[int, set[int]] = {}
        for wanted in self.wanted.values():
            for file, pieces in wanted.items():
                union.setdefault(file, set()).update(pieces)
        return union

    @property
    def other_seeds(self) -> int:
        """As of the last announce, this machine not counted."""
        is_seed = self.announced and not self.was_leech
        return max(0, self.seeds - is_seed)


def _without(wanted: Mapping[int, set[int]], *others: Mapping[int, set[int]]) -> dict[int, set[int]]:
    """By file, what none of the others wants."""
    return {
        file: {piece for piece in pieces if not any(piece in other.get(file, ()) for other in others)}
        for file, pieces in wanted.items()
    }
