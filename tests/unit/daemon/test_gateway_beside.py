"""The gateway's process: what becomes of its address when somebody else takes the port, and of the disk's refusals."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from p2pckpt.config import load
from p2pckpt.control.gateway_messages import GatewayRequest
from p2pckpt.daemon.gateway_beside import GatewayBeside
from p2pckpt.daemon.live_settings import LiveSettings
from p2pckpt.daemon.main import _watched
from p2pckpt.errors import P2pckptError


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayBeside]:
    config = load(home=tmp_path, environ={}, directory=tmp_path)
    for directory in (config.data_dir, config.state_dir):
        directory.mkdir(parents=True, exist_ok=True)
    beside = GatewayBeside(LiveSettings(config, lambda: config, lambda _: None, lambda: None))
    beside._settings.config = load(home=tmp_path, environ={"P2PCKPT_GATEWAY": "1"}, directory=tmp_path)
    yield beside
    await beside.stop()


async def test_a_port_that_somebody_took_costs_the_secret(gateway: GatewayBeside) -> None:
    before = await gateway.set(GatewayRequest(on=True))
    await gateway.stop()
    again = await gateway.set(GatewayRequest(on=True))
    assert (again.endpoint, again.notice) == (before.endpoint, "")
    await gateway.stop()
    with socket.create_server(("127.0.0.1", before.port)), capture_logs() as log:
        after = await gateway.set(GatewayRequest(on=True))
    assert after.running and after.port != before.port
    assert after.endpoint.rpartition("/")[2] != before.endpoint.rpartition("/")[2]
    assert f"port {before.port} was taken" in after.notice
    assert [entry["log_level"] for entry in log] == ["warning"]
    fresh = await gateway.set(GatewayRequest(on=True, new_token=True))
    assert not fresh.notice


async def test_a_disk_that_refuses_is_told_and_tried_again(gateway: GatewayBeside) -> None:
    gateway._directory.write_text("in the way")
    with pytest.raises(P2pckptError, match="can't be written"):
        await gateway.set(GatewayRequest(on=True))
    assert "can't be written" in gateway.state.failure
    with pytest.raises(P2pckptError):
        await gateway.set(GatewayRequest(on=True, new_token=True))
    watching = asyncio.create_task(gateway.watch())
    done, _ = await asyncio.wait({watching}, timeout=0.2)
    watching.cancel()
    assert not done
    gateway._directory.unlink()
    assert (await gateway.set(GatewayRequest(on=True))).running
    shutil.rmtree(gateway._directory)


async def test_the_log_tells_what_ends_a_background_work() -> None:
    async def broken() -> None:
        raise OSError("no disk")

    with capture_logs() as log:
        await _watched(broken())
    assert [(entry["log_level"], entry["exc_info"]) for entry in log] == [("error", True)]
