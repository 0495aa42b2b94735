"""Malicious seeds: real libtorrent sessions that hold the true torrent and claim all of it over corrupted files.

libtorrent does not look at pieces that it is told it has, and answers hash requests from the torrent: what such a
seed sends is false, what it says about it is true.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import libtorrent as lt

from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.swarm.active_torrent import FFDHE2048
from p2pckpt.swarm.engine import TlsCredentials

_BLOCK: Final = 16 << 10

Corruption = Callable[[bytearray], None]


def every_block(data: bytearray) -> None:
    for at in range(0, len(data), _BLOCK):
        data[at] ^= 0xFF


def one_bit_a_piece(data: bytearray) -> None:
    for at in range(0, len(data), PIECE_LENGTH):
        data[min(at + PIECE_LENGTH, len(data)) - 1] ^= 1


def nothing(data: bytearray) -> None:
    """The files are as they should be."""


@dataclass(frozen=True)
class Kind:
    """What is wrong with a seed."""

    objects: Corruption = nothing
    manifest: Corruption = nothing

    @property
    def lies(self) -> bool:
        """Whether a receiver of objects gets false data from it."""
        return self.objects is not nothing


HONEST: Final = Kind()
EVERY_BLOCK: Final = Kind(objects=every_block, manifest=every_block)
ONE_BIT: Final = Kind(objects=one_bit_a_piece)
ONLY_MANIFEST: Final = Kind(manifest=every_block)


class Liar:
    """A malicious seed on an address of its own. ``files``: name in the torrent → true bytes.

    With ``tls`` it is a member, and somebody else announces it; else it does so at ``announce_url``.
    """

    def __init__(
        self,
        directory: Path,
        address: str,
        kind: Kind,
        torrent: bytes,
        files: dict[str, bytes],
        *,
        announce_url: str = "",
        tls: TlsCredentials | None = None,
    ) -> None:
        self.address = address
        self.kind = kind
        self._session = lt.session(
            {
                "listen_interfaces": f"{address}:0,{address}:0s",
                "outgoing_interfaces": address,
                "enable_dht": False,
                "enable_lsd": False,
                "enable_upnp": False,
                "enable_natpmp": False,
                "enable_incoming_utp": False,
                "enable_outgoing_utp": False,
                "allow_multiple_connections_per_ip": True,
                "min_reconnect_time": 1,
                "stop_tracker_timeout": 1,
                "alert_mask": lt.alert.category_t.tracker_notification,
            }
        )
        parameters = lt.load_torrent_buffer(torrent)
        assert parameters.ti is not None
        for name, data in files.items():
            bad = bytearray(data)
            (kind.manifest if name.startswith("manifest") else kind.objects)(bad)
            path = directory / parameters.ti.name() / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bad)
        parameters.save_path = str(directory)
        parameters.trackers = [announce_url] if announce_url else []
        parameters.have_pieces = [True] * parameters.ti.num_pieces()
        parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        if tls is not None:
            parameters.root_certificate = tls.authority
            parameters.flags |= lt.torrent_flags.paused
        self._handle = self._session.add_torrent(parameters)
        if tls is not None:
            self._handle.set_ssl_certificate_buffer(tls.certificate, tls.key, FFDHE2048)
            self._handle.resume()
        self._announced = False

    @property
    def tls_port(self) -> int:
        return int(self._session.ssl_listen_port())

    @property
    def sent(self) -> int:
        """Payload bytes."""
        return int(self._handle.status().total_payload_upload)

    async def announced(self) -> bool:
        """Whether the tracker has taken its announce; to be waited for."""
        for alert in self._session.pop_alerts():
            assert not isinstance(alert, lt.tracker_error_alert), alert.message()
            self._announced = self._announced or isinstance(alert, lt.tracker_reply_alert)
        return self._announced

    def close(self) -> None:
        self._session.remove_torrent(self._handle)
        ending: list[Any] = [self._session]
        del self._session
        with contextlib.suppress(RuntimeError):
            ending.pop().pause()
