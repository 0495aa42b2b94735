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
