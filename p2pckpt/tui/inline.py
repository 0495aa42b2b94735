"""One transfer in a few lines below the shell's prompt, until it ends or the user leaves: ``tui --inline``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from p2pckpt.config import Config
from p2pckpt.control.client import ControlClient, connect, error_of
from p2pckpt.control.messages import Job, JobDetail, JobState
from p2pckpt.errors import Cancelled, P2pckptError
from p2pckpt.tui import format as f
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.commands import Commands
from p2pckpt.tui.feed import BACKOFF, ClientFactory, Feed
from p2pckpt.tui.messages import NoticeArrived, StateChanged
from p2pckpt.tui.screens.job_pane import heading, pace
from p2pckpt.tui.widgets.piece_map import cells

_MAP_ROWS: Final = 2
_BAR_WIDTH: Final = 40
_DETAIL_INTERVAL: Final = 1.0
"""Seconds between two looks at the pieces."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a view ended."""

    job: Job | None
    """As it was last seen; None if it never was."""
    error: P2pckptError | None = None
    """What the job failed with, or ``Cancelled`` for one that was removed, or for Ctrl-C."""


def run(config: Config, job_id: str) -> Ending:
    """Show a job of the running daemon until it has ended or the user leaves."""

    async def factory(start: bool) -> ControlClient:
        return await connect(config, start=start)

    app = InlineApp(factory, job_id)
    app.set_keymap(config.keys)
    # without the mouse: what stands above can still be marked and copied
    app.run(inline=True, mouse=False)
    return app.ending


class TransferLines(Widget):
    """Name and rates, bar, peers, pieces, and one line for what has to be said."""

    def compose(self) -> ComposeResult:
        for name in ("title", "bar", "pace", "pieces", "says"):
            yield Static("", id=f"inline-{name}", markup=False)

    def show_job(self, job: Job) -> None:
        """Draw the lines that the job itself tells."""
        self._line("title").update(heading(job))
        part = f.fraction(job)
        amount = f" {f.percent(part)}  {f.size(job.done)} of {f.size(job.size)}"
        if job.wire_size:
            amount += f", {f.size(job.wire_done)} of {f.size(job.wire_size)} on the wire"
        width = min(max(self.app.size.width - len(amount), 10), _BAR_WIDTH)
        self._line("bar").update(Content.assemble((f.bar(part, width), "$primary"), amount))
        others = f"{f.plural(job.peers, 'peer')}, {f.plural(job.seeds, 'seed')}"
        self._line("pace").update(others + pace(job))

    def show_detail(self, detail: JobDetail | None) -> None:
        """Draw the pieces; None leaves the place empty."""
        width = max(self.app.size.width, 1)
        drawn = cells(detail.pieces, width * _MAP_ROWS) if detail is not None else ""
        rows = [drawn[start : start + width] for start in range(0, len(drawn), width)]
        self._line("pieces").update("\n".join(rows))

    def say(self, text: str) -> None:
        """Show one sentence in place of the last one."""
        self._line("says").update(text)

    def _line(self, name: str) -> Static:
        return self.query_one(f"#inline-{name}", Static)


class InlineApp(App[int]):
    """Follows one job by the same feed as the whole interface; what it shows is what the daemon said."""

    CSS = """
    Screen { background: ansi_default; color: ansi_default; }
    Screen:inline { height: auto; border: none; }
    TransferLines { height: auto; }
    TransferLines Static { height: auto; max-height: 2; text-wrap: nowrap; text-overflow: ellipsis; }
    #inline-pieces { color: $primary; }
    #inline-says { text-wrap: wrap; max-height: 3; color: $warning; }
    #inline-keys { height: 1; color: $text-muted; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause", id="inline.pause", tooltip="p2pckpt pause JOB"),
        Binding("q", "leave", "Leave", id="inline.leave"),
        Binding("ctrl+c", "interrupt", "Interrupt", id="inline.interrupt", system=True, priority=True),
    ]

    def __init__(self, factory: ClientFactory, job_id: str, *, backoff: Sequence[float] = BACKOFF) -> None:
        super().__init__()
        self.feed = Feed(factory, self.post_message, start=False, backoff=backoff)
        self.commands = Commands(self, self.feed)
        self.ending = Ending(None)
        self._job_id = job_id
        self._lines = TransferLines()
        self._asking = Asking(
            self,
            self._lines,
            lambda client, key: client.job_detail(key),
            lambda detail: self._lines.show_detail(detail),
        )
        self.theme = "ansi-dark"  # the terminal's own colours: these lines stand among those of other programs

    def compose(self) -> ComposeResult:
        yield self._lines
        yield Static("", id="inline-keys", markup=False)

    def on_mount(self) -> None:
        self.run_worker(self.feed.run(), group="feed")
        self.set_interval(_DETAIL_INTERVAL, self._asking.refresh)
        active = [active.binding for active in self.screen.active_bindings.values()]
        keys = {binding.action: self.get_key_display(binding) for binding in active}
        text = f"{keys['pause']} pause, resume   {keys['leave']} leave; the transfer goes on"
        self.query_one("#inline-keys", Static).update(text)

    def on_state_changed(self, message: StateChanged) -> None:
        state = self.feed.state
        if not state.connected:
            if state.down is not None:
                self._lines.say(f"{f.safe(state.down.fact)}; looking again …")
            return
        if message.changes.everything:
            self._lines.say("")
        elif self._job_id not in message.changes.jobs:
            return
        job = state.jobs.get(self._job_id)
        if job is None:
            self._end(Ending(self.ending.job, Cancelled(f"job {self._job_id} was removed")))
        elif job.state is JobState.FAILED and job.failure is not None:
            self._end(Ending(job, error_of(job.failure)))
        elif job.state.ended:
            self._end(Ending(job))
        else:
            self.ending = Ending(job)
            self._lines.show_job(job)
            self._asking.look_at(job.id)

    def on_notice_arrived(self, message: NoticeArrived) -> None:
        if message.notice.job == self._job_id:
            self._lines.say(f.safe(message.notice.text))

    def notify(self, message: str, **options: Any) -> None:
        """What would be a toast is said in the last line: there is no room for one."""
        self._lines.say(message.replace("\n", "   "))

    def action_pause(self) -> None:
        """Pause the job, or resume it."""
        job = self.ending.job
        if job is not None:
            paused = job.state is JobState.PAUSED
            self.commands.run(lambda client: client.resume(job.id) if paused else client.pause(job.id))

    def action_leave(self) -> None:
        """End the view alone."""
        self._end(self.ending)

    def action_interrupt(self) -> None:
        """As leaving, and the shell is told."""
        self._end(Ending(self.ending.job, Cancelled("interrupted", kept="the transfer; only the view has ended")))

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        self.exit()
