"""One torrent in libtorrent: made of a placement, and from then on what is wanted of it and how it is getting on.

* An SSL torrent connects and announces without a certificate, and is refused, unless it is added paused and resumed
  once it has one. An authority that is given when it is added is no part of the infohash (docs/adr/0010).
* Pieces are wanted by piece priority, never by file priority: a file of priority 0 goes to a part file.
* ``cache_flushed_alert`` does not say whose flush it answers, and a torrent that finishes flushes by itself: alerts
  are counted, one for each call and one for each ``torrent_finished_alert``, in order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import libtorrent as lt

from p2pckpt.errors import P2pckptError
from p2pckpt.swarm.engine import Placement, TlsCredentials
from p2pckpt.swarm.libtorrent_session import rate
from p2pckpt.tracker_protocol import Endpoint

_WANTED: Final = 4
"""libtorrent's usual piece priority; 0 is not wanted."""
_FEW: Final = 256
"""Changes that are told one by one: a list of priorities has all pieces of a torrent, a million for a terabyte."""
_APART_MS: Final = 20
"""Between the deadlines of pieces that are asked for in order: about a piece at 50 MB/s."""
FFDHE2048: Final = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""RFC 7919. libtorrent asks for some; with TLS 1.3 and keys on P-256 they are not used."""


@dataclass(slots=True)
class ActiveTorrent:
    """Known to the alert thread from before libtorrent has it; everything else waits for ``handle``."""

    private: bool
    first_piece: tuple[int, ...]
    """Number of the first piece of each of our files within the torrent."""
    locate: tuple[tuple[int, int], ...]
    """(file, piece within it) by the torrent's piece number; (-1, -1) for padding and for pieces that were here."""
    handle: Any = None
    """libtorrent's; None until ``enter`` is done."""
    wanted: set[int] = field(default_factory=set)
    """Numbers of the pieces that are wanted."""
    hurried: set[int] = field(default_factory=set)
    """Those of them that were given a deadline."""
    since: dict[tuple[str, int], int] = field(default_factory=dict)
    """When peers connected, by address and port. Written by the alert thread alone."""
    problem: bool = False
    """Whether one was told of. Written by the alert thread alone."""
    asked: int = 0
    """Calls of ``flush``."""
    answered: int = 0
    """``Flushed`` events for them."""
    finished: int = 0
    flushed: int = 0
    """Alerts seen."""

    def enter(self, session: Any, params: Any, tls: TlsCredentials | None) -> None:
        """Have libtorrent take what ``prepare`` made. Blocks; raises ``P2pckptError`` when it refuses."""
        try:
            handle = session.add_torrent(params)
            if tls is not None:
                handle.set_ssl_certificate_buffer(tls.certificate, tls.key, FFDHE2048)
                handle.resume()
        except RuntimeError as exc:
            raise P2pckptError(f"libtorrent refuses the torrent: {exc}") from exc
        self.handle = handle

    def renew(self, tls: TlsCredentials) -> None:
        """Show another certificate of the same authority from now on."""
        self.handle.set_ssl_certificate_buffer(tls.certificate, tls.key, FFDHE2048)

    def want(self, pieces: Mapping[int, Iterable[int]]) -> None:
        """Pieces of our files to fetch, replacing what was wanted before."""
        wanted = self._numbers(pieces)
        self._rewant(wanted - self.wanted, self.wanted - wanted)

    def rewant(self, more: Mapping[int, Iterable[int]], fewer: Mapping[int, Iterable[int]]) -> None:
        """The same, told by its difference."""
        self._rewant(self._numbers(more) - self.wanted, self._numbers(fewer) & self.wanted)

    def hurry(self, pieces: Sequence[tuple[int, int]]) -> None:
        """Ask for these (file, piece) first, about in this order."""
        numbers = [self.first_piece[file] + piece for file, piece in pieces]
        # a deadline makes libtorrent want a piece that it does not
        for place, number in enumerate(number for number in numbers if number in self.wanted):
            self.hurried.add(number)
            self.handle.set_piece_deadline(number, place * _APART_MS)

    def connect(self, peers: Iterable[Endpoint]) -> None:
        """Dial these."""
        for peer in peers:
            # an address that libtorrent can't parse is the tracker's mistake, not a reason to stop; Boost.Python's
            # ArgumentError is a TypeError
            with contextlib.suppress(RuntimeError, TypeError, OverflowError):
                # as from a tracker: only then a peer that refused us, because it knew of a new authority later than
                # we did, is tried again
                self.handle.connect_peer((peer.host, peer.port), lt.peer_info.tracker)

    def flush(self) -> None:
        """Have what arrived written; ``answers`` tells when it is."""
        self.asked += 1
        self.handle.flush_cache()

    def answers(self, *, finished: bool) -> int:
        """How many calls of ``flush`` are surely answered by one more alert, and were not before: that something was
        written, or that the torrent finished."""
        if finished:
            self.finished += 1
        else:
            self.flushed += 1
        sure = min(self.asked, self.flushed - self.finished)
        new = max(0, sure - self.answered)
        self.answered += new
        return new

    def limit(self, down: int, up: int) -> None:
        """Bytes per second; 0 for none."""
        self.handle.set_download_limit(rate(down))
        self.handle.set_upload_limit(rate(up))

    def availability(self) -> tuple[bytes, ...]:
        """How many connected peers have each piece, by file. Blocks.

        A torrent that is whole keeps no counts: then there are none.
        """
        found = self.handle.piece_availability()
        try:
            counts = bytes(found)
        except ValueError:  # more peers than a byte counts
            counts = bytes(min(count, 255) for count in found)
        ends = (*self.first_piece[1:], len(self.locate))
        return tuple(counts[first:end] for first, end in zip(self.first_piece, ends, strict=True)) if counts else ()

    def _numbers(self, pieces: Mapping[int, Iterable[int]]) -> set[int]:
        """Of pieces of our files, within the torrent."""
        return {self.first_piece[file] + piece for file, some in pieces.items() for piece in some}

    def _rewant(self, more: set[int], fewer: set[int]) -> None:
        self.wanted -= fewer
        self.wanted |= more
        for number in fewer & self.hurried:
            self.handle.reset_piece_deadline(number)  # else it comes all the same
        self.hurried -= fewer
        if len(more) + len(fewer) <= _FEW:
            for number in more | fewer:
                self.handle.piece_priority(number, _WANTED if number in self.wanted else 0)
            return
        priorities = [0] * len(self.locate)
        for number in self.wanted:
            priorities[number] = _WANTED
        self.handle.prioritize_pieces(priorities)


