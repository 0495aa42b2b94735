"""Daemons with throwaway homes on loopback, and what the kernel says their processes used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from p2pckpt import config
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import DaemonUnavailable, P2pckptError
from p2pckpt.tracker_protocol import Visibility

START_DEADLINE = 30.0
JOB_DEADLINE = 3600.0
SETTINGS = {
    "P2PCKPT_LISTEN": "127.0.0.1",
    "P2PCKPT_TRACKER_LISTEN": "127.0.0.1",
    "P2PCKPT_PORT_MAPPING": "0",
    "P2PCKPT_KEY_STORE": "file",
    "P2PCKPT_DHT": "0",
    "P2PCKPT_LOCAL_DISCOVERY": "0",
    "P2PCKPT_LOG_LEVEL": "warning",
}
"""Nothing listens outside of this machine. Everything else is as users get it."""


@dataclass(frozen=True)
class Usage:
    """What a process used since it started."""

    peak_rss: int
    """Bytes: VmHWM. ``ru_maxrss`` would begin with what the parent had before exec."""
    cpu: float
    """Seconds, user and system."""


@dataclass
class Home:
    """A running daemon, its client, and its home."""

    path: Path
    client: ControlClient
    process: subprocess.Popen[bytes]

    def usage(self) -> Usage:
        return usage(self.process.pid)

    def tracker_usage(self) -> Usage:
        """Of the tracker beside this daemon."""
        return usage(json.loads((self.path / "data" / "tracker" / "ready.json").read_text())["pid"])

    async def publish(self, directory: Path, name: str, to: Visibility = Visibility.PUBLIC) -> m.Job:
        """Publish and wait until it is seeded."""
        request = pm.PublishRequest(path=str(directory), name=name, to=to, allow_no_licence=True)
        return await self._ended(await self.client.publish(request))

    async def fetch(self, link: str, target: Path) -> m.Job:
        """Fetch and wait until the checkout is complete and durable."""
        return await self._ended(await self.client.fetch(m.FetchRequest(source=link, to=str(target))))

    async def _ended(self, job: m.Job) -> m.Job:
        async with asyncio.timeout(JOB_DEADLINE):
            async for event in self.client.events():
                if isinstance(event, m.Snapshot):
                    job = next(known for known in event.jobs if known.id == job.id)
                elif isinstance(event, m.JobChanged) and event.job.id == job.id:
                    job = event.job
                if job.state.ended:
                    break
        if job.failure is not None:
            raise P2pckptError(f"{job.kind} failed: {job.failure.fact}")
        return job


@contextlib.asynccontextmanager
async def running(home: Path, **settings: object) -> AsyncIterator[Home]:
    """A daemon in ``home``, stopped at the end; its files stay. ``settings`` differ from those of users."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("P2PCKPT_")}
    given = {f"P2PCKPT_{key.upper()}": str(value) for key, value in settings.items()}
    log = home / "daemon.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "p2pckpt.daemon.main"],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment | SETTINGS | given | {"P2PCKPT_HOME": str(home)},
            start_new_session=True,  # as commands start it: the kernel may share its time out by session
        )
    try:
        async with ControlClient(_socket_of(home)) as client:
            await _answers(client, process, log)
            yield Home(home, client, process)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            _end_tracker(home)


def usage(pid: int) -> Usage:
    """Of a process that still runs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    times = psutil.Process(pid).cpu_times()
    return Usage(peak, times.user + times.system)


def settle(size: int) -> None:
    """Level the ground for a measurement that writes about ``size`` bytes.

    What earlier work wrote is on disk, and so much memory is touched and freed again: a virtual machine whose host
    takes free pages back pays for the first touch of each, which is several times a write's own cost.
    """
    os.sync()
    touched = min(size, psutil.virtual_memory().available // 2)
    script = f"import numpy; numpy.empty({touched}, numpy.uint8)[::4096] = 1"
    subprocess.run([sys.executable, "-c", script], check=True)


def _end_tracker(home: Path) -> None:
    """The tracker outlives a daemon that was killed."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(json.loads((home / "data" / "tracker" / "ready.json").read_text())["pid"], signal.SIGTERM)


def _socket_of(home: Path) -> Path:
    return config.load(home=home, environ={}, directory=home).socket_path


async def _answers(client: ControlClient, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while True:
        try:
            await client.status()
            return
        except DaemonUnavailable:
            if process.poll() is not None or time.monotonic() > deadline:
                raise P2pckptError(f"the daemon did not start: {log.read_text()[-1000:]}") from None
            await asyncio.sleep(0.02)
