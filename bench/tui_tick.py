"""One tick of the TUI at 5,000 rows: 200 events folded in and the whole screen drawn, beside a DataTable.

Both run in a terminal of 120 × 40 without a terminal. The DataTable shows twelve columns as we do, on a screen with
nothing else, and is told of changed cells in visible rows only; it neither decodes events nor sorts nor filters.
"""

from __future__ import annotations

import random
import time
from statistics import median
from typing import Any

import msgspec
from rich.text import Text
from textual.app import App, ComposeResult
from textual.widgets import DataTable

from bench.table import Row
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.tui import job_columns
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.screens.transfers import TransfersScreen
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.columns import Column
from tests.support import replay_feed as replay

ROWS = 5_000
EVENTS = 200
"""A tenth of a second of 2,000 events/s."""
TICKS = 60
TARGET_MS = 10.0
_SIZE = (120, 40)
_CHANGING = ("progress", "down", "eta")


async def measure() -> list[Row]:
    """The median tick of each."""
    ours, theirs = await _ours(), await _peer()
    return [
        Row(
            f"TUI tick, {ROWS:,} rows, {EVENTS} events, screen drawn; median of {TICKS}",
            f"{ours:.1f} ms",
            f"DataTable {theirs:.1f} ms",
            f"{ours / theirs:.2f}×",
            f"≤{TARGET_MS:.0f} ms and <1×",
            ours <= TARGET_MS and ours < theirs,
        )
    ]


def _jobs() -> tuple[m.Job, ...]:
    states = list(m.JobState)
    return tuple(
        replay.job(f"j{n}", share=f"lab/share-{n:04}", size=(n + 1) << 20, done=n << 18, state=states[n % len(states)])
        for n in range(ROWS)
    )


def _events(jobs: tuple[m.Job, ...], visible: int, random_: random.Random) -> list[m.Job]:
    """Every visible row changes, the rest of the events are for others."""
    numbers = [*range(visible), *random_.sample(range(visible, ROWS), EVENTS - visible)]
    return [
        msgspec.structs.replace(
            jobs[n],
            rate_down=random_.randrange(1 << 24),
            done=random_.randrange(n + 1 << 20),
            eta=random_.randrange(999),
        )
        for n in numbers
    ]


async def _ours() -> float:
    jobs = _jobs()

    async def connect(start: bool) -> ControlClient:
        return replay.ReplayClient(replay.snapshot(jobs))

    app = P2pckptApp(connect, now=lambda: float(replay.NOW))
    async with app.run_test(size=_SIZE) as pilot:
        while not app.feed.state.connected:
            await pilot.pause(0.01)
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, TransfersScreen)
        visible, random_, ticks = screen.table.size.height - 1, random.Random(1), []
        for _ in range(TICKS):
            lines = [msgspec.json.encode(m.JobChanged(job)) for job in _events(jobs, visible, random_)]
            decoder = msgspec.json.Decoder(m.Event)
            begin = time.perf_counter()
            changes = Changes()
            for line in lines:
                app.feed.state.apply(decoder.decode(line), changes, 0.0)
            screen.state_changed(changes)
            screen._compositor.render_strips()
            ticks.append(time.perf_counter() - begin)
            await pilot.pause()
    return median(ticks) * 1000


class _Table(App[None]):
    def compose(self) -> ComposeResult:
        yield DataTable(cursor_type="row")


def _cell(column: Column[m.Job], job: m.Job) -> Text:
    """What our column shows, as a ``Text``: strings would be parsed as markup each time they are drawn."""
    return Text(column.draw(job, column.width)[0])


async def _peer() -> float:
    jobs = _jobs()
    app = _Table()
    async with app.run_test(size=_SIZE) as pilot:
        table: DataTable[Any] = app.query_one(DataTable)
        for column in job_columns.COLUMNS:
            table.add_column(column.title, key=column.key, width=column.width)
        for job in jobs:
            table.add_row(*(_cell(column, job) for column in job_columns.COLUMNS), key=job.id)
        await pilot.pause()
        state = {job.id: job for job in jobs}
        visible, random_, ticks = table.size.height - 1, random.Random(1), []
        draw = {column.key: column for column in job_columns.COLUMNS if column.key in _CHANGING}
        for _ in range(TICKS):
            events = _events(jobs, visible, random_)
            begin = time.perf_counter()
            for job in events:
                state[job.id] = job
            top = round(table.scroll_y)
            for number in range(top, top + visible):
                job = state[f"j{number}"]
                for key, column in draw.items():
                    table.update_cell(job.id, key, _cell(column, job))
            app.screen._compositor.render_strips()
            ticks.append(time.perf_counter() - begin)
            await pilot.pause()
    return median(ticks) * 1000