def prepare(placement: Placement, scratch: Path) -> tuple[Any, ActiveTorrent]:
    """What libtorrent is to be given by ``enter``, and the torrent it will be; ``scratch`` is a directory that stays
    empty.

    Blocks. Raises ``P2pckptError`` for what libtorrent can't read.
    """
    torrent = placement.torrent
    limits: Any = {"max_buffer_size": len(torrent.data) + 1, "max_pieces": 1 << 24, "max_decode_tokens": 1 << 26}
    try:
        params = lt.load_torrent_buffer(torrent.data, limits)
    except RuntimeError as exc:
        raise P2pckptError(f"libtorrent can't read the torrent: {exc}") from exc
    assert params.ti is not None
    files = params.ti.layout()
    real = [i for i in range(files.num_files()) if not files.file_flags(i) & lt.file_flags_t.flag_pad_file]
    real = [i for i in real if files.file_size(i)]
    first = tuple(files.file_offset(i) // files.piece_length() for i in real)
    counts = tuple(-(-file.length // files.piece_length()) for file in torrent.files)
    if len(real) != len(torrent.files):
        raise P2pckptError("libtorrent sees other files in the torrent than p2pckpt does")
    locate: list[tuple[int, int]] = [(-1, -1)] * params.ti.num_pieces()
    have = [False] * params.ti.num_pieces()
    for file, (start, count) in enumerate(zip(first, counts, strict=True)):
        for piece in range(count):
            locate[start + piece] = (file, piece)
        for piece in placement.have[file]:
            have[start + piece] = True
            locate[start + piece] = (-1, -1)
    params.renamed_files = {i: str(path) for i, path in zip(real, placement.paths, strict=True)}
    params.save_path = str(scratch)
    params.have_pieces = have
    params.piece_priorities = [0] * len(have)
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    params.flags |= lt.torrent_flags.duplicate_is_error
    if placement.tls is not None:
        params.root_certificate = placement.tls.authority
        params.flags |= lt.torrent_flags.paused
    if all(have):
        params.flags |= lt.torrent_flags.seed_mode
    return params, ActiveTorrent(torrent.private, first, tuple(locate))
