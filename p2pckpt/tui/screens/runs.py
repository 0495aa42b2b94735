"""Runs: the shares whose versions carry steps and metrics, and the history of the selected one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from p2pckpt.control.messages import ShareRow
from p2pckpt.tui import format as f
from p2pckpt.tui import share_columns
from p2pckpt.tui.screens.shares import SharesScreen
from p2pckpt.tui.widgets.columns import Column


class RunsScreen(SharesScreen):
    """Shares of training runs."""

    NAME = "Runs"
    EMPTY = (
        "No training runs yet.\n"
        "A version that is published with its step and metrics is listed here:\n"
        "   p2pckpt share DIR --name my/run --step 42000 --metric loss=1.81\n"
        '   p2pckpt.share(directory, name="my/run", step=42000, metrics={"loss": 1.81})\n'
        "?  See all keys"
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("M", "metric", "Next metric", id="runs.metric")]

    def columns(self) -> Sequence[Column[ShareRow]]:
        return share_columns.run_columns(self.hub_now)

    def all_rows(self) -> Sequence[ShareRow]:
        return [share for share in self.state.shares.values() if share.measured]

    def summary(self, rows: Sequence[ShareRow]) -> str:
        return f"{f.plural(len(rows), 'run')} · {f.plural(sum(share.measured for share in rows), 'measured version')}"

    def action_metric(self) -> None:
        """Draw the curve of another metric."""
        self._pane.next_metric()
