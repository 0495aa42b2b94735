"""Share a folder: a form, the dry run, then the link."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.validation import Function
from textual.widgets import Button, ContentSwitcher, DirectoryTree, Input, Label, Select, Static

from p2pckpt.control.messages import Job, JobState, PublishPlan, PublishRequest
from p2pckpt.tracker_protocol import Visibility
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.dialog import Line, StepDialog, table
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.check import Check
from p2pckpt.tui.widgets.clean_input import CleanInput
from p2pckpt.tui.widgets.folders import FolderTree

_TO = (
    ("whoever has the link (sealed)", Visibility.LINK),
    ("members only (sealed)", Visibility.MEMBERS),
    ("anyone (public, not sealed)", Visibility.PUBLIC),
)

_LISTED = 50
"""Changed files that the review names."""
_PLAN_FILES = 200
"""Changed files that the daemon names at most."""


class ShareDialog(StepDialog):
    """Publishes nothing before [Publish]; the plan is the daemon's, for exactly the request that is sent then."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("y", "copy_link", "Copy link", id="share.copy-link")]

    def __init__(self, start_at: Path) -> None:
        super().__init__()
        self._start_at = start_at
        self._request: PublishRequest | None = None
        self._job_id = ""
        self._link = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = "Share a checkpoint folder"
            with ContentSwitcher(initial="form"):
                with VerticalScroll(id="form", can_focus=False):
                    yield from self._form()
                with Vertical(id="plan", classes="step"):
                    with VerticalScroll(classes="facts"):
                        yield Static("", id="plan-facts", markup=False)
                    with Horizontal(classes="buttons"):
                        yield Button("Publish", id="publish", variant="primary", compact=True)
                        yield Button("Back", id="back", compact=True)
                with Vertical(id="result", classes="step"):
                    yield Static("", id="result-facts", markup=False)
                    with Horizontal(classes="buttons"):
                        yield Button("Copy link (y)", id="copy", variant="primary", disabled=True, compact=True)
                        yield Button("Close", id="close", compact=True)
            yield Static("", id="error", markup=False)

    def _form(self) -> ComposeResult:
        check = Function(is_folder, "this is not a folder on this machine")
        with Horizontal(classes="field"):
            yield Label("Folder")
            yield CleanInput(id="path", placeholder="/path/to/checkpoint", validators=[check], compact=True)
        yield FolderTree(self._start_at, id="tree")
        with Horizontal(classes="field"):
            yield Label("Name")
            yield CleanInput(
                id="name", placeholder="the folder's name; an existing share gets a new version", compact=True
            )
        with Horizontal(classes="field"):
            yield Label("For")
            yield Select[Visibility](_TO, value=Visibility.LINK, allow_blank=False, id="to", compact=True)
        with Horizontal(classes="field"):
            yield Label("Tags")
            yield CleanInput(id="tags", placeholder="besides latest, e.g. stable best", compact=True)
        with Horizontal(classes="field"):
            yield Label("Licence")
            yield Check("publish even if the folder names no licence", id="no-licence", compact=True)
        with Horizontal(classes="field"):
            yield Label("Pickles")
            yield Check("publish even if pickles import unknown names", id="unsafe-pickle", compact=True)
        with Horizontal(classes="buttons"):
            yield Button("Review", id="review", variant="primary", compact=True)
            yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self.query_one("#path", CleanInput).focus()

    # -- form

    @on(DirectoryTree.DirectorySelected)
    def _folder_chosen(self, event: DirectoryTree.DirectorySelected) -> None:
        self.query_one("#path", CleanInput).value = str(event.path)

    @on(Input.Submitted)
    @on(Button.Pressed, "#review")
    def _review(self) -> None:
        path = self.query_one("#path", CleanInput).value.strip()
        if not is_folder(path):
            self.say_error(f"✗ {f.safe(path) or 'An empty path'} is not a folder on this machine.")
            self.query_one("#path", CleanInput).focus()
            return
        request = PublishRequest(
            path=str(absolute(path)),
            name=self.query_one("#name", CleanInput).value.strip(),
            to=Visibility(str(self.query_one("#to", Select).value)),
            tags=tuple(self.query_one("#tags", CleanInput).value.replace(",", " ").split()),
            allow_no_licence=self.query_one("#no-licence", Check).value,
            allow_unsafe_pickle=self.query_one("#unsafe-pickle", Check).value,
        )
        self._request = request
        self.ask(lambda client: client.publish_plan(request), self._show_plan, "Reading the folder …")

    # -- plan

    def _show_plan(self, plan: PublishPlan) -> None:
        self.query_one("#plan-facts", Static).update(table(plan_lines(plan)))
        self.step("plan")
        self.query_one("#publish", Button).focus()

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        self.step("form")
        self.query_one("#path", CleanInput).focus()

    @on(Button.Pressed, "#publish")
    def _publish(self) -> None:
        request = self._request
        assert request is not None
        self.ask(lambda client: client.publish(request), self._published, "Starting …")

    # -- result

    def _published(self, job: Job) -> None:
        self._job_id = job.id
        self.step("result")
        self.query_one("#close", Button).focus()
        self._show_job(job)

    def state_changed(self, changes: Changes) -> None:
        job = self.hub.feed.state.jobs.get(self._job_id)
        if job is not None:
            self._show_job(job)

    def _show_job(self, job: Job) -> None:
        self._link = job.link
        self.query_one("#copy", Button).disabled = not job.link
        self.query_one("#result-facts", Static).update(result(job))

    @on(Button.Pressed, "#copy")
    def action_copy_link(self) -> None:
        if self._link:
            self.hub.copy_link(self._link)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._link) if action == "copy_link" else True

    @on(Button.Pressed, "#cancel")
    @on(Button.Pressed, "#close")
    def _close(self) -> None:
        self.action_close()


