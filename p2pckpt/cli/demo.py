"""``p2pckpt demo``: the whole story on one machine, each part a process of its own, everything checked.

A tracker, a publisher, two receivers and a stranger, each with a home of its own, on loopback. Nothing here is
simulated: it is the same daemon, engine and tracker that a user runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import humanize
import msgspec

from p2pckpt import atomic, config
from p2pckpt.cli.demo_checkpoint import fine_tune, train
from p2pckpt.cli.report import Report
from p2pckpt.cli.table import Column, table
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control.client import ControlClient, connect, error_of
from p2pckpt.errors import P2pckptError
from p2pckpt.trust import identity_file, links, oms

_DEADLINE: Final = 120.0
"""Seconds any one step may take."""
_KILL_AT: Final = 0.4
"""Part of the bytes that have arrived when the receiver is killed."""


class _Failed(P2pckptError):
    """A check of the demo did not hold."""

    code = "demo"


def run_demo(report: Report, checkpoint: Path | None, *, keep: bool) -> int:
    """Play it, print the table, return 0 if every check held."""
    directory = Path(tempfile.mkdtemp(prefix="p2pckpt-demo-"))
    demo = _Demo(report, directory)
    try:
        asyncio.run(demo.play(checkpoint))
    finally:
        demo.print_table()
        if keep:
            report.narrate(f"everything is left in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


class _Home:
    """One person's machine."""

    def __init__(self, directory: Path, name: str, tracker: str = "", download_limit: int = 0) -> None:
        self.config = config.load(home=directory / name, environ={}, directory=directory)
        self.config.config_dir.mkdir(parents=True)
        lines = [
            f'name = "{name}"',
            'listen = "127.0.0.1"',
            "port_mapping = false",
            'key_store = "file"',
            "dht = false",
            "local_discovery = false",
            f"download_limit = {download_limit}",
        ]
        if tracker:
            lines.append(f'tracker = "{tracker}"')
        atomic.write(self.config.user_file, "\n".join(lines).encode())
        self.client: ControlClient | None = None

    async def start(self) -> ControlClient:
        self.client = await connect(self.config)
        return self.client

    async def kill(self) -> None:
        """As a power cut would, but for the disk."""
        assert self.client is not None
        status = await self.client.status()
        os.kill(status.pid, signal.SIGKILL)
        await self.client.close()
        self.client = None

    async def stop(self) -> None:
        if self.client is not None:
            with contextlib.suppress(P2pckptError):
                await self.client.stop()
            await self.client.close()


