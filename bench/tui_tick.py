"""The TUI at 5,000 rows while 2,000 events a second enter the daemon, beside a DataTable fed by the same events.

First ticks without a terminal: one batch of the daemon's feed decoded and folded in, and the whole screen drawn. Then
the real programs, each on a terminal of its own: first paint, CPU time, and how long a key takes.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from bench import event_source
from bench.data_table import LINES, JobTable
from bench.event_source import EVENTS, ROWS, EventSource
from bench.table import Row
from bench.terminal import SIZE, Terminal
from p2pckpt import config
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.daemon.feed import pause_after
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.screens.transfers import TransfersScreen
from p2pckpt.tui.state import Changes
from tests.support import replay_feed as replay

TICKS: Final = 60
KEYS: Final = 40
SECONDS: Final = 12.0
TARGET_MS: Final = 10.0
TARGET_FILTER_MS: Final = 50.0
TARGET_LOAD: Final = 0.10
TARGET_PAINT: Final = 1.0
_STARTS: Final = 5
_BATCH: Final = int(EVENTS * pause_after(ROWS))
"""Events between two batches of the daemon under this load."""
_WORDS: Final = ("s", "share-1", "share-12", "state:down", "size:>1G")
"""What is typed as a filter."""


async def measure() -> list[Row]:
    """Ticks and the filter, then the programs."""
    with tempfile.TemporaryDirectory(prefix="p2pckpt-bench-tui-") as directory:
        return [*await _ticks(), *await _programs(Path(directory))]


# -- without a terminal


async def _ticks() -> list[Row]:
    plain, sorted_, narrowed, typed = await _ours()
    theirs = await _peer()
    rows = [
        Row(
            f"TUI tick, {ROWS:,} rows, {what}, {_BATCH} events, screen drawn; median of {TICKS}",
            f"{ours:.1f} ms",
            f"DataTable, unsorted: {theirs:.1f} ms",
            f"{ours / theirs:.2f}×",
            f"≤{TARGET_MS:.0f} ms and <1×",
            ours <= TARGET_MS and ours < theirs,
        )
        for what, ours in (("unsorted", plain), ("sorted by rate", sorted_), ("sorted and filtered", narrowed))
    ]
    filtering = f"TUI, a filter typed at {ROWS:,} rows, screen drawn; the slowest of {len(_WORDS)}"
    goal = f"≤{TARGET_FILTER_MS:.0f} ms"
    return [*rows, Row(filtering, f"{typed:.1f} ms", target=goal, met=typed <= TARGET_FILTER_MS)]


async def _ours() -> tuple[float, float, float, float]:
    """Milliseconds of a tick unsorted, sorted, sorted and filtered; and of a filter."""
    jobs = event_source.jobs()

    async def connect(start: bool) -> ControlClient:
        return replay.ReplayClient(replay.snapshot(tuple(jobs.values())))

    app = P2pckptApp(connect, now=lambda: float(replay.NOW))
    async with app.run_test(size=SIZE) as pilot:
        while not app.feed.state.connected:
            await pilot.pause(0.01)
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, TransfersScreen)
        assert screen.table.size.height == LINES, "the peer shows another number of rows"

        def tick(lines: Sequence[bytes], decoder: msgspec.json.Decoder[m.Event]) -> None:
            changes = Changes()
            for line in lines:
                app.feed.state.apply(decoder.decode(line), changes, 0.0)
            screen.state_changed(changes)

        async def ticks() -> float:
            shown = [job.id for job in screen.table.rows[: LINES - 1]]
            return await _median(tick, shown, jobs, screen, pilot.pause)

        plain = await ticks()
        screen.table.sort_by("down")
        screen.list_rows()
        sorted_ = await ticks()
        screen._set_filter("share-")
        narrowed = await ticks()
        typed = []
        for word in _WORDS:
            await pilot.pause()
            begin = time.thread_time()
            screen._set_filter(word)
            _draw(screen)
            typed.append(time.thread_time() - begin)
        return plain, sorted_, narrowed, max(typed) * 1000


async def _peer() -> float:
    jobs = event_source.jobs()
    app = JobTable()
    async with app.run_test(size=SIZE) as pilot:
        app.fill(jobs.values())
        await pilot.pause()

        def tick(lines: Sequence[bytes], decoder: msgspec.json.Decoder[m.Event]) -> None:
            for line in lines:
                event = decoder.decode(line)
                assert isinstance(event, m.JobChanged)
                app.take(event.job)
            app.flush()

        return await _median(tick, list(jobs)[: LINES - 1], jobs, app.screen, pilot.pause)


async def _median(
    tick: Callable[[Sequence[bytes], msgspec.json.Decoder[m.Event]], None],
    shown: Sequence[str],
    jobs: dict[str, m.Job],
    screen: Any,
    pause: Callable[[], Any],
) -> float:
    """Milliseconds. Every row in ``shown`` changes in each tick, the rest of the events are for others."""
    chance, decoder, times = random.Random(1), msgspec.json.Decoder(m.Event), []
    for _ in range(TICKS):
        ids = [*shown, *chance.sample(list(jobs), _BATCH - len(shown))]
        lines = [msgspec.json.encode(m.JobChanged(event_source.changed(jobs[job_id], chance))) for job_id in ids]
        begin = time.thread_time()
        tick(lines, decoder)
        _draw(screen)
        times.append(time.thread_time() - begin)
        await pause()
    return median(times) * 1000


def _draw(screen: Any) -> None:
    """Every line of the screen, whether it changed or not: more than a terminal is sent."""
    screen._compositor.render_strips()


# -- on a terminal


async def _programs(directory: Path) -> list[Row]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("P2PCKPT_")}
    environment["P2PCKPT_HOME"] = str(directory)
    socket = config.load(environ=environment).socket_path
    source = EventSource()
    ours = [sys.executable, "-m", "p2pckpt"]
    peer = [sys.executable, "-m", "bench.data_table", str(socket)]
    async with source.serving(socket):
        paint, peer_paint = await _first_paint(ours, environment), await _first_paint(peer, environment)
        source.busy = True
        load, keys, narrowed = await _under_load(ours, environment, ("g", "G"), ("ssss", "/", "share-\r"))
        peer_load, peer_keys, _ = await _under_load(peer, environment, ("\x1b[1;5H", "\x1b[1;5F"), ())
    what = f"{ROWS:,} rows, {EVENTS:,} events/s into the daemon"
    return [
        Row(
            f"TUI, start until the list of {ROWS:,} jobs is on screen; median of {_STARTS}",
            f"{paint:.2f} s",
            f"DataTable {peer_paint:.2f} s",
            f"{paint / peer_paint:.2f}×",
            f"≤{TARGET_PAINT:.0f} s",
            paint <= TARGET_PAINT,
        ),
        Row(
            f"TUI, part of a core, {what}; {SECONDS:.0f} s",
            f"{load:.1%}",
            f"DataTable {peer_load:.1%}",
            f"{load / peer_load:.2f}×",
            f"≤{TARGET_LOAD:.0%}",
            load <= TARGET_LOAD,
        ),
        Row(
            f"TUI, the same, sorted and filtered; {SECONDS:.0f} s",
            f"{narrowed:.1%}",
            target=f"≤{TARGET_LOAD:.0%}",
            met=narrowed <= TARGET_LOAD,
        ),
        Row(
            f"TUI, key to its repaint, {what}; median and slowest of {KEYS}",
            f"{median(keys) * 1000:.0f}, {max(keys) * 1000:.0f} ms",
            f"DataTable {median(peer_keys) * 1000:.0f}, {max(peer_keys) * 1000:.0f} ms",
            f"{median(keys) / median(peer_keys):.2f}×",
        ),
    ]


async def _first_paint(command: Sequence[str], environment: dict[str, str]) -> float:
    """Seconds from the start of the program to the last row on screen."""
    took = []
    for _ in range(_STARTS):
        terminal = Terminal(command, environment)
        try:
            took.append(await terminal.shows("lab/share-0000", f"lab/share-{LINES - 2:04}") - terminal.began)
        finally:
            await terminal.close()
    return median(took)


async def _under_load(
    command: Sequence[str], environment: dict[str, str], edges: tuple[str, str], more: Sequence[str]
) -> tuple[float, list[float], float]:
    """Part of a core; seconds from keys (to the first row, to the last) to that row; part of a core after ``more``."""
    terminal = Terminal(command, environment)
    try:
        await terminal.shows(f"lab/share-{LINES - 2:04}")
        await asyncio.sleep(2)
        load = await terminal.load(SECONDS)
        keys = []
        for number in range(KEYS):
            up = number % 2
            keys.append(await terminal.latency(edges[1 - up], "lab/share-0000" if up else f"lab/share-{ROWS - 1}"))
            await asyncio.sleep(0.05 + random.random() / 5)  # at any moment of the feed's pauses
        for key in more:
            terminal.press(key)
            await asyncio.sleep(0.5)
        return load, keys, await terminal.load(SECONDS) if more else 0.0
    finally:
        await terminal.close()
