"""The audit log of one share: who did what, verified before a row of it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Final

import msgspec
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from p2pckpt import atomic
from p2pckpt.control import access_messages as am
from p2pckpt.control.audit_words import moment, person, subject, verdict
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotAllowed, P2pckptError
from p2pckpt.tui import commands
from p2pckpt.tui import format as f
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.screens.base import ListScreen
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.screens.share_dialog import absolute
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.columns import Column
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_ROWS: Final = 10_000
"""Rows that are looked at; the command line shows older ones."""

_COLUMNS: Final[tuple[Column[am.LogRow], ...]] = (
    Column("row", "Row", 6, lambda r, w: (str(r.seq), "dim"), 1, right=True, sort=lambda r: r.seq, descending=True),
    Column("when", "When (UTC)", 19, lambda r, w: (moment(r.at), "dim"), sort=lambda r: r.at, descending=True),
    Column("who", "Who", 16, lambda r, w: (person(r.actor, r.actor_name), "strong"), grow=1, sort=lambda r: r.actor),
    Column("did", "Did", 18, lambda r, w: (f.safe(r.action, 40), ""), sort=lambda r: r.action),
    Column("to", "To", 16, lambda r, w: (subject(r), ""), grow=2),
)
_FIELDS: Final[Fields[am.LogRow]] = Fields(
    name=lambda r: f"{r.actor_name} {r.action} {r.subject} {r.subject_name}",
    words={
        "did": lambda r: (r.action,),
        "who": lambda r: (r.actor_name.lower(), r.actor),
        "to": lambda r: (r.subject,),
    },
    numbers={"row": lambda r: r.seq},
)


class AuditScreen(ListScreen[am.LogRow]):
    """Newest first. A log that does not verify is not shown; why is."""

    NAME = "Members"
    EMPTY = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "export", "Export", id="audit.export", tooltip="p2pckpt log SHARE --json"),
        Binding("R", "anew", "Forget the end seen", show=False, id="audit.anew", tooltip="p2pckpt log SHARE --anew"),
        Binding("escape", "back", "Back", id="audit.back"),
    ]

    def __init__(self, share_id: str, share: str) -> None:
        self._share_id = share_id
        self._share = share
        self._reply: am.LogReply | None = None
        self._table: VirtualTable[am.LogRow] = VirtualTable(_COLUMNS, lambda row: str(row.seq), id="list")
        self._touched = 0
        super().__init__()

    @property
    def fields(self) -> Fields[am.LogRow]:
        return _FIELDS

    @property
    def table(self) -> VirtualTable[am.LogRow]:
        return self._table

    def all_rows(self) -> Sequence[am.LogRow]:
        return () if self._reply is None else self._reply.rows[::-1]

    def summary(self, rows: Sequence[am.LogRow]) -> str:
        name = f"Audit log of {f.safe(self._share, 60)}"
        if self._reply is None:
            return name
        part = f"newest {len(rows):,} of {self._reply.verified:,} rows" if len(rows) < self._reply.verified else ""
        return f"{name} · {part or f.plural(len(rows), 'row')}"

    def body(self) -> Iterable[Widget]:
        yield Static("", id="terms", markup=False)
        yield Static("", id="trouble", markup=False)
        yield self._table

    def on_mount(self) -> None:
        self._asking = Asking(self.hub, self, self._ask, self._show)
        super().on_mount()

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        self.remove_class("-empty")
        self._touched += self._share_id in changes.access
        self._asking.look_at(self._share_id, (self._touched, self.state.connected))

    async def _ask(self, client: ControlClient, share_id: str, *, anew: bool = False) -> am.LogReply | P2pckptError:
        try:
            return await client.log(am.LogRequest(share_id, 0, _ROWS, anew))
        except DaemonUnavailable:
            raise
        except P2pckptError as error:
            return error

    def _show(self, answer: am.LogReply | P2pckptError | None) -> None:
        if isinstance(answer, am.LogReply):
            self._reply = answer
        trouble = "\n  ".join(commands.lines(answer)) if isinstance(answer, P2pckptError) else ""
        line = self.query_one("#trouble", Static)
        line.update(Content(f"✗ {trouble}"))
        line.set_class(bool(trouble), "-shown")
        if trouble:
            self._reply = None
        said = "" if self._reply is None else f"✔ {verdict(self._reply)}"
        self.query_one("#terms", Static).update(Content(said))
        self.list_rows()
        self.remove_class("-empty")

    # -- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("mark", "mark_all"):
            return False  # nothing is done to rows of a log
        return super().check_action(action, parameters)

    def action_back(self) -> None:
        """End the filter, or leave."""
        if self._filter or self.query_one("#filter").has_class("-open"):
            self.action_clear_filter()
        else:
            self.app.pop_screen()

    def action_export(self) -> None:
        """Write the rows that pass the filter to a file that does not exist yet, as JSON."""
        reply = self._reply
        if reply is None:
            self.hub.commands.say("There is no verified log to export.", warning=True)
            return
        rows = tuple(sorted(self.table.rows, key=lambda row: row.seq))

        def answered(path: str | None) -> None:
            if path:
                self.run_worker(self._export(absolute(path), msgspec.structs.replace(reply, rows=rows)))

        text = f"Write {f.plural(len(rows), 'row')} as JSON to"
        self.app.push_screen(
            PromptDialog(
                "Export",
                text,
                placeholder="/path/to/log.json",
                yes="Export",
                check=_new_file,
                command=f"p2pckpt log {self._share} --json",
            ),
            answered,
        )

    async def _export(self, path: Path, reply: am.LogReply) -> None:
        try:
            await asyncio.to_thread(atomic.write_new, path, msgspec.json.format(msgspec.json.encode(reply)) + b"\n")
        except OSError as exc:
            self.hub.commands.tell(NotAllowed(f"{path} cannot be written: {exc.strerror}", next_step="another path"))
        else:
            self.hub.commands.say(f"{f.plural(len(reply.rows), 'row')} written to {path}.")

    def action_anew(self) -> None:
        """Trust the log as it is now, after a question."""

        def answered(yes: bool | None) -> None:
            if yes:
                self.hub.commands.run(lambda client: self._ask(client, self._share_id, anew=True), self._show)

        lines = [
            "This machine remembers how the log ended when it was last verified.",
            "! Forget that only if the tracker was restored from an older backup: nobody will miss what was cut off.",
        ]
        self.app.push_screen(
            ConfirmDialog(
                "Forget the end that was seen",
                lines,
                yes="Forget",
                no="No",
                command=f"p2pckpt log {self._share} --anew",
            ),
            answered,
        )


def _new_file(path: str) -> None:
    if not path:
        raise BadUsage("name a file")
    if absolute(path).exists():
        raise BadUsage(f"{path} exists; it is not overwritten")
    if not absolute(path).parent.is_dir():
        raise BadUsage(f"there is no directory {absolute(path).parent}")
