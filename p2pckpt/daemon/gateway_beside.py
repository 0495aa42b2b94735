"""The gateway for model hubs' clients beside the daemon: a process that runs while the setting ``gateway`` says so.

It has nothing to lose and nothing to keep, so that it ends with the daemon, however that ends: its stdin is a pipe of
ours. What clients know it by stays: the port, and the secret in its address, which is in a file of mode 0600. Where
somebody else has the port, the secret is another one from then on: programs may have told them the old one.
"""

from __future__ import annotations

import asyncio
import secrets
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

import msgspec
import structlog

from p2pckpt import atomic
from p2pckpt.config import Config
from p2pckpt.control.gateway_messages import GatewayRequest, GatewayState
from p2pckpt.control.settings_messages import SetRequest
from p2pckpt.daemon.beside import complaint, last_port, start
from p2pckpt.daemon.live_settings import LiveSettings
from p2pckpt.errors import P2pckptError, disk_error
from p2pckpt.loopback import ADDRESS

_log = structlog.get_logger(__name__)
_MODULE: Final = "p2pckpt.bridges.hub_gateway"
_SECRET_BYTES: Final = 24
_LOOK: Final = 1.0
"""Seconds between two looks at whether it does what the setting says."""
_PAUSE: Final = 30
"""Looks that pass after it did not start."""
_END_DEADLINE: Final = 5.0


class _Ready(msgspec.Struct):
    """What the gateway writes once it listens."""

    port: int
    pid: int


class GatewayBeside:
    """Starts and ends the gateway as ``settings`` say."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._port = 0
        self._endpoint = ""
        self._failure = ""
        self._notice = ""

    @property
    def state(self) -> GatewayState:
        running = self._runs
        return GatewayState(
            on=self._config.flag("gateway"),
            running=running,
            port=self._port or last_port(self._port_file),
            endpoint=self._endpoint if running else "",
            failure=self._failure,
            notice=self._notice,
        )

    async def set(self, request: GatewayRequest) -> GatewayState:
        """Turn it on or off for good. Raises ``P2pckptError`` with the end of its log when it does not start."""
        if request.new_token:
            async with self._lock:
                await self._renew_secret()
                self._notice = ""
                await self._end()
        if self._config.flag("gateway") != request.on:
            await self._settings.set(SetRequest("gateway", request.on))
        await self._settle()
        return self.state

    async def watch(self) -> None:
        """Do what the setting says whenever it changes or the process dies, for ever."""
        while True:
            try:
                await self._settle()
            except P2pckptError as exc:
                _log.warning("the gateway did not start", reason=exc.fact)
                await asyncio.sleep(_PAUSE * _LOOK)
            await asyncio.sleep(_LOOK)

    async def stop(self) -> None:
        """End it with the daemon."""
        async with self._lock:
            await self._end()

    @property
    def _config(self) -> Config:
        return self._settings.config

    @property
    def _directory(self) -> Path:
        return self._config.data_dir / "gateway"

    @property
    def _port_file(self) -> Path:
        return self._directory / "port"

    @property
    def _ready_file(self) -> Path:
        return self._directory / "ready.json"

    @property
    def _secret_file(self) -> Path:
        return self._directory / "secret"

    @property
    def _log_file(self) -> Path:
        return self._config.state_dir / "gateway.log"

    @property
    def _runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def _renew_secret(self) -> None:
        try:
            await asyncio.to_thread(self._make_secret)
        except OSError as exc:
            raise disk_error(exc, self._directory, kept="the secret as it was") from exc

    def _make_secret(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic.write(self._secret_file, secrets.token_urlsafe(_SECRET_BYTES).encode())

    def _secret(self) -> str:
        if not self._secret_file.exists():
            self._make_secret()
        return self._secret_file.read_text("ascii")

    async def _settle(self) -> None:
        async with self._lock:
            wanted = self._config.flag("gateway")
            if not wanted:
                self._failure = self._notice = ""
                await self._end()
            elif not self._runs:
                if self._process is not None:
                    _log.warning("the gateway died, starting it again", exit_code=self._process.returncode)
                try:
                    await self._start()
                except P2pckptError as exc:
                    self._failure = exc.fact
                    raise
                except OSError as exc:
                    failed = disk_error(exc, self._directory, kept="what is shared")
                    self._failure = failed.fact
                    raise failed from exc
                self._failure = ""

    async def _start(self) -> None:
        """On the configured port, else the one that clients know, else any."""
        configured, known = self._config.number("gateway_port"), last_port(self._port_file)
        for port in dict.fromkeys([configured or known, configured]):
            secret = await asyncio.to_thread(self._secret)
            self._ready_file.unlink(missing_ok=True)
            arguments = ["--socket", str(self._config.socket_path), "--secret-file", str(self._secret_file)]
            arguments += ["--ready-file", str(self._ready_file), "--port", str(port)]
            process, ready = await start(_MODULE, arguments, self._log_file, self._ready_of, stdin=PIPE)
            if ready is not None:
                self._process, self._port = process, ready.port
                self._endpoint = f"http://{ADDRESS}:{ready.port}/{secret}"
                await asyncio.to_thread(atomic.write, self._port_file, str(ready.port).encode())
                return
            self._process = process
            await self._end()
            if port and port == known:
                await self._give_up_address(port)
        raise P2pckptError(f"the gateway did not start: {complaint(self._log_file)}", next_step=f"see {self._log_file}")

    async def _give_up_address(self, port: int) -> None:
        """Somebody else may listen where clients know us, and be told the secret by them."""
        await self._renew_secret()
        self._port_file.unlink(missing_ok=True)
        self._port = 0
        self._notice = f"port {port} was taken by another program: the address has changed, and its secret"
        _log.warning("the gateway's port was taken, it has a new secret", port=port)

    def _ready_of(self, pid: int) -> _Ready | None:
        try:
            ready = msgspec.json.decode(self._ready_file.read_bytes(), type=_Ready)
        except (OSError, msgspec.MsgspecError):
            return None
        return ready if ready.pid == pid else None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_DEADLINE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
