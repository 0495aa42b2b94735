"""What the last verify of a version found: a line for each check, and the damaged places."""

from __future__ import annotations

from typing import Final, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from p2pckpt.control.health_messages import DamageRow, Outcome, VerifyReport
from p2pckpt.control.messages import Job, JobKind
from p2pckpt.tui import format as f
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.widgets.columns import Cell, Column
from p2pckpt.tui.widgets.virtual_table import VirtualTable

GLYPHS: Final = {Outcome.OK: "✔", Outcome.WARN: "!", Outcome.BAD: "✗", Outcome.SKIPPED: "-"}
_STYLES: Final = {
    Outcome.OK: "$text-success",
    Outcome.WARN: "$text-warning",
    Outcome.BAD: "$text-error",
    Outcome.SKIPPED: "$text-muted",
}
NONE: Final = "No verify of this version is known. v checks every byte of it."


def _state(row: DamageRow, width: int) -> Cell:
    return (f"✔ {f.safe(row.fixed_from, 40)}", "good") if row.repaired else ("✗ bad", "bad")


def _path(row: DamageRow, width: int) -> Cell:
    return (f.safe(row.path, 400) if row.place == "checkout" else f"store {f.safe(row.path[:12])}"), "strong"


COLUMNS: Final[tuple[Column[DamageRow], ...]] = (
    Column("path", "Damaged", 24, _path, grow=2),
    Column("chunk", "Chunk", 7, lambda r, w: (f"{r.chunk:,}" if r.chunk >= 0 else "-", ""), 2, right=True),
    Column("offset", "Offset", 6, lambda r, w: (f.size(r.offset) if r.offset >= 0 else "-", ""), 3, right=True),
    Column("problem", "Problem", 16, lambda r, w: (f.safe(r.problem, 200), ""), grow=2),
    Column("expected", "Expected", 8, lambda r, w: (f.safe(r.expected[:8]), "dim"), 4),
    Column("got", "Got", 8, lambda r, w: (f.safe(r.got[:8]), "dim"), 5),
    Column("state", "Repaired", 12, _state, grow=1),
)


class VerifyTab(Vertical):
    """Asks for the report of the job that is looked at, and again when a verify of its version ends."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.report: VerifyReport | None = None
        self.table: VirtualTable[DamageRow] = VirtualTable(COLUMNS, _key, id="damage")

    def compose(self) -> ComposeResult:
        yield Static(NONE, id="checks", markup=False)
        yield self.table

    def on_mount(self) -> None:
        from p2pckpt.tui.app import P2pckptApp  # at import time it imports this

        self._hub = cast(P2pckptApp, self.app)
        self._asking = Asking(self._hub, self, lambda client, key: client.verify_report(key), self.show)
        self.table.display = False

    def look_at(self, job: Job | None) -> None:
        """Show the report for this job, None for none at all."""
        self._asking.look_at("" if job is None else job.id, None if job is None else self._verifies(job))

    def _verifies(self, job: Job) -> tuple[tuple[str, str, int], ...]:
        """Verifies that the report may be of, and how far they are: when this changes, it is asked for again."""
        same = [job]
        if job.kind is not JobKind.VERIFY:
            jobs = self._hub.feed.state.jobs.values()
            same = [j for j in jobs if j.kind is JobKind.VERIFY and (j.share, j.version) == (job.share, job.version)]
        return tuple((j.id, j.state.value, j.ended_at) for j in same)

    def show(self, report: VerifyReport | None) -> None:
        """Draw it."""
        self.report = report
        self.query_one("#checks", Static).update(NONE if report is None else checks(report))
        self.table.set_rows(() if report is None else report.damage)
        self.table.display = report is not None and bool(report.damage)
        self.screen.refresh_bindings()


def _key(row: DamageRow) -> str:
    return f"{row.place} {row.path} {row.chunk} {row.problem}"


def checks(report: VerifyReport) -> Content:
    """How it went in one line, then a line for each check."""
    went = f"{f.plural(report.chunks, 'chunk')} looked at · "
    went += f"{report.damaged:,} damaged · {report.repaired:,} repaired" if report.damaged else "nothing is damaged"
    took = f.duration(max(report.ended_at - report.started_at, 0))
    parts: list[str | tuple[str, str]] = [(f"{went} · {f.clock(report.ended_at)}, took {took}", "bold")]
    for check in report.checks:
        parts += ["\n", (f"{GLYPHS[check.outcome]} {f.safe(check.name, 20):<10}", _STYLES[check.outcome])]
        parts.append(f" {f.safe(check.text)}")
    return Content.assemble(*parts)


def repair_dialog(report: VerifyReport, seeds: int) -> ConfirmDialog:
    """What a repair would do."""
    lines = []
    if report.damaged_files:
        lines += [
            f"{f.plural(report.damaged_files, 'file')} of {f.safe(report.path, 200)} made anew from what was signed.",
            "What is there now is moved to .p2pckpt-replaced below it, not deleted.",
        ]
    if report.damaged_objects:
        lines.append(f"Bad pieces of {f.plural(report.damaged_objects, 'object')} in the store are fetched again.")
    lines.append("What is right on this disk is used first; only the rest comes from the swarm.")
    if not seeds:
        lines.append("! No other seed is known: what is right nowhere on this disk can't come back.")
    name = f"{report.share}@v{report.version}"
    return ConfirmDialog(
        f"Repair {f.safe(name, 60)}", lines, yes="Repair", no="No", command=f"p2pckpt verify --repair {name}"
    )
