"""How fast jobs may go: two rates, one for each direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Label, Static

from p2pckpt.control.messages import Job
from p2pckpt.control.settings_messages import JobLimitRequest
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.widgets.clean_input import CleanInput
from p2pckpt.units import exact_size, parse_size


class LimitDialog(Modal[JobLimitRequest | None]):
    """Gives what is to be set; a field that was left as it was changes nothing, an empty one means no limit."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", id="limit.cancel")]

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__()
        self._jobs = jobs
        self._before = _common([job.limit_down for job in jobs]), _common([job.limit_up for job in jobs])

    def compose(self) -> ComposeResult:
        down, up = self._before
        title = f.share_name(self._jobs[0]) if len(self._jobs) == 1 else f.plural(len(self._jobs), "transfer")
        with Vertical(classes="dialog") as box:
            box.border_title = Content(f"Limit {title}")
            yield Static(
                Content("Bytes per second: 500K, 5M, 1.5G, 2MB. Empty for no limit of its own."),
                classes="label",
                markup=False,
            )
            with Horizontal(classes="field"):
                yield Label("↓ receive")
                yield CleanInput(down or "", placeholder=_hint(down), id="down", compact=True)
            with Horizontal(classes="field"):
                yield Label("↑ send")
                yield CleanInput(up or "", placeholder=_hint(up), id="up", compact=True)
            yield Static("", id="error", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Set", id="yes", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
            names = self._jobs[0].id if len(self._jobs) == 1 else "JOB…"
            command = f"= p2pckpt limit {f.safe(names, 20)} --down SIZE --up SIZE"
            yield Static(Content(command), classes="equivalent", markup=False)

    def on_mount(self) -> None:
        self.query_one("#down", CleanInput).focus()

    @on(Input.Submitted, "#down")
    def _next(self) -> None:
        self.query_one("#up", CleanInput).focus()

    @on(Input.Submitted, "#up")
    @on(Button.Pressed, "#yes")
    def _answered(self) -> None:
        values: list[int | None] = []
        for name, before in zip(("down", "up"), self._before, strict=True):
            field = self.query_one(f"#{name}", CleanInput)
            text = field.value.strip()
            try:
                values.append(None if text == (before or "") else 0 if text in ("", "none") else parse_size(text))
            except ValueError as error:
                line = self.query_one("#error", Static)
                line.update(Content(f"✗ {f.safe(str(error))}"))
                line.add_class("-shown")
                field.focus()
                return
        self.dismiss(JobLimitRequest(*values))

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        self.dismiss(None)


def _common(limits: Sequence[int]) -> str | None:
    """What stands in the field: nothing for no limit; None where the jobs differ."""
    if len(set(limits)) > 1:
        return None
    return exact_size(limits[0]) if limits[0] else ""


def _hint(before: str | None) -> str:
    return "they differ; left as they are, unless you write none or a rate" if before is None else "none"
