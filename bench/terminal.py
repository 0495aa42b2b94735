"""A program in a terminal of its own: what it wrote, when, and what it cost."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

import psutil

SIZE = (120, 40)
_DEADLINE = 60.0


class Terminal:
    """Runs ``command`` on a pseudo-terminal of ``SIZE``; use inside a running loop, ``close`` at the end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._written = bytearray()
        self._more = asyncio.Event()
        self.bytes = 0
        """Written so far."""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        env = {**environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, 10)
        finally:
            self._process.kill()
            os.close(self._master)

    def forget(self) -> None:
        """Look only at what is written from now on."""
        self._written.clear()

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def shows(self, *texts: str) -> float:
        """Wait until each of ``texts`` was written; when the last was. Raises ``TimeoutError`` after a minute."""
        wanted = [text.encode() for text in texts]
        async with asyncio.timeout(_DEADLINE):
            while not all(text in self._written for text in wanted):
                self._more.clear()
                await self._more.wait()
        return time.perf_counter()

    async def latency(self, key: str, text: str) -> float:
        """Seconds from ``key`` to ``text`` on screen."""
        self.forget()
        begin = time.perf_counter()
        self.press(key)
        return await self.shows(text) - begin

    async def load(self, seconds: float) -> float:
        """Part of a core that the program uses for so long."""
        process = psutil.Process(self._process.pid)
        before, begin = process.cpu_times(), time.perf_counter()
        await asyncio.sleep(seconds)
        after, end = process.cpu_times(), time.perf_counter()
        return (after.user + after.system - before.user - before.system) / (end - begin)

    def _read(self) -> None:
        try:
            block = os.read(self._master, 1 << 16)
        except OSError:
            block = b""
        self.bytes += len(block)
        self._written += block
        del self._written[: -(1 << 20)]
        self._more.set()
