"""A stock BitTorrent client on this machine: Debian's qbittorrent-nox, driven by its web API."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, Final

import aiohttp

from ...support.debian import install
from ...support.homes import until

_PROGRAM: Final = "qbittorrent-nox"
_SETTINGS: Final = """
[LegalNotice]
Accepted=true

[BitTorrent]
Session\\Port={peer_port}
Session\\Interface=lo
Session\\InterfaceName=lo
Session\\InterfaceAddress=127.0.0.1
Session\\DefaultSavePath={downloads}
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\MultiConnectionsPerIp=true
Session\\QueueingSystemEnabled=false

[Network]
PortForwardingEnabled=false

[Preferences]
General\\Locale=C
WebUI\\Address=127.0.0.1
WebUI\\Port={web_port}
WebUI\\LocalHostAuth=false
WebUI\\UseUPnP=false
"""


class QBittorrent:
    """The client in a directory of its own. Nothing but loopback: no DHT, no local discovery, no port mapping."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.downloads = directory / "downloads"

    async def __aenter__(self) -> QBittorrent:
        config = self._directory / "qBittorrent" / "config" / "qBittorrent.conf"
        config.parent.mkdir(parents=True)
        peer_port, web_port = _free_ports(2)
        config.write_text(_SETTINGS.format(peer_port=peer_port, web_port=web_port, downloads=self.downloads))
        self._log = (self._directory / "log").open("wb")
        self._process = subprocess.Popen(
            [_PROGRAM, f"--profile={self._directory}"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={"HOME": str(self._directory), "PATH": "/usr/bin:/bin"},
        )
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{web_port}")
        await until(self._answers, "the stock client answers")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    async def add(self, magnet: str) -> None:
        """Add a magnet link, as somebody who pastes it."""
        await self._post("torrents/add", urls=magnet)

    async def add_tracker(self, info_hash: str, url: str) -> None:
        await self._post("torrents/addTrackers", hash=info_hash[:40], urls=url)

    async def has(self, info_hash: str) -> bool:
        """Whether the whole torrent is here and was verified; to be waited for."""
        return any(t["infohash_v2"] == info_hash and t["progress"] == 1 for t in await self.torrents())

    async def torrents(self) -> list[dict[str, Any]]:
        async with self._session.get("/api/v2/torrents/info") as answer:
            return list(await answer.json())

    def files(self, name: str) -> dict[str, bytes]:
        """All that it has below the torrent's own directory."""
        top = self.downloads / name
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    async def _post(self, method: str, **fields: str) -> None:
        async with self._session.post(f"/api/v2/{method}", data=fields) as answer:
            assert answer.status == 200, await answer.text()

    async def _answers(self) -> bool:
        assert self._process.poll() is None, (self._directory / "log").read_text()
        try:
            async with self._session.get("/api/v2/app/version") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


def prepare() -> None:
    """Return once the client is installed. Raises ``CannotInstall``."""
    if shutil.which(_PROGRAM) is None:
        install([_PROGRAM], deadline=200)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