class _Demo:
    def __init__(self, report: Report, directory: Path) -> None:
        self._report = report
        self._directory = directory
        self._rows: list[tuple[str, str, str]] = []
        self._started = time.monotonic()

    async def play(self, checkpoint: Path | None) -> None:
        async with contextlib.AsyncExitStack() as stack:
            first = await self._checkpoint(checkpoint)
            tracker = self._tracker(stack)
            publisher = _Home(self._directory, "publisher", tracker)
            anna = _Home(self._directory, "anna", download_limit=max(4 << 20, _size(first) // 6))
            ben, stranger = _Home(self._directory, "ben"), _Home(self._directory, "stranger")
            for home in (publisher, anna, ben, stranger):
                stack.push_async_callback(home.stop)
                await home.start()
            link = await self._publish(publisher, first, "v1")
            await self._killed_and_resumed(anna, link, first)
            await self._received(ben, link, first)
            await self._second_version(publisher, (anna, ben), first)
            await self._refused(stranger, link)

    def print_table(self) -> None:
        self._report.line()
        columns = (Column("CHECKED"), Column("RESULT"), Column("BYTES MOVED", right=True))
        self._report.text("\n".join(table(columns, self._rows)))
        self._report.narrate(f"{len(self._rows)} checks, {time.monotonic() - self._started:.0f} seconds")

    # -- the parts

    async def _checkpoint(self, given: Path | None) -> Path:
        first = self._directory / "checkpoint-1"
        if given is None:
            self._say("training a small network")
            await asyncio.to_thread(train, first)
        else:
            await asyncio.to_thread(shutil.copytree, given, first)
        self._say(f"the checkpoint: {_bytes(_size(first))} in {sum(p.is_file() for p in first.rglob('*'))} files")
        return first

    def _tracker(self, stack: contextlib.ExitStack | contextlib.AsyncExitStack) -> str:
        """Start it for the publisher's key alone; returns its address with the pinned certificate."""
        publisher = self._directory / "publisher"
        owner = identity_file.load_or_create(publisher / "data" / "keys", "publisher")
        ready = self._directory / "tracker.json"
        process = subprocess.Popen(
            [sys.executable, "-m", "p2pckpt_tracker.main", "serve", "--data", str(self._directory / "tracker"),
             "--listen", "127.0.0.1:0", "--owner", owner.hex, "--ready-file", str(ready)],
            stderr=(self._directory / "tracker.log").open("wb"),
        )  # fmt: skip
        stack.callback(process.wait)
        stack.callback(process.terminate)
        _until(ready.exists, "the tracker to listen")
        state = msgspec.json.decode(ready.read_bytes())
        address = links.TrackerAddress((f"127.0.0.1:{state['api_port']}",), bytes.fromhex(state["certificate_sha256"]))
        return address.text

    async def _publish(self, home: _Home, directory: Path, label: str) -> str:
        assert home.client is not None
        request = pm.PublishRequest(path=str(directory), name="demo/model", version_name=label)
        job = await _finished(home.client, await home.client.publish(request))
        self._check(f"published {label}: packed, signed, seeded", job.state is m.JobState.SEEDING, job.wire_done)
        return job.link

    async def _killed_and_resumed(self, home: _Home, link: str, source: Path) -> None:
        """Kill the receiver's daemon half way; the next one goes on by itself."""
        assert home.client is not None
        target = self._directory / "anna-checkout"
        job = await home.client.fetch(m.FetchRequest(source=link, to=str(target)))
        before = await _reached(home.client, job.id, _KILL_AT)
        await home.kill()
        self._say(f"killed the first receiver with -9 at {_bytes(before.wire_done)} of {_bytes(before.wire_size)}")
        client = await home.start()
        job = await _finished(client, job)
        again = before.wire_done + job.wire_done - before.wire_size
        self._check("killed with -9 half way, resumed by itself", job.state is m.JobState.SEEDING, job.wire_done)
        limit = 40 << 20
        self._check(f"fetched twice: {_bytes(max(0, again))}, at most {_bytes(limit)}", again <= limit, max(0, again))
        self._same("the first receiver's files, by SHA-256", source, target)

    async def _received(self, home: _Home, link: str, source: Path) -> None:
        assert home.client is not None
        target = self._directory / "ben-checkout"
        job = await _finished(home.client, await home.client.fetch(m.FetchRequest(source=link, to=str(target))))
        self._check("a second receiver, from two seeds", job.state is m.JobState.SEEDING, job.wire_done)
        self._same("the second receiver's files, by SHA-256", source, target)

    async def _second_version(self, publisher: _Home, receivers: tuple[_Home, ...], first: Path) -> None:
        second = self._directory / "checkpoint-2"
        name = await asyncio.to_thread(fine_tune, first, second)
        self._say(f"trained the last layers in {name} a little")
        await self._publish(publisher, second, "v2")
        size = _size(second)
        for number, home in enumerate(receivers):
            assert home.client is not None
            target = self._directory / f"second-{number}"
            job = await home.client.fetch(m.FetchRequest(source="demo/model@v2", to=str(target)))
            job = await _finished(home.client, job)
            part = f"version 2 moved {100 * job.wire_done / size:.0f}% of its size"
            self._check(part, job.wire_done < size // 3, job.wire_done)
            self._same("its files, by SHA-256", second, target)

    async def _refused(self, home: _Home, link: str) -> None:
        """Somebody who saw the link but not its secret gets neither metadata nor a place in the swarm."""
        assert home.client is not None
        try:
            await home.client.fetch_plan(m.FetchRequest(source=link.partition("#")[0]))
        except P2pckptError as exc:
            self._check(f"a stranger was refused: {exc.fact}", True, 0)
        else:
            self._check("a stranger was refused", False, 0)

    # -- saying and checking

    def _say(self, text: str) -> None:
        self._report.narrate(f"{time.monotonic() - self._started:5.1f} s  {text}")

    def _same(self, what: str, expected: Path, found: Path) -> None:
        before, after = _hashes(expected), _hashes(found)
        self._check(f"{what}: {len(before)} equal", before == after, 0)

    def _check(self, what: str, held: bool, moved: int) -> None:
        self._say(f"{'ok' if held else 'FAILED'}  {what}")
        self._rows.append((what, "ok" if held else "FAILED", _bytes(moved) if moved else "-"))
        if not held:
            raise _Failed(f"the demo failed: {what}", next_step="p2pckpt demo --keep, and look at the logs it leaves")


async def _finished(client: ControlClient, job: m.Job) -> m.Job:
    """The job once it ended. Raises what it failed with."""
    job = await _job_event(client, job.id, lambda j: j.state.ended)
    if job.failure is not None:
        raise error_of(job.failure)
    return job


async def _reached(client: ControlClient, job_id: str, fraction: float) -> m.Job:
    return await _job_event(client, job_id, lambda j: j.wire_size > 0 and j.wire_done >= fraction * j.wire_size)


async def _job_event(client: ControlClient, job_id: str, wanted: Callable[[m.Job], bool]) -> m.Job:
    async with asyncio.timeout(_DEADLINE):
        async for event in client.events():
            jobs = (
                event.jobs if isinstance(event, m.Snapshot) else (event.job,) if isinstance(event, m.JobChanged) else ()
            )
            for job in jobs:
                if job.id == job_id and wanted(job):
                    return job
    raise _Failed("the daemon went away")


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise _Failed(f"waited too long for {what}")
        time.sleep(0.02)


def _hashes(directory: Path) -> dict[str, str]:
    """Of what was published: a checkout has a model signature beside it."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and not oms.is_ours(path)
    }


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _bytes(count: int) -> str:
    return humanize.naturalsize(count)
