"""The question before something is removed: what it would mean, and No as the answer at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from p2pckpt.control.messages import Job, JobKind, JobState
from p2pckpt.tui import format as f
from p2pckpt.tui.widgets.clean_input import CleanInput

_NAMED = 3
"""Jobs whose consequences are spelled out; the rest are counted."""


class RemoveDialog(ModalScreen[bool]):
    """Yes only by choosing it; removing data also wants the name typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "no", "No"),
        Binding("left,right", "app.focus_next", "Other button", show=False),
    ]

    def __init__(self, jobs: Sequence[Job], *, data: bool) -> None:
        super().__init__()
        self._jobs = jobs
        self._data = data
        self.expected = f.share_name(jobs[0]) if len(jobs) == 1 else f"remove {len(jobs)}"
        """What has to be typed before data is removed."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Remove with data" if self._data else "Remove"
            yield Static(Content("\n".join(consequences(self._jobs, data=self._data))), markup=False)
            if self._data:
                yield Static(Content(f"Type {self.expected} to confirm:"), classes="label", markup=False)
                yield CleanInput(id="confirm", compact=True)
            with Horizontal(classes="buttons"):
                yield Button("No, keep", id="no", variant="primary", compact=True)
                yield Button("Remove", id="yes", variant="error", disabled=self._data, compact=True)

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Input.Changed, "#confirm")
    def _typed(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value.strip() != self.expected

    @on(Input.Submitted, "#confirm")
    def _submitted(self) -> None:
        self.query_one("#no", Button).focus()

    @on(Button.Pressed, "#yes")
    def _yes(self) -> None:
        self.dismiss(True)

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(False)


def consequences(jobs: Sequence[Job], *, data: bool) -> list[str]:
    """What removing ``jobs`` means, most important first."""
    lines = []
    for job in jobs[:_NAMED]:
        lines.append(f"{f.glyph(job)} {f.share_name(job)} @ {f.version(job.version, job.version_name)}")
        lines += [f"  {line}" for line in _consequences(job, data=data)]
    if len(jobs) > _NAMED:
        lines.append(f"… and {len(jobs) - _NAMED} more")
    lines.append("")
    lines.append("No checkout and no published folder is touched.")
    return lines


def _consequences(job: Job, *, data: bool) -> list[str]:
    lines = []
    if job.state is JobState.SEEDING and job.seeds == 0:
        lines.append("! No other seed is known: without this machine nobody can fetch it.")
    elif job.state is JobState.SEEDING:
        lines.append(f"It is no longer offered from here; {f.plural(job.seeds, 'other seed')} known.")
    elif job.kind is JobKind.FETCH and job.state is not JobState.DONE:
        lines.append(f"The transfer stops at {f.percent(f.fraction(job))}.")
    if data:
        lines.append("Its objects that nothing else needs are deleted from the store.")
    elif job.kind is JobKind.FETCH:
        lines.append("What was received stays in the store and is reused by a later fetch.")
    else:
        lines.append("Its objects stay in the store.")
    return lines
