"""Share a folder in four steps: the folder, what it is, who gets it, and a review; then the link."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.timer import Timer
from textual.widgets import Button, ContentSwitcher, DirectoryTree, Input, Label, RadioSet, Static

from p2pckpt.checkpoint.licences import COMMON
from p2pckpt.control.messages import Job
from p2pckpt.control.publish_messages import CardFields, FolderReport, LookRequest, PublishPlan, PublishRequest
from p2pckpt.errors import BadUsage, P2pckptError
from p2pckpt.tracker_protocol import Visibility
from p2pckpt.tui import commands
from p2pckpt.tui import format as f
from p2pckpt.tui.screens import share_words as words
from p2pckpt.tui.screens.dialog import StepDialog
from p2pckpt.tui.screens.share_review import Review
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.check import Check, Choice
from p2pckpt.tui.widgets.clean_input import CleanInput
from p2pckpt.tui.widgets.folders import FolderTree
from p2pckpt.units import parse_duration

STEPS: Final = ("folder", "describe", "who", "review")
_TITLES: Final = ("Folder", "Describe", "Who", "Review")
_FIRST: Final = {"folder": "#path", "describe": "#name", "who": "#to", "review": "#publish"}
"""Where the focus goes in each step."""
_TYPING: Final = 0.3
"""Seconds after the last key before a typed folder is looked into."""


class ShareDialog(StepDialog):
    """Nothing is written before [Publish]. What of it is new is found out meanwhile and need not be waited for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_link", "Copy link", id="share.copy-link"),
        Binding("ctrl+b", "back", "Step back", show=False, id="share.back"),
    ]

    def __init__(self, start_at: Path, path: str = "", name: str = "") -> None:
        super().__init__()
        self._start_at = start_at
        self._given = path, name
        self._report: FolderReport | None = None
        """Of the folder in the first step; None while it is looked into."""
        self._asked: LookRequest | None = None
        self._timer: Timer | None = None
        self._described = ""
        """The folder whose card the second step shows."""
        self._reviewed: PublishRequest | None = None
        """What the last step shows, as it was typed in the others."""
        self._job_id = ""
        self._link = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Share a checkpoint folder"
            yield Static("", id="steps", markup=False)
            with ContentSwitcher(initial="folder"):
                yield from self._folder()
                yield from self._describe()
                yield from self._who()
                yield Review()
                with Vertical(id="result", classes="step"):
                    yield Static("", id="result-facts", markup=False)
                    with Horizontal(classes="buttons"):
                        yield Button("Copy link (y)", id="copy", variant="primary", disabled=True, compact=True)
                        yield Button("Close", id="close", compact=True)
            yield Static("", id="error", markup=False)

    def _folder(self) -> ComposeResult:
        path, _ = self._given
        with Vertical(id="folder", classes="step"):
            with Horizontal(classes="field"):
                yield Label("Folder")
                yield CleanInput(path, id="path", placeholder="/path/to/checkpoint", compact=True)
            yield FolderTree(self._start_at, id="tree")
            yield Static("", id="found", markup=False)
            yield from _buttons(first=True)

    def _describe(self) -> ComposeResult:
        _, name = self._given
        with VerticalScroll(id="describe", classes="step", can_focus=False):
            yield from _field("Share", CleanInput(name, id="name", placeholder="the folder's name", compact=True))
            yield from _field(
                "Version", CleanInput(id="version", placeholder="a name such as step-42000; empty: none", compact=True)
            )
            yield from _field(
                "Tags",
                CleanInput(id="tags", placeholder="of the version besides latest, e.g. stable best", compact=True),
            )
            yield Static("README.md", classes="section", markup=False)
            yield from _field(
                "Licence",
                CleanInput(
                    id="licence",
                    placeholder="apache-2.0, mit, cc-by-4.0, …",
                    suggester=SuggestFromList(COMMON, case_sensitive=False),
                    compact=True,
                ),
            )
            yield from _field("Made from", CleanInput(id="base-model", placeholder="org/model", compact=True))
            yield from _field("Card tags", CleanInput(id="card-tags", placeholder="sft, en", compact=True))
            yield Check("publish even if no licence is named", id="no-licence", compact=True)
            yield Check("publish even if pickles import unknown names", id="unsafe-pickle", compact=True)
            yield from _buttons()

    def _who(self) -> ComposeResult:
        with VerticalScroll(id="who", classes="step", can_focus=False):
            with RadioSet(id="to", compact=True):
                for visibility, text in words.WHO.items():
                    yield Choice(Content(f"{visibility.value:<8} {text}"), visibility is Visibility.LINK)
            yield Static("", id="as-it-is", markup=False)
            yield Static("The link", classes="section", markup=False)
            yield from _field("Ends", CleanInput(id="expires", placeholder="12h, 7d; empty: never", compact=True))
            yield from _field("Uses", CleanInput(id="max-uses", placeholder="empty: any number", compact=True))
            yield from _field(
                "Password", CleanInput(id="password", placeholder="empty: none", password=True, compact=True)
            )
            yield from _buttons()

    def on_mount(self) -> None:
        self._go("folder")
        if self._given[0]:
            self._look()

    # -- steps

    @property
    def _step(self) -> str:
        return self.query_one(ContentSwitcher).current or ""

    def _go(self, step: str) -> None:
        self.step(step)
        parts: list[tuple[str, str]] = []
        for number, (name, title) in enumerate(zip(STEPS, _TITLES, strict=True), start=1):
            label = f"{number} {title}"
            parts.append((f"[{label}]", "bold $text-primary") if name == step else (f" {label} ", "$text-muted"))
        self.query_one("#steps", Static).update(Content.assemble(*parts) if step in STEPS else "")
        if step in _FIRST:
            first = self.query_one(_FIRST[step])
            (first if first.display else self.query_one("#expires")).focus()  # who it is for is not asked twice

    @on(Input.Submitted)
    @on(Button.Pressed, ".next")
    def _next(self) -> None:
        if self._step == "folder":
            self._leave_folder()
        elif self._step == "describe":
            self._leave_describe()
        elif self._step == "who":
            self._leave_who()

    @on(Button.Pressed, ".back")
    def action_back(self) -> None:
        if self._step in STEPS[1:]:
            self._go(STEPS[STEPS.index(self._step) - 1])

    # -- the folder

    @on(DirectoryTree.DirectorySelected)
    def _folder_chosen(self, event: DirectoryTree.DirectorySelected) -> None:
        self.query_one("#path", CleanInput).value = str(event.path)

    @on(Input.Changed, "#path")
    def _path_typed(self) -> None:
        self._report = self._asked = None
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_TYPING, self._look)

    def _look(self) -> None:
        """Ask what is in the typed folder, if it is one; what it says is shown below the tree."""
        path = self.query_one("#path", CleanInput).value.strip()
        if not is_folder(path):
            self.query_one("#found", Static).update("")
            return
        request = LookRequest(str(absolute(path)), self._given[1])
        if request == self._asked:
            return
        self._asked = request
        self.query_one("#found", Static).update(Content("Looking into it …"))

        def answered(report: FolderReport) -> None:
            if request == self._asked and self.is_attached:
                self._report = report
                self.query_one("#found", Static).update(words.found(report))

        def failed(error: P2pckptError) -> None:
            if request == self._asked and self.is_attached:
                self._asked = None
                self.query_one("#found", Static).update("")
                self.say_error("✗ " + "\n  ".join(commands.lines(error)))

        self.hub.commands.run(lambda client: client.look(request), answered, failed)

    def _leave_folder(self) -> None:
        path = self.query_one("#path", CleanInput).value.strip()
        if not is_folder(path):
            self.say_error(f"✗ {f.safe(path) or 'An empty path'} is not a folder on this machine.")
            self.query_one("#path", CleanInput).focus()
            return
        request = LookRequest(str(absolute(path)), self._given[1])
        if self._report is not None and self._asked == request:
            self._describe_it(self._report)
            return
        self._asked = request
        self.ask(lambda client: client.look(request), self._describe_it, "Looking into the folder …")

    def _describe_it(self, report: FolderReport) -> None:
        self._report = report
        self.query_one("#found", Static).update(words.found(report))
        if self._described != report.path:  # going back and forth keeps what was typed
            self._described = report.path
            self._fill("#licence", report.licence)
            self._fill("#base-model", ", ".join(report.base_model))
            self._fill("#card-tags", ", ".join(report.tags))
            self._fill("#name", self._given[1] or report.name)
        self._go("describe")

    def _fill(self, selector: str, text: str) -> None:
        self.query_one(selector, CleanInput).value = text

    def _leave_describe(self) -> None:
        assert self._report is not None
        look = LookRequest(self._report.path, self._text("#name"))
        self.ask(lambda client: client.look(look), self._ask_who, "Looking for the share …")

    # -- who, and the review

    def _ask_who(self, report: FolderReport) -> None:
        """An existing share keeps who it is for; the link is made for each publish."""
        self._report = report
        known = report.known_as
        self.query_one("#to", RadioSet).display = known is None
        note = self.query_one("#as-it-is", Static)
        note.display = known is not None
        if known is not None:
            text = f"{f.safe(report.name, 100)} exists: {words.WHO[known]}. That stays as it is."
            note.update(Content(text))
        self._go("who")

    def _leave_who(self) -> None:
        try:
            request = self._typed()
        except BadUsage as error:
            self.say_error(f"✗ {error.fact}")
            return
        assert self._report is not None
        self._review(request, self._report)

    def _typed(self) -> PublishRequest:
        """What was typed in all steps. Raises ``BadUsage``."""
        report = self._report
        assert report is not None
        card = CardFields(
            licence=self._text("#licence"),
            base_model=_parted(self._text("#base-model")),
            tags=_parted(self._text("#card-tags")),
        )
        same = (card.licence, card.base_model, card.tags) == (report.licence, report.base_model, report.tags)
        expires, uses = self._text("#expires"), self._text("#max-uses")
        try:
            seconds = parse_duration(expires) if expires else 0
        except ValueError as exc:
            raise BadUsage(f"{f.safe(expires, 40)!r} is no duration; write 45m, 12h, 7d or 2w") from exc
        if uses and not (uses.isdecimal() and 0 < int(uses) < 1 << 31):
            raise BadUsage(f"{f.safe(uses, 40)!r} is no number of uses")
        return PublishRequest(
            path=report.path,
            name=self._text("#name"),
            version_name=self._text("#version"),
            to=list(words.WHO)[max(self.query_one("#to", RadioSet).pressed_index, 0)],
            tags=tuple(self._text("#tags").replace(",", " ").split()),
            allow_no_licence=self.query_one("#no-licence", Check).value,
            allow_unsafe_pickle=self.query_one("#unsafe-pickle", Check).value,
            expires_at=int(time.time()) + seconds if seconds else 0,
            max_uses=int(uses or 0),
            password=self.query_one("#password", CleanInput).value,
            card=None if same else card,
        )

    def _text(self, selector: str) -> str:
        return self.query_one(selector, CleanInput).value.strip()

    def _review(self, request: PublishRequest, report: FolderReport) -> None:
        self._reviewed = request
        me = self.hub.feed.state.status.identity if self.hub.feed.state.status else ""
        review = self.query_one(Review)
        review.show(request, report, me)
        self._go("review")

        def answered(plan: PublishPlan) -> None:
            if request is self._reviewed and self.is_attached:
                review.show_plan(plan)

        def failed(error: P2pckptError) -> None:
            if request is self._reviewed and self.is_attached:
                review.show_plan(None)
                self.say_error("✗ " + "\n  ".join(commands.lines(error)))

        self.hub.commands.run(lambda client: client.publish_plan(request), answered, failed)

    @on(Button.Pressed, "#publish")
    def _publish(self) -> None:
        request = self.query_one(Review).request
        self.ask(lambda client: client.publish(request), self._published, "Starting …")

    # -- result

    def _published(self, job: Job) -> None:
        self._job_id = job.id
        self._go("result")
        self.query_one("#close", Button).focus()
        self._show_job(job)

    def state_changed(self, changes: Changes) -> None:
        job = self.hub.feed.state.jobs.get(self._job_id)
        if job is not None:
            self._show_job(job)

    def _show_job(self, job: Job) -> None:
        self._link = job.link
        self.query_one("#copy", Button).disabled = not job.link
        self.query_one("#result-facts", Static).update(words.result(job))

    @on(Button.Pressed, "#copy")
    def action_copy_link(self) -> None:
        if self._link:
            self.hub.copy_link(self._link)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._link) if action == "copy_link" else True

    @on(Button.Pressed, ".cancel")
    @on(Button.Pressed, "#close")
    def _close(self) -> None:
        self.action_close()


def _field(label: str, box: CleanInput) -> ComposeResult:
    with Horizontal(classes="field"):
        yield Label(label)
        yield box


def _parted(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _buttons(*, first: bool = False) -> ComposeResult:
    with Horizontal(classes="buttons"):
        yield Button("Next", classes="next", variant="primary", compact=True)
        if first:
            yield Button("Cancel", classes="cancel", compact=True)
        else:
            yield Button("Back", classes="back", compact=True)


def absolute(path: str) -> Path:
    """A typed path as the daemon needs it."""
    return Path(path).expanduser().absolute()


def is_folder(path: str) -> bool:
    """Whether a typed path is a directory here."""
    try:
        return bool(path.strip()) and absolute(path.strip()).is_dir()
    except (OSError, RuntimeError):
        return False
