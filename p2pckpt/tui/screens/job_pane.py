"""One job in full: what it does, its pieces, peers, files and log. Used below the list and as a screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static, TabbedContent, TabPane

from p2pckpt.control.health_messages import VerifyReport
from p2pckpt.control.messages import FileRow, Job, JobDetail, JobState, PeerRow
from p2pckpt.tui import format as f
from p2pckpt.tui import peer_columns
from p2pckpt.tui.screens.verify_tab import VerifyTab
from p2pckpt.tui.widgets.columns import Column
from p2pckpt.tui.widgets.piece_map import PieceMap
from p2pckpt.tui.widgets.virtual_table import VirtualTable

TABS: Final = ("pieces", "peers", "files", "verify", "log")

FILE_COLUMNS: Final[tuple[Column[FileRow], ...]] = (
    Column("path", "File", 30, lambda r, w: (f.safe(r.path, 400), "strong"), grow=3),
    Column("kind", "Kind", 12, lambda r, w: (f.safe(r.kind, 30), "dim"), 1),
    Column("size", "Size", 5, lambda r, w: (f.size(r.size), ""), right=True),
    Column("done", "Progress", 16, lambda r, w: (_file_progress(r, w), "active"), 2, grow=1),
)


def _file_progress(row: FileRow, width: int) -> str:
    part = min(row.done / row.size, 1.0) if row.size else 1.0
    return f"{f.bar(part, max(width - 5, 1))} {f.percent(part):>4}"


class JobPane(Vertical):
    """Draws the job and the detail it was last given."""

    def __init__(self, now: Callable[[], float], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._now = now
        self._job: Job | None = None
        self.verify_tab = VerifyTab(id="verify-tab")

    @property
    def shown_report(self) -> VerifyReport | None:
        """The report of a verify, while its tab can be seen."""
        visible = self.display and self.is_mounted and self.query_one(TabbedContent).active == "verify"
        return self.verify_tab.report if visible else None

    def compose(self) -> ComposeResult:
        yield Static("", id="job-title", markup=False)
        yield Static("", id="job-facts", markup=False)
        with TabbedContent(id="job-tabs"):
            with TabPane("Pieces", id="pieces"):
                yield PieceMap(id="piece-map")
            with TabPane("Peers", id="peers"):
                yield VirtualTable(peer_columns.columns(self._now), lambda p: p.address, id="peer-table")
            with TabPane("Files", id="files"):
                yield VirtualTable(FILE_COLUMNS, lambda r: r.path, id="file-table")
            with TabPane("Verify", id="verify"):
                yield self.verify_tab
            with TabPane("Log", id="log"), VerticalScroll(id="log-scroll"):
                yield Static("", id="log-lines", markup=False)

    def show_job(self, job: Job | None) -> None:
        """Draw what the list knows already; another job than before empties the tabs."""
        self._job = job
        self.look()
        if job is None:
            self.query_one("#job-title", Static).update("", layout=False)
            self.query_one("#job-facts", Static).update("")
            self.show_detail(None)
            return
        self.query_one("#job-title", Static).update(title(job), layout=False)
        below, text = self.query_one("#job-facts", Static), facts(job)
        # a new layout of the screen costs more than all the rest: only for another number of lines
        width, height = below.size
        fits = width > 0 and text.get_height({}, width) == height
        below.update(text, layout=not fits)

    def show_detail(self, detail: JobDetail | None) -> None:
        """Draw the tabs; None empties them until the next detail is here."""
        if detail is None:
            self.query_one(PieceMap).show(b"")
            self._table("#peer-table").set_rows(())
            self._table("#file-table").set_rows(())
            self.query_one("#log-lines", Static).update("")
            return
        self.query_one(PieceMap).show(detail.pieces, [legend(detail), *notes(detail)], detail.copies)
        self._table("#peer-table").set_rows(detail.peers)
        self._table("#file-table").set_rows(detail.files)
        self._label("peers", f"Peers {len(detail.peers)}")
        self._label("files", f"Files {len(detail.files)}")
        log, lines = self.query_one("#log-scroll", VerticalScroll), self.query_one("#log-lines", Static)
        text = Content("\n".join(f.safe(line) for line in detail.log))
        if text != lines.content:
            at_end = log.scroll_offset.y >= log.max_scroll_y
            lines.update(text)
            if at_end:
                log.scroll_end(animate=False)

    def _label(self, tab: str, text: str) -> None:
        """Setting it makes a new layout of the screen, so only when it changed."""
        label = self.query_one(TabbedContent).get_tab(tab)
        if label.label != Content(text):
            label.label = Content(text)

    def turn(self, step: int) -> None:
        """Go ``step`` tabs to the right."""
        tabs = self.query_one(TabbedContent)
        tabs.active = TABS[(TABS.index(tabs.active) + step) % len(TABS)]

    @on(TabbedContent.TabActivated)
    def _turned(self) -> None:
        self.look()
        self.screen.refresh_bindings()

    def look(self) -> None:
        """Ask for the report of a verify, again when another one ended, while its tab can be seen."""
        self.verify_tab.look_at(self._job if self.query_one(TabbedContent).active == "verify" else None)

    def _table(self, selector: str) -> VirtualTable[PeerRow | FileRow]:
        return self.query_one(selector, VirtualTable)


def title(job: Job) -> Content:
    """``llama-70b-sft @ step-42000  ▼ downloading  64%   ↓ 388M/s   2m05 left``."""
    is_done = job.state in (JobState.SEEDING, JobState.DONE)
    return Content.assemble(heading(job), "" if is_done else f"  {f.percent(f.fraction(job))}", pace(job))


def heading(job: Job) -> Content:
    """``llama-70b-sft @ step-42000  ▼ downloading``."""
    number = f" (v{job.version})" if job.version and job.version_name else ""
    return Content.assemble(
        (f.share_name(job), "bold $text-primary"),
        f" @ {f.version(job.version, job.version_name)}{number}   {f.glyph(job)} {f.activity(job)}",
    )


def pace(job: Job) -> str:
    """Rates and time left, as far as there are any, each after three blanks."""
    parts = []
    if job.rate_down:
        parts.append(f"   ↓ {f.rate(job.rate_down)}/s")
    if job.rate_up:
        parts.append(f"   ↑ {f.rate(job.rate_up)}/s")
    if job.state is JobState.RUNNING and job.eta >= 0:
        parts.append(f"   {f.duration(job.eta)} left")
    return "".join(parts)


def facts(job: Job) -> Content:
    """Sizes, place and publisher; then the failure and the warnings, one a line."""
    sizes = [f"{f.size(job.done)} of {f.size(job.size)}"]
    if job.reused:
        sizes.append(f"{f.size(job.reused)} reused")
    if job.wire_size:
        sizes.append(f"{f.size(job.wire_done)} of {f.size(job.wire_size)} on the wire")
    sizes += [f.plural(job.peers, "peer"), f.plural(job.seeds, "seed")]
    limits = (("↓", job.limit_down), ("↑", job.limit_up))
    if job.limit_down or job.limit_up:
        sizes.append("limit " + " ".join(f"{arrow} {f.limit(rate)}" for arrow, rate in limits if rate))
    sizes.append(f"publisher {f.identity(job.publisher) or 'not known yet'}")
    parts: list[str | tuple[str, str]] = [" · ".join(sizes), ("\n" + f.safe(job.path), "$text-muted")]
    if job.failure is not None:
        parts.append((f"\n✗ {f.safe(job.failure.fact)}", "bold $text-error"))
        if job.failure.kept:
            parts.append(f"\n  Kept: {f.safe(job.failure.kept)}")
        if job.failure.next_step:
            parts.append(f"\n  Next: {f.safe(job.failure.next_step)}")
    parts += [(f"\n! {f.safe(warning)}", "$text-warning") for warning in job.warnings[:3]]
    return Content.assemble(*parts)


def notes(detail: JobDetail) -> list[str]:
    """How often everything is there among the peers, and what needed no network."""
    job, found = detail.job, []
    if detail.copies:
        found.append(f"{detail.spread / 1000:.2f} copies among {f.plural(len(detail.peers), 'connected peer')}")
    if job.reused and job.kind.receives:
        found.append(f"{f.size(job.reused)} of {f.size(job.size)} reused from this disk")
    return [" · ".join(found)] if found else []


def legend(detail: JobDetail) -> str:
    """What the cells of the piece map mean."""
    if not detail.piece_count:
        return "no pieces yet"
    count = max(len(detail.pieces), 1)
    each = -(-detail.piece_count // count)
    one = f.plural(each, "piece")
    return (
        f"█ here  ░▒▓ partly  · missing  » arriving   "
        f"1 cell = {one} of {f.size(detail.piece_size)}, {f.plural(detail.piece_count, 'piece')}"
    )