def absolute(path: str) -> Path:
    """A typed path as the daemon needs it."""
    return Path(path).expanduser().absolute()


def is_folder(path: str) -> bool:
    """Whether a typed path is a directory here."""
    try:
        return bool(path.strip()) and absolute(path.strip()).is_dir()
    except (OSError, RuntimeError):
        return False


def plan_lines(plan: PublishPlan) -> list[Line]:
    """What publishing would do."""
    number = "the first version" if plan.version <= 1 else "a new version of it"
    lines: list[Line] = [
        ("Share", f"{f.safe(plan.share)} — v{plan.version}, {number}"),
        ("Contents", f"{f.size(plan.size)} in {f.plural(plan.files, 'file')}"),
        ("New", f"{f.size(plan.new_size)} in {_new_files(plan)}; the rest is in the share already"),
        ("Disk", f"at most {f.size(plan.disk_needed)} of {f.size(plan.disk_free)} free"),
    ]
    if plan.disk_needed > plan.disk_free:
        lines.append(("!", "The disk may be too full for it."))
    lines += [("!", f.safe(warning)) for warning in plan.warnings]
    lines += [("Changed" if n == 0 else "", f.safe(path)) for n, path in enumerate(plan.new_files[:_LISTED])]
    if len(plan.new_files) > _LISTED:
        lines.append(("", "… and more"))
    return lines


def _new_files(plan: PublishPlan) -> str:
    count = len(plan.new_files)
    return f.plural(count, "file") + (" or more" if count >= _PLAN_FILES else "")


def result(job: Job) -> Content:
    """How the publish goes, and its link as soon as there is one."""
    parts: list[str | tuple[str, str]] = [
        f"{f.glyph(job)} {f.share_name(job)}: {f.activity(job)} {f.percent(f.fraction(job))}\n\n"
    ]
    if job.failure is not None:
        error = [job.failure.fact, *(t for t in (job.failure.kept, job.failure.next_step) if t)]
        parts.append(("\n".join(f.safe(line) for line in error), "bold $text-error"))
    elif job.link:
        parts += [(f.safe(job.link, 2000), "bold $text-success"), "\n\n"]
        parts.append(
            ("It carries a secret unless the share is public: send it as you would a password.", "$text-muted")
        )
    else:
        parts.append(
            ("The link appears here as soon as the daemon has it; it works while this machine seeds.", "$text-muted")
        )
        if job.state in (JobState.SEEDING, JobState.DONE):
            parts.append("\nNone came with this version; p2pckpt invite makes one.")
    return Content.assemble(*parts)
