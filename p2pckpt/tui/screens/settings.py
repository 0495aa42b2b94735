"""Settings: every setting of this home with its value and where it comes from, changed by the daemon."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from p2pckpt.config import Kind, Value, convert
from p2pckpt.control.settings_messages import SetRequest, SettingRow, Settings
from p2pckpt.tui import format as f
from p2pckpt.tui import setting_columns
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.screens.base import ListScreen
from p2pckpt.tui.screens.choose import ChooseDialog
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_ALL = "settings"


class SettingsScreen(ListScreen[SettingRow]):
    """The list of settings; below it what the one under the cursor means."""

    NAME = "Settings"
    EMPTY = "The daemon has not told its settings yet.\np2pckpt config show --origin  lists them without it"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "reset", "Reset", id="settings.reset", tooltip="p2pckpt config unset KEY"),
        Binding("e", "edit_file", "Edit config.toml", id="settings.edit-file"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._table: VirtualTable[SettingRow] = VirtualTable(setting_columns.COLUMNS, lambda row: row.key, id="list")
        self._facts = Static("", id="setting-facts", markup=False)
        self._settings = Settings("", ())

    @property
    def fields(self) -> Fields[SettingRow]:
        return setting_columns.FIELDS

    @property
    def table(self) -> VirtualTable[SettingRow]:
        return self._table

    def all_rows(self) -> Sequence[SettingRow]:
        return self._settings.rows

    def summary(self, rows: Sequence[SettingRow]) -> str:
        states = [setting_columns.state(row) for row in rows]
        counted = [f"{glyph} {states.count(name)} {name}" for name, glyph in setting_columns.GLYPHS.items()]
        return " · ".join([f"all {len(rows)}", *(text for text in counted if " 0 " not in text)])

    def body(self) -> Iterable[Widget]:
        yield self._table
        yield self._facts

    def on_mount(self) -> None:
        self._asking = Asking(self.hub, self, lambda client, key: client.settings(), self._show)

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        if changes.settings or changes.everything:
            if self._asking.key:
                self._asking.refresh()
            else:
                self._asking.look_at(_ALL)

    def _show(self, settings: Settings | None) -> None:
        if settings is not None:
            self._settings = settings
            self.list_rows()
            self._moved()

    @on(VirtualTable.Moved, "#list")
    def _moved(self) -> None:
        row = self.table.cursor
        self._facts.update("" if row is None else setting_columns.facts(row))

    # -- changing one

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "reset":
            return self.state.down is None
        return super().check_action(action, parameters)

    @on(VirtualTable.Chosen, "#list")
    def _chosen(self) -> None:
        row = self.table.cursor
        if row is None or not self._may_change(row):
            return
        choices: Sequence[str] = row.choices
        if row.kind is Kind.SWITCH:
            choices = ("true", "false")
        elif row.key == "theme":
            choices = sorted(self.app.available_themes)
        title, command = f"Setting {f.safe(row.key, 40)}", f"p2pckpt config set {row.key} …"
        value, text = setting_columns.value(row), f.safe(row.help)
        if choices:
            self.app.push_screen(
                ChooseDialog(title, [(each, each) for each in choices], present=value, text=text, command=command),
                lambda choice: self._set(row, choice) if choice is not None else None,
            )
        else:
            self.app.push_screen(
                PromptDialog(
                    title,
                    text,
                    value=value,
                    placeholder="empty",
                    yes="Set",
                    check=lambda line: convert(row.key, line, "this line"),
                    command=command,
                ),
                lambda line: self._set(row, line) if line is not None and line != value else None,
            )

    def action_reset(self) -> None:
        """Take the setting out of the user's file."""
        row = self.table.cursor
        if row is not None and self._may_change(row):
            if row.origin == "default":
                self.hub.commands.say(f"{row.key} is at its default.")
            else:
                self._set(row, None)

    def _may_change(self, row: SettingRow) -> bool:
        if not setting_columns.is_yours(row):
            self.hub.commands.say(f"{row.origin} says what {row.key} is, and overrides your config.toml.", warning=True)
        return setting_columns.is_yours(row)

    def _set(self, row: SettingRow, value: Value | None) -> None:
        request = SetRequest(row.key, value)
        self.hub.commands.run(lambda client: client.set_setting(request), self._told)

    def _told(self, row: SettingRow) -> None:
        if row.key == "theme":
            self.hub.use_theme(str(row.in_force))
        elif row.value != row.in_force:
            self.hub.commands.say(f"{row.key} is {setting_columns.shown(row)} when the daemon starts next.")

    # -- the whole file

    def action_edit_file(self) -> None:
        """Open the user's file in an editor of the terminal, then have the daemon read it."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
        if not self._settings.file:
            self.hub.commands.say("The daemon has not told yet where config.toml is.", warning=True)
            return
        if not editor.strip():
            self.hub.commands.say(f"No editor is named: set EDITOR, or open {self._settings.file}.", warning=True)
            return
        try:
            with self.app.suspend():
                # nothing may be drawn over it: this program stands still until the editor is closed
                subprocess.run([*shlex.split(editor), self._settings.file], check=False)
        except SuspendNotSupported:
            self.hub.commands.say(f"No editor can be opened in this terminal: {self._settings.file}", warning=True)
            return
        except (OSError, ValueError) as exc:
            self.hub.commands.say(f"{editor} can't be started: {exc}", warning=True)
            return
        self.hub.commands.run(lambda client: client.reload_settings(), self._show)
