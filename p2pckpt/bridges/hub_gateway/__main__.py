"""The gateway as a process: ``python -m p2pckpt.bridges.hub_gateway``, started by the daemon, ended by its stdin."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from p2pckpt import atomic
from p2pckpt.bridges.hub_gateway.server import HubGateway
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage, P2pckptError

_PORT_PATIENCE: Final = 3.0
"""Seconds in which a gateway that is about to end gives its port free."""


def main() -> int:
    """Serve until stdin ends, which it does with whoever started this, or SIGTERM."""
    parser = argparse.ArgumentParser(prog="p2pckpt.bridges.hub_gateway")
    for name in ("socket", "secret-file", "ready-file"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    try:
        asyncio.run(_serve(options.socket, options.secret_file, options.ready_file, options.port))
    except P2pckptError as exc:
        logging.getLogger("p2pckpt").error("%s", exc.fact)
        return exc.exit_code
    return 0


async def _serve(socket: Path, secret_file: Path, ready_file: Path, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_reader(sys.stdin.fileno(), stopped.set)  # nothing is ever written to it
    async with ControlClient(socket) as daemon:
        gateway = HubGateway(daemon, await asyncio.to_thread(secret_file.read_text, "ascii"))
        try:
            ready = {"port": await _listen(gateway, port), "pid": os.getpid()}
            await asyncio.to_thread(atomic.write, ready_file, msgspec.json.encode(ready))
            await stopped.wait()
        finally:
            await gateway.stop()


async def _listen(gateway: HubGateway, port: int) -> int:
    deadline = time.monotonic() + _PORT_PATIENCE
    while True:
        try:
            return await gateway.start(port)
        except BadUsage:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
