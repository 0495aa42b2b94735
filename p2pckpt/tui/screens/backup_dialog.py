"""A backup of our own key: where to, and the passphrase it gets. The keys are read and sealed in this process.

The daemon is not asked: passphrases don't cross its socket.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Label, Static

from p2pckpt import atomic
from p2pckpt.config import Config
from p2pckpt.errors import BadUsage, NotAllowed, P2pckptError
from p2pckpt.trust import identity_file, passphrases
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.modal import Modal
from p2pckpt.tui.widgets.clean_input import CleanInput

_HINTS: Final = {
    "file": "a file that does not exist yet",
    "present": "your key's passphrase now",
    "new": "passphrase of the backup",
    "again": "the same again",
}


class BackupDialog(Modal[Path | None]):
    """Gives the file that was written, None when none was."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel", id="backup.cancel")]

    def __init__(self, config: Config, browse_from: Path) -> None:
        super().__init__()
        self._config = config
        self._directory = browse_from
        self._asks = False
        """Whether the identity has a passphrase that no file knows."""
        self._busy = False

    def compose(self) -> ComposeResult:
        self._asks = _needs_asking(self._config)
        with Vertical(classes="dialog") as box:
            box.border_title = "Back up your key"
            yield Static("Without the passphrase the file is of no use to anybody, you included.", markup=False)
            for name, label in (("file", "File"), ("present", "Present"), ("new", "New"), ("again", "Again")):
                if name == "present" and not self._asks:
                    continue
                with Horizontal(classes="field"):
                    yield Label(label)
                    yield CleanInput(placeholder=_HINTS[name], password=name != "file", id=name, compact=True)
            yield Static("", id="error", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Back up", id="yes", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
            yield Static("= p2pckpt key backup FILE", classes="equivalent", markup=False)

    def on_mount(self) -> None:
        self.query_one("#file", CleanInput).focus()

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    @on(Button.Pressed, "#yes")
    def _answered(self) -> None:
        if self._busy:
            return
        values = {box.id: box.value for box in self.query(CleanInput)}
        try:
            path = self._path(str(values["file"]))
            _check_passphrase(values["new"], values["again"])
        except BadUsage as error:
            self._tell(error)
            return
        self._busy = True
        self._tell(None)
        self.run_worker(self._write(path, values["new"], values.get("present", "")))

    def _path(self, text: str) -> Path:
        if not text.strip():
            raise BadUsage("name a file")
        path = self._directory / Path(text.strip()).expanduser()
        if path.exists():
            raise BadUsage(f"{path} exists; it was not changed")
        return path

    async def _write(self, path: Path, passphrase: str, present: str) -> None:
        try:
            await asyncio.to_thread(_back_up, self._config, path, passphrase, present)
        except P2pckptError as error:
            self._busy = False
            self._tell(error)
            return
        self.dismiss(path)

    def _tell(self, error: P2pckptError | None) -> None:
        line = self.query_one("#error", Static)
        line.update("Sealing it …" if error is None else Content(f"✗ {f.safe(error.fact)}"))
        line.set_class(error is None, "-busy")
        line.add_class("-shown")

    @on(Button.Pressed, "#cancel")
    def action_cancel(self) -> None:
        if not self._busy:
            self.dismiss(None)


def _needs_asking(config: Config) -> bool:
    return identity_file.needs_passphrase(config.keys_dir) and not passphrases.find(config)


def _check_passphrase(new: str, again: str) -> None:
    if not new:
        raise BadUsage("an empty passphrase protects nothing")
    if new != again:
        raise BadUsage("the two passphrases differ")


def _back_up(config: Config, path: Path, passphrase: str, present: str) -> None:
    """Blocks for as long as Argon2id takes."""
    data = identity_file.backup(config.keys_dir, passphrase, ask=lambda: present or passphrases.find(config))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_new(path, data)
    except OSError as exc:
        raise NotAllowed(f"{path} cannot be written: {exc.strerror}") from exc
    identity_file.note_backup(config.keys_dir)
