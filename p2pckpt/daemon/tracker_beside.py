"""The tracker beside the daemon: a process of its own, started when first needed, found again after a crash.

A tracker in our own process would deadlock with libtorrent at shutdown and share its fate; as a process it survives
the daemon, and the next daemon adopts it by its ready file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import signal
import ssl
from pathlib import Path
from typing import Final

import msgspec
import structlog

from p2pckpt import atomic
from p2pckpt.access.addresses import listening_addresses
from p2pckpt.access.client import TrackerClient
from p2pckpt.access.pool import Trackers
from p2pckpt.config import Config
from p2pckpt.daemon.beside import START_DEADLINE, complaint, is_alive, last_port, start
from p2pckpt.errors import P2pckptError
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.links import TrackerAddress

_log = structlog.get_logger(__name__)
_LOOK: Final = 1.0
"""Seconds between two looks at whether the tracker lives."""


class _Ready(msgspec.Struct):
    """What the tracker writes once it listens."""

    api_port: int
    certificate_sha256: str
    pid: int
    announce_port: int = 0
    """Where stock clients announce; 0 when nobody can."""


class TrackerBeside:
    """Starts or adopts the tracker, and tells ``Trackers`` where it is."""

    def __init__(self, config: Config, identity: Identity, trackers: Trackers) -> None:
        self._config = config
        self._identity = identity
        self._trackers = trackers
        self._lock = asyncio.Lock()
        self._pid = 0
        self._announces = False
        """Whether the tracker running now takes announces of stock clients."""
        self._public = False
        """Whether it has to."""

    @property
    def running(self) -> bool:
        return self._pid != 0

    def is_named_by(self, address: TrackerAddress) -> bool:
        """Whether a link leads to this tracker, running or not: it has kept its certificate."""
        try:
            certificate = ssl.PEM_cert_to_DER_cert((self._config.tracker_dir / "tls.pem").read_text())
        except (OSError, ValueError):
            return False
        return hashlib.sha256(certificate).digest() == address.certificate

    async def ensure(self, *, public: bool = False) -> None:
        """Return once the tracker answers. Raises ``P2pckptError`` with the end of its log when it does not start.

        With ``public`` it takes announces of stock clients from now on: one that does not is started again.
        """
        async with self._lock:
            self._public = self._public or public
            if not self._pid:
                previous = self._read()
                if previous is not None and await self._answers(previous):
                    self._adopt(previous)
            if self._pid and self._public and not self._announces:
                await self.stop()
            if not self._pid:
                self._adopt(await self._start())

    async def watch(self) -> None:
        """Start the tracker again whenever it has died, for ever."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._pid and not await asyncio.to_thread(is_alive, self._pid):
                _log.warning("the tracker beside the daemon died, starting it again", pid=self._pid)
                try:
                    async with self._lock:
                        if self._pid and not is_alive(self._pid):
                            self._adopt(await self._start())
                except P2pckptError as exc:
                    _log.warning("the tracker did not start again", reason=exc.fact)

    async def stop(self) -> None:
        """End the tracker, whichever daemon started it."""
        if not self._pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
            async with asyncio.timeout(10):
                while is_alive(self._pid):  # noqa: ASYNC110 - another daemon's child has no other sign of its end
                    await asyncio.sleep(0.05)
        self._pid = 0

    @property
    def _ready_file(self) -> Path:
        return self._config.tracker_dir / "ready.json"

    @property
    def _port_file(self) -> Path:
        return self._config.tracker_dir / "port"

    @property
    def _announce_port_file(self) -> Path:
        return self._config.tracker_dir / "announce_port"

    @property
    def _log_file(self) -> Path:
        return self._config.state_dir / "tracker.log"

    def _read(self) -> _Ready | None:
        try:
            return msgspec.json.decode(self._ready_file.read_bytes(), type=_Ready)
        except (OSError, msgspec.MsgspecError):
            return None

    def _ready_of(self, pid: int) -> _Ready | None:
        ready = self._read()
        return ready if ready is not None and ready.pid == pid else None

    def _local(self, ready: _Ready) -> TrackerAddress:
        listen = self._config.text("tracker_listen")
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen, listen)
        return TrackerAddress((f"{host}:{ready.api_port}",), bytes.fromhex(ready.certificate_sha256))

    def _address(self, ready: _Ready) -> TrackerAddress:
        """Addresses for links: the configured one, then this machine's own; loopback only when there is no other."""
        listen, public = self._config.text("tracker_listen"), self._config.text("public_address")
        addresses = listening_addresses(listen)
        reachable = [a for a in addresses if not a.startswith("127.") and a != "::1"] or addresses
        hosts = [f"[{a}]" if ":" in a else a for a in ([public] if public else []) + reachable[:3]]
        return TrackerAddress(
            tuple(dict.fromkeys(f"{host}:{ready.api_port}" for host in hosts)), bytes.fromhex(ready.certificate_sha256)
        )

    def _adopt(self, ready: _Ready) -> None:
        self._pid, self._announces = ready.pid, ready.announce_port != 0
        self._trackers.set_beside(self._local(ready), self._address(ready))

    async def _answers(self, ready: _Ready) -> bool:
        if not is_alive(ready.pid):
            return False
        client = TrackerClient(self._local(ready), self._identity, "")
        try:
            await client.connect()
        except P2pckptError:
            return False
        finally:
            await client.close()
        return True

    async def _start(self) -> _Ready:
        config = self._config
        config.tracker_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._in_use():
            ready = await self._orphan()
        else:
            self._ready_file.unlink(missing_ok=True)
            ready = await self._spawn_somewhere()
        atomic.write(self._port_file, str(ready.api_port).encode())
        if ready.announce_port:
            atomic.write(self._announce_port_file, str(ready.announce_port).encode())
        return ready

    async def _spawn_somewhere(self) -> _Ready:
        """On the ports that links and magnets name; where those are taken and nobody configured them, on others."""
        api, announces = self._config.number("tracker_port"), self._config.number("announce_port")
        last = (api or last_port(self._port_file), announces or last_port(self._announce_port_file))
        choices = list(dict.fromkeys([last, (last[0], announces), (api, announces)]))
        for ports in choices[:-1]:
            try:
                return await self._spawn(*ports)
            except P2pckptError:
                _log.warning("a port of the tracker is taken, using another: what names it stops working", ports=ports)
        return await self._spawn(*choices[-1])

    def _in_use(self) -> bool:
        """Whether a tracker runs on the directory, ready or not: it holds this lock."""
        try:
            lock = os.open(self._config.tracker_dir / "tracker.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    async def _orphan(self) -> _Ready:
        """The tracker that another daemon started and did not live to see ready, once it is."""
        deadline = asyncio.get_running_loop().time() + START_DEADLINE
        while asyncio.get_running_loop().time() < deadline:
            ready = self._read()
            if ready is not None and await self._answers(ready):
                return ready
            await asyncio.sleep(0.05)
        raise P2pckptError(
            f"a tracker runs on {self._config.tracker_dir} and does not answer", next_step=f"see {self._log_file}"
        )

    async def _spawn(self, port: int, announce_port: int) -> _Ready:
        config = self._config
        listen = config.text("tracker_listen")
        host = f"[{listen}]" if ":" in listen else listen
        process, ready = await start(
            "p2pckpt_tracker.main",
            [
                "serve",
                "--data", str(config.tracker_dir),
                "--listen", f"{host}:{port}",
                "--announce-listen", f"{host}:{announce_port}" if self._public else "",
                "--new-shares", "listed",
                "--owner", self._identity.hex,
                "--ready-file", str(self._ready_file),
            ],
            self._log_file,
            self._ready_of,
        )  # fmt: skip
        if ready is not None:
            return ready
        if process.returncode is not None and self._in_use():
            return await self._orphan()
        raise P2pckptError(f"the tracker did not start: {complaint(self._log_file)}", next_step=f"see {self._log_file}")
