"""The table at 5,000 rows: what it draws, where its cursor stays, which columns fit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

from p2pckpt.control import messages as m
from p2pckpt.tui import format as f
from p2pckpt.tui import job_columns
from p2pckpt.tui.screens.transfers import TransfersScreen
from p2pckpt.tui.widgets.columns import fit, place
from p2pckpt.tui.widgets.virtual_table import VirtualTable
from tests.support import replay_feed as replay
from tests.tui.conftest import stage

ROWS = 5_000


def many() -> m.Snapshot:
    states = list(m.JobState)
    return replay.snapshot(
        tuple(
            replay.job(f"j{i}", share=f"lab/share-{i:04}", size=(i + 1) << 20, state=states[i % len(states)])
            for i in range(ROWS)
        )
    )


async def test_only_visible_rows_are_drawn_whatever_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(many()) as st:
        screen = st.app.screen
        assert isinstance(screen, TransfersScreen)
        drawn: list[Any] = []
        draw = VirtualTable._row

        def counted(table: VirtualTable[Any], row: Any, current: bool, width: int) -> Any:
            if table is screen.table:
                drawn.append(row)
            return draw(table, row, current, width)

        monkeypatch.setattr(VirtualTable, "_row", counted)
        visible = screen.table.size.height - 1
        assert 5 < visible < 40
        changed = [msgspec.structs.replace(job, rate_down=1 << 20) for job in st.client.snapshot.jobs]
        st.client.play(*(m.JobChanged(job) for job in changed))
        await st.until(lambda: st.client.played == ROWS)
        await st.until(lambda: all(row.rate_down for row in screen.table.rows))
        await st.pilot.pause()
        assert drawn, "nothing was drawn again"
        assert {row.id for row in drawn} == {f"j{i}" for i in range(visible)}
        drawn.clear()
        await st.press("G")
        await st.shows(f"lab/share-{ROWS - 1}")
        assert {row.id for row in drawn} <= {f"j{i}" for i in range(ROWS - visible, ROWS)} | {"j0"}


async def test_only_lines_whose_row_changed_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(many()) as st:
        screen = st.app.screen
        assert isinstance(screen, TransfersScreen)
        drawn: list[str] = []
        draw = VirtualTable._row

        def counted(table: VirtualTable[Any], row: Any, current: bool, width: int) -> Any:
            if table is screen.table:
                drawn.append(row.id)
            return draw(table, row, current, width)

        monkeypatch.setattr(VirtualTable, "_row", counted)
        await st.press("j")
        assert sorted(drawn) == ["j0", "j1"]
        drawn.clear()
        for number in (7, 13, 4_000):
            st.client.play(m.JobChanged(msgspec.structs.replace(st.client.snapshot.jobs[number], eta=777)))
        await st.until(lambda: screen.table.rows[4_000].eta == 777)
        await st.pilot.pause()
        assert sorted(drawn) == ["j13", "j7"]
        assert sum("12m57" in line for line in st.lines) == 2


async def test_the_cursor_stays_on_its_row_through_sort_filter_and_removal() -> None:
    async with stage(many()) as st:
        screen = st.app.screen
        assert isinstance(screen, TransfersScreen)
        screen.table.move_to(2_500)
        screen.table.sort_by("size")
        screen.list_rows()
        cursor = screen.table.cursor
        assert cursor is not None and cursor.id == "j2500"
        st.client.play(m.JobRemoved("j4999"), m.JobRemoved("j1"))
        await st.until(lambda: len(screen.table.rows) == ROWS - 2)
        cursor = screen.table.cursor
        assert cursor is not None and cursor.id == "j2500"
        await st.press("g", "pagedown", "k")
        cursor = screen.table.cursor
        assert cursor is not None and cursor.id == screen.table.rows[screen.table.size.height - 3].id


async def test_a_marked_row_that_goes_as_another_comes_is_marked_no_more() -> None:
    async with stage() as st:
        screen = st.app.screen
        assert isinstance(screen, TransfersScreen)
        await st.press("g", "x")
        assert screen.table.marks == {"j1"}
        st.client.play(m.JobRemoved("j1"), m.JobChanged(msgspec.structs.replace(st.client.snapshot.jobs[0], id="j99")))
        await st.until(lambda: "j99" in {job.id for job in screen.table.rows})
        assert not screen.table.marks
        assert "marked" not in st.static("#summary")


@pytest.mark.parametrize("width", [20, 40, 60, 78, 80, 99, 120, 200])
def test_columns_fill_the_width_and_leave_by_priority(width: int) -> None:
    placed = fit(job_columns.COLUMNS, width)
    used = 2 + sum(p.width + 1 for p in placed) - 1
    kept = {p.column.key for p in placed}
    assert {"state", "name", "size", "progress"} <= kept
    if len(kept) > 6:
        assert used == width
    assert ("publisher" in kept) <= ("ratio" in kept) <= ("peers" in kept) <= ("eta" in kept)


@pytest.mark.parametrize("text", ["", "short", "much too long for it", "模型模型模型模型", "e\u0301" * 12])
@pytest.mark.parametrize("right", [False, True])
def test_a_cell_is_exactly_as_wide_as_its_column(text: str, right: bool) -> None:
    for width in range(9):
        assert cell_len(place(text, width, right=right)) == width


def test_short_numbers_fit_their_columns() -> None:
    for exponent in range(62):
        for count in (1 << exponent, (1 << exponent) - 1, int((1 << exponent) * 1.96)):
            assert len(f.size(count)) <= 5
    assert [f.size(n) for n in (0, 999, 1024, 10 << 20, 1536 << 20)] == ["0B", "999B", "1.0K", "10M", "1.5G"]
    assert [f.duration(n) for n in (-1, 5, 125, 24_000, 300_000)] == ["-", "5s", "2m05", "6h40", "3d"]
    assert f.percent(0.99999) == "99%"
