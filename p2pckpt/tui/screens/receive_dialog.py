"""Receive: paste a link, see what it is, start. Before [Start] the daemon fetches signed metadata only."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import ClassVar

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, ContentSwitcher, Input, Label, Static

from p2pckpt.control.messages import FetchPreview, FetchRequest, FileRow, Job, JobState
from p2pckpt.control.settings_messages import Settings
from p2pckpt.errors import NotAllowed, NotFound, P2pckptError
from p2pckpt.tui import format as f
from p2pckpt.tui.screens import receive_words as words
from p2pckpt.tui.screens.ask_dialog import AskDialog
from p2pckpt.tui.screens.dialog import StepDialog, table
from p2pckpt.tui.screens.files_dialog import FilesDialog
from p2pckpt.tui.screens.share_dialog import absolute
from p2pckpt.tui.widgets.check import Check
from p2pckpt.tui.widgets.clean_input import CleanInput


class ReceiveDialog(StepDialog):
    """The preview is for exactly the request that [Start] sends."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f", "choose", "Choose files", id="receive.files")]

    def __init__(self, source: str = "") -> None:
        super().__init__()
        self._source = source
        self._asked: FetchRequest | None = None
        """What was looked at last, whatever came of it."""
        self._request: FetchRequest | None = None
        """What the preview shows and [Start] sends."""
        self._licence = ""
        """What has to be accepted before [Start] starts anything."""
        self._all: tuple[FileRow, ...] = ()
        """Every file of the version, once it was looked at."""
        self._seeds = True
        """What a get without --seed or --no-seed does."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Receive"
            with ContentSwitcher(initial="form"):
                with VerticalScroll(id="form", can_focus=False):
                    yield from self._form()
                with Vertical(id="preview", classes="step"):
                    with VerticalScroll(classes="facts"):
                        yield Static("", id="preview-facts", markup=False)
                    yield Check("I accept the licence that the owner asks for", id="accept", compact=True)
                    yield Static("", id="command", classes="equivalent", markup=False)
                    with Horizontal(classes="buttons"):
                        yield Button("Start", id="start", variant="primary", compact=True)
                        yield Button("Only add, paused", id="add", compact=True)
                        yield Button("Files (f)", id="choose", compact=True)
                        yield Button("Back", id="back", compact=True)
            yield Static("", id="error", markup=False)

    def _form(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Label("Link")
            yield CleanInput(
                self._source,
                id="source",
                placeholder="paste it here; or NAME[@VERSION] of a share joined before",
                compact=True,
            )
        with Horizontal(classes="field"):
            yield Label("Password")
            yield CleanInput(id="password", placeholder="only if the link has one", password=True, compact=True)
        with Horizontal(classes="field"):
            yield Label("To")
            yield CleanInput(id="to", placeholder="a folder; empty: where the daemon keeps checkouts", compact=True)
        with Horizontal(classes="field"):
            yield Label("Files")
            yield Check("weights only", id="weights", compact=True)
        with Horizontal(classes="field"):
            yield Label("After")
            yield Check("keep seeding it to others", True, id="seed", compact=True)
        with Horizontal(classes="buttons"):
            yield Button("Look at it", id="look", variant="primary", compact=True)
            yield Button("Ask the owners", id="ask-owners", compact=True)
            yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#ask-owners").display = False
        # not ``focus()``, which waits for its turn: who pastes at once would paste into nothing
        self.set_focus(self.query_one("#source", CleanInput))
        # without an answer it stays as it is drawn: what is asked for is what is seen
        self.hub.commands.run(lambda client: client.settings(), self._know, lambda error: None)

    def _know(self, settings: Settings) -> None:
        leaves = any(row.key == "seed_after_get" and not row.in_force for row in settings.rows)
        if leaves and self.is_attached and self._asked is None:
            self._seeds = self.query_one("#seed", Check).value = False

    @on(Input.Submitted)
    @on(Button.Pressed, "#look")
    def _look(self) -> None:
        source = self.query_one("#source", CleanInput).value.strip()
        if not source:
            self.say_error("✗ Paste a link first.")
            self.query_one("#source", CleanInput).focus()
            return
        to = self.query_one("#to", CleanInput).value.strip()
        request = FetchRequest(
            source=source,
            to=str(absolute(to)) if to else "",
            base=str(Path.cwd()),
            only=("weights",) if self.query_one("#weights", Check).value else (),
            seed=self.query_one("#seed", Check).value,
            password=self.query_one("#password", CleanInput).value,
        )
        self._plan(request, ())

    def _plan(self, request: FetchRequest, files: tuple[FileRow, ...]) -> None:
        """Look at ``request``; ``files`` is every file of the version, where that is known."""
        self._asked = request
        self.ask(
            lambda client: client.fetch_plan(request),
            lambda found: self._show(request, files if request.only else found.files, found),
            "Asking the tracker for the signed description …",
            self._refused,
        )

    def _refused(self, error: P2pckptError) -> None:
        self.query_one("#ask-owners").display = isinstance(error, NotAllowed | NotFound)

    @on(Button.Pressed, "#ask-owners")
    def _ask_owners(self) -> None:
        assert self._asked is not None
        self.app.push_screen(AskDialog(self._asked.source, self._look))

    def _show(self, request: FetchRequest, files: tuple[FileRow, ...], preview: FetchPreview) -> None:
        self._request, self._all = request, files
        self._licence = preview.licence_due
        accept = self.query_one("#accept", Check)
        accept.display, accept.value = bool(preview.licence_due), False
        self.query_one("#preview-facts", Static).update(
            table(words.preview_lines(preview, self.hub.feed.state.jobs.values()))
        )
        line = words.command(request, seeds=self._seeds, accepts=bool(self._licence), paused=False)
        self.query_one("#command", Static).update(Content(f"= {line}"))
        self.query_one("#choose").display = bool(self._all)
        self.step("preview")
        self.query_one("#start", Button).focus()

    @on(Button.Pressed, "#choose")
    def action_choose(self) -> None:
        """Choose among the files; what starting would do is looked at again."""
        request = self._request
        assert request is not None
        chosen = {row.path for row in self._all if not request.only or glob.escape(row.path) in request.only}

        def answered(paths: tuple[str, ...] | None) -> None:
            if paths is not None:
                only = () if len(paths) == len(self._all) else tuple(glob.escape(path) for path in paths)
                self._plan(replace(request, only=only), self._all)

        self.app.push_screen(FilesDialog(self._all, chosen), answered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "choose":
            return bool(self._all) and self.query_one(ContentSwitcher).current == "preview"
        return True

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        self.step("form")
        self.query_one("#source", CleanInput).focus()

    @on(Button.Pressed, "#start")
    @on(Button.Pressed, "#add")
    def _start(self, event: Button.Pressed) -> None:
        request = self._request
        assert request is not None
        if self._licence:
            if not self.query_one("#accept", Check).value:
                self.say_error("✗ The owner asks you to accept the licence first.")
                self.query_one("#accept", Check).focus()
                return
            request = replace(request, accept_licence=self._licence)
        request = replace(request, paused=event.button.id == "add")
        self.ask(lambda client: client.fetch(request), self._started, "Starting …")

    def _started(self, job: Job) -> None:
        waits = job.state is JobState.PAUSED
        text = f"{f.share_name(job)} is added as {f.safe(job.id, 20)}; space begins it."
        self.hub.commands.say(text if waits else f"Receiving {f.share_name(job)} as {f.safe(job.id, 20)}.")
        self.dismiss(None)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.action_close()
