"""Runs: the shares whose versions carry steps and metrics, and the history of the selected one.

``w`` has a directory watched, each save of which becomes a version; ``R`` brings the newest back that verifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from p2pckpt.control.messages import Job, ShareRow
from p2pckpt.control.run_messages import RestoreRequest, RunRow, WatchRequest
from p2pckpt.errors import BadUsage
from p2pckpt.tui import format as f
from p2pckpt.tui import share_columns
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.screens.shares import SharesScreen
from p2pckpt.tui.widgets.columns import Column


class RunsScreen(SharesScreen):
    """Shares of training runs."""

    NAME = "Runs"
    EMPTY = (
        "No training runs yet.\n"
        "w  Watch a run's directory: every save becomes a version\n"
        "Trainers can hand over their saves themselves, and any version that has a step or metrics is listed here:\n"
        "   p2pckpt share DIR --name my/run --step 42000 --metric loss=1.81\n"
        "?  See all keys"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("M", "metric", "Next metric", id="runs.metric"),
        Binding("w", "watch", "Watch a run", id="runs.watch", tooltip="p2pckpt run watch DIR"),
        Binding("R", "restore", "Restore", id="runs.restore", tooltip="p2pckpt run restore NAME"),
    ]

    def columns(self) -> Sequence[Column[ShareRow]]:
        return share_columns.run_columns(self.hub_now)

    def all_rows(self) -> Sequence[ShareRow]:
        return [share for share in self.state.shares.values() if share.measured]

    def summary(self, rows: Sequence[ShareRow]) -> str:
        return f"{f.plural(len(rows), 'run')} · {f.plural(sum(share.measured for share in rows), 'measured version')}"

    def action_watch(self) -> None:
        """Ask for a directory, and have it watched from now on."""

        def watch(path: str | None) -> None:
            if path:
                request = WatchRequest(path=str(Path(path).expanduser()))
                self.hub.commands.run(lambda client: client.watch_run(request), self._watched)

        text = "Directory in which the trainer saves. Each finished save becomes a version, for members alone."
        self.app.push_screen(
            PromptDialog(
                "Watch a run",
                text,
                placeholder="/runs/sft7",
                yes="Watch",
                check=_directory,
                command="p2pckpt run watch DIR",
            ),
            watch,
        )

    def _watched(self, run: RunRow) -> None:
        self.hub.commands.say(
            f"Every finished save in {f.safe(run.path, 80)} becomes a version of {f.safe(run.name, 60)}."
        )

    def action_restore(self) -> None:
        """Ask where to, and restore the newest version of the selected run that verifies."""
        share = self.table.cursor
        if share is None:
            return

        def restore(path: str | None) -> None:
            if path is not None:
                to = str(Path(path).expanduser()) if path else ""
                request = RestoreRequest(source=share.share_id, to=to, base=str(Path.home()))
                self.hub.commands.run(lambda client: client.restore(request), self._restoring)

        text = (
            "The newest version whose signature and every chunk verify, and which is whole and finite.\n"
            "Directory to restore into; empty: where the run saves."
        )
        command = f"p2pckpt run restore {share.name}"
        self.app.push_screen(
            PromptDialog(
                f"Restore {f.safe(share.name, 60)}", text, yes="Restore", check=_directory_or_none, command=command
            ),
            restore,
        )

    def _restoring(self, job: Job) -> None:
        self.hub.commands.say(f"Restoring {f.share_name(job)}: Transfers shows how far it is.")

    def action_metric(self) -> None:
        """Draw the curve of another metric."""
        self._pane.next_metric()


def _directory(text: str) -> None:
    if not Path(text).expanduser().is_absolute():
        raise BadUsage("Write an absolute path, such as /runs/sft7 or ~/runs/sft7.")


def _directory_or_none(text: str) -> None:
    if text:
        _directory(text)
