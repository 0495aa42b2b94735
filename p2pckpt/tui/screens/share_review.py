"""The last step of sharing a folder: what [Publish] will do, and the choice that belongs to a share's next version."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from p2pckpt.control.publish_messages import FolderReport, PublishPlan, PublishRequest
from p2pckpt.tui.screens import share_words as words
from p2pckpt.tui.screens.dialog import table
from p2pckpt.tui.widgets.check import Check

_DELTA: Final = "tensors as differences to the newest whole version"
_WHOLE: Final = "no differences: this version is whole in any case"
_TAGGED: Final = "no differences: a version with a tag is whole"


class Review(Vertical):
    """Nothing here waits for the plan: it is shown when it comes."""

    def __init__(self) -> None:
        super().__init__(id="review", classes="step")
        self._typed: PublishRequest | None = None
        self._report: FolderReport | None = None
        self._plan: PublishPlan | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="facts"):
            yield Static("", id="review-facts", markup=False)
            yield Static("", id="plan-facts", markup=False)
        yield Check(_DELTA, id="delta", compact=True)
        yield Static("", id="command", classes="equivalent", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Publish", id="publish", variant="primary", compact=True)
            yield Button("Back", classes="back", compact=True)

    def show(self, typed: PublishRequest, report: FolderReport, me: str) -> None:
        """Begin anew with what was typed, which says nothing of differences; ``me`` signs."""
        self._typed, self._report, self._plan = typed, report, None
        facts = [*words.warning_lines(report.warnings), *words.review_lines(typed, report, me)]
        self.query_one("#review-facts", Static).update(table(facts))
        self.query_one("#plan-facts", Static).update(Content("Comparing with what the share has …"))
        self._offer()

    def show_plan(self, plan: PublishPlan | None) -> None:
        """What is new in it; None: that can't be said."""
        self._plan = plan
        self._offer()
        if plan is None:
            self.query_one("#plan-facts", Static).update("")

    @property
    def request(self) -> PublishRequest:
        """What was typed in all steps, this one among them. Something has been shown."""
        assert self._typed is not None
        check = self.query_one("#delta", Check)
        return replace(self._typed, delta=check.value and check.display and not check.disabled)

    @on(Check.Changed, "#delta")
    def _chosen(self) -> None:
        if self._typed is not None:
            self._tell()

    def _offer(self) -> None:
        """A share's first version can't be a difference to anything, and a later one not always."""
        assert self._typed is not None and self._report is not None
        check = self.query_one("#delta", Check)
        check.display = self._report.known_as is not None
        whole = _WHOLE if self._plan is not None and self._plan.delta_size < 0 else ""
        whole = _TAGGED if self._typed.tags else whole
        check.disabled = bool(whole)
        check.label = Content(whole or _DELTA)
        self._tell()

    def _tell(self) -> None:
        assert self._report is not None
        request = self.request
        self.query_one("#command", Static).update(Content(f"= {words.command(request, self._report)}"))
        if self._plan is not None:
            lines = words.plan_lines(self._plan, self._report.warnings, delta=request.delta)
            self.query_one("#plan-facts", Static).update(table(lines))
