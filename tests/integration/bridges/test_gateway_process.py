"""The gateway as a process beside the daemon: on, off, back with the daemon, and its secret."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from p2pckpt.control.gateway_messages import GatewayRequest
from p2pckpt.control.settings_messages import SetRequest
from p2pckpt.errors import NotAllowed

from ...support.homes import Home, failure, until

pytestmark = pytest.mark.asyncio(loop_scope="function")


def _pid(home: Home) -> int:
    """Of the gateway of a home; 0 for none."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "p2pckpt.bridges.hub_gateway" in command and str(home.config.socket_path) in command:
            return process.pid if process.status() != psutil.STATUS_ZOMBIE else 0
    return 0


async def _status(endpoint: str) -> int:
    """What it answers; 0 when nobody listens."""

    def ask() -> int:
        try:
            with urllib.request.urlopen(f"{endpoint}/api/whoami-v2", timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            return exc.code
        except OSError:
            return 0

    return await asyncio.to_thread(ask)


async def _answers(endpoint: str) -> bool:
    return await _status(endpoint) == 200


async def _endpoint(home: Home) -> str:
    printed = await home.cli("gateway", "env")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith("export HF_ENDPOINT=http://127.0.0.1:")
    return printed.stdout.strip().partition("=")[2]


async def test_the_gateway_is_turned_on_and_off_and_lives_as_long_as_the_daemon(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice:
        refused = await alice.cli("gateway", "env")
        assert refused.returncode == 1 and "p2pckpt gateway start" in refused.stderr
        started = await alice.cli("gateway", "start")
        assert started.returncode == 0 and "running" in started.stdout, started.stderr
        endpoint = await _endpoint(alice)
        secret = endpoint.rpartition("/")[2]
        assert len(secret) >= 32 and secret not in started.stdout + started.stderr
        assert await _answers(endpoint)
        assert await _status(endpoint.replace(secret, "x" * len(secret))) == 403

        await alice.restart()
        await until(lambda: _answers(endpoint), "the gateway is back under the same address")

        pid = _pid(alice)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: _another(alice, pid), "another gateway runs")
        await until(lambda: _answers(endpoint), "it is back under the same address")

        await alice.kill()
        await until(lambda: _another(alice, 0, gone=True), "no gateway outlives its daemon")
        await alice.start()
        await until(lambda: _answers(endpoint), "it is back under the same address")

        stopped = await alice.cli("gateway", "stop")
        assert stopped.returncode == 0
        assert await _status(endpoint) == 0 and not _pid(alice)
        assert not (await alice.client.gateway()).on


async def _another(home: Home, pid: int, *, gone: bool = False) -> bool:
    now = await asyncio.to_thread(_pid, home)
    return not now if gone else now not in (0, pid)


async def test_a_new_token_shuts_the_old_one_out(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice:
        before = (await alice.client.set_gateway(GatewayRequest(on=True))).endpoint
        changed = await alice.cli("gateway", "start", "--new-token")
        assert changed.returncode == 0, changed.stderr
        after = await _endpoint(alice)
        assert after.rpartition("/")[0] == before.rpartition("/")[0], "the port stays"
        assert (await _status(before), await _status(after)) == (403, 200)
        secret_file = alice.config.data_dir / "gateway" / "secret"
        assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(secret_file.parent.stat().st_mode) == 0o700
        secret = after.rpartition("/")[2]
        assert secret_file.read_text() == secret
        assert secret not in alice.log + (alice.config.state_dir / "gateway.log").read_text()
        assert not any(secret in argument for argument in psutil.Process(_pid(alice)).cmdline())


async def test_the_setting_alone_turns_it_on_and_off(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice") as alice:
        await alice.client.set_setting(SetRequest("gateway", True))
        await until(lambda: _running(alice), "it runs")
        await alice.client.set_setting(SetRequest("gateway", None))
        await until(lambda: _running(alice, no=True), "it is gone")


async def _running(home: Home, *, no: bool = False) -> bool:
    return (await home.client.gateway()).running is not no


async def test_a_port_that_is_taken_is_told_where_it_was_configured(tmp_path: Path) -> None:
    async with Home(tmp_path / "bob") as bob:
        state = await bob.client.set_gateway(GatewayRequest(on=True))
        async with Home(tmp_path / "alice", gateway_port=state.port) as alice:
            error = await failure(alice.client.set_gateway(GatewayRequest(on=True)))
            assert f"port {state.port}" in error.fact and "gateway.log" in error.next_step
            told = await alice.client.gateway()
            assert told.on and not told.running and f"port {state.port}" in told.failure


async def test_what_the_environment_says_is_not_overridden(tmp_path: Path) -> None:
    async with Home(tmp_path / "alice", gateway=0) as alice:
        error = await failure(alice.client.set_gateway(GatewayRequest(on=True)))
        assert isinstance(error, NotAllowed) and "P2PCKPT_GATEWAY" in error.fact
