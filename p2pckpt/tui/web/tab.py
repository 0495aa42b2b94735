"""One browser tab: a terminal interface in a process of its own, and what goes between it and the websocket.

The process speaks as Textual's ``WebDriver`` does: packets of a kind (one byte), a length (four bytes, big-endian) and
so much payload. The page speaks as textual-serve's ``textual.js`` does: JSON arrays whose first item is their kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

MAX_MESSAGE: Final = 1 << 20
"""Bytes of one message from the page: room for what somebody pastes."""
_MAX_PACKET: Final = 64 << 20
_MAX_CELLS: Final = 1000
"""Columns and rows of a terminal: beyond any screen, and bounded, since each cell costs memory."""
PATIENCE: Final = 5.0
"""Seconds a process gets to end when it is asked to, and again when it is told to."""
_GREETING: Final = b"__GANGLION__\n"
_DATA: Final = b"D"
_META: Final = b"M"


class BadMessage(Exception):
    """The page, or who pretends to be it, said something that it never says."""


class Tab:
    """Runs from ``run`` to its end; afterwards there is no process."""

    def __init__(self, environment: Mapping[str, str], log: Path, *, patience: float = PATIENCE) -> None:
        self._environment = environment
        self._log = log
        self._patience = patience
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, socket: web.WebSocketResponse, width: int, height: int) -> None:
        """Carry keys and pictures until the tab is closed or the interface has ended."""
        await self._start(width, height)
        ways = (asyncio.create_task(self._from_page(socket)), asyncio.create_task(self._to_page(socket)))
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            outcomes = await asyncio.gather(*ways, return_exceptions=True)
            await asyncio.shield(self._end())
            refused = any(isinstance(outcome, BadMessage) for outcome in outcomes)
            code = WSCloseCode.POLICY_VIOLATION if refused else WSCloseCode.OK
            with contextlib.suppress(ConnectionError):
                await socket.close(code=code)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, BadMessage | ConnectionError | EOFError):
                raise outcome

    async def _start(self, width: int, height: int) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "p2pckpt.tui.web"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C in the server's terminal is the server's; it ends its processes one by one
                start_new_session=True,
                env={
                    **self._environment,
                    "TEXTUAL_DRIVER": "p2pckpt.tui.web.driver:BrowserDriver",
                    "TEXTUAL_COLOR_SYSTEM": "truecolor",
                    "COLUMNS": str(width),
                    "ROWS": str(height),
                },
            )

    async def _end(self) -> None:
        """Ask, tell, and make the process end; a zombie is not left either."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        with contextlib.suppress(ConnectionError, RuntimeError):
            process.stdin.write(_packet(_META, b'{"type": "quit"}'))
            process.stdin.close()
        rest = asyncio.create_task(_drain(process.stdout))  # who can't write can't end
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                await asyncio.wait_for(process.wait(), self._patience)
                break
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
        await process.wait()
        await rest

    async def _from_page(self, socket: web.WebSocketResponse) -> None:
        assert self._process is not None and self._process.stdin is not None
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                return
            packet = to_process(message.data)
            if packet:
                self._process.stdin.write(packet)
                await self._process.stdin.drain()

    async def _to_page(self, socket: web.WebSocketResponse) -> None:
        assert self._process is not None and self._process.stdout is not None
        out = self._process.stdout
        while await out.readline() != _GREETING:
            if out.at_eof():
                return
        while True:
            kind = await out.readexactly(1)
            length = int.from_bytes(await out.readexactly(4))
            assert length <= _MAX_PACKET, "no screen is that large"
            payload = await out.readexactly(length)
            if kind == _DATA:
                await socket.send_bytes(payload)
            elif kind == _META:
                meta = json.loads(payload)
                if meta.get("type") == "exit":
                    return
                wish = for_page(meta)
                if wish is not None:
                    await socket.send_json(wish)


def to_process(message: str | bytes) -> bytes:
    """A message of the page as a packet for the process; empty for what needs none. Raises ``BadMessage``."""
    if isinstance(message, bytes):
        raise BadMessage
    try:
        kind, *rest = json.loads(message)
    except (ValueError, TypeError, RecursionError) as exc:
        raise BadMessage from exc
    match kind, rest:
        case "stdin", [str(text)]:
            return _packet(_DATA, text.encode("utf-8", "replace"))
        case "resize", [{"width": int(width), "height": int(height)}]:
            return _packet(
                _META, json.dumps({"type": "resize", "width": cells(width), "height": cells(height)}).encode()
            )
        case ("focus" | "blur") as name, []:
            return _packet(_META, json.dumps({"type": name}).encode())
        case "ping", [str()]:
            return b""  # the page measures how long an answer takes, and does nothing with it
    raise BadMessage


def for_page(meta: dict[str, Any]) -> list[Any] | None:
    """What the interface asks its terminal for, as a message for the page; None for what the page is not told.

    The interface delivers no files, so there is nothing to pass on about them.
    """
    if meta.get("type") != "open_url":
        return None
    url = str(meta.get("url", ""))
    # cards hold addresses that others wrote: a script is none, and none replaces this page
    if not url.startswith(("http://", "https://")):
        return None
    return ["open_url", {"url": url, "new_tab": True}]


def cells(count: int) -> int:
    """``count`` as a number of columns or rows that a terminal can have."""
    return min(max(int(count), 1), _MAX_CELLS)


def _packet(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4) + payload


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 16):
        pass
