"""The first two lines of every screen: alerts, rates, free disk, daemon, who; then the screens to choose from."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from p2pckpt.control.messages import JobKind, JobState
from p2pckpt.tui import format as f
from p2pckpt.tui.state import State
from p2pckpt.tui.widgets.columns import place

_LOW_DISK: Final = 1 << 30
"""Free bytes below which the disk is an alert."""

Part = tuple[str, str]


class TopBar(Static):
    """Says first what needs a person, then how it goes."""

    DEFAULT_CSS = "TopBar { height: 1; background: $panel; }"

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self._parts: list[Part] = []

    def show(self, state: State) -> None:
        """Draw ``state`` in the width there is; the least important parts go first when it is narrow."""
        parts = top_line(state, self.size.width or self.app.size.width)
        if parts != self._parts:
            self._parts = parts
            self.update(Content.assemble(*parts), layout=False)


class NavBar(Static):
    """The screens and their keys, the current one in brackets; a click goes to one."""

    DEFAULT_CSS = "NavBar { height: 1; margin-bottom: 1; }"

    class Clicked(Message):
        """The screen with this number was clicked, counted from 0."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, screens: Sequence[str], current: str) -> None:
        super().__init__("", markup=False)
        self._screens = screens
        self._current = current
        self._ends: list[int] = []
        """The column after each label."""

    def on_mount(self) -> None:
        self._draw(self.app.size.width)

    def on_resize(self, event: events.Resize) -> None:
        self._draw(event.size.width)

    def _draw(self, width: int) -> None:
        """With room between the titles where there is some."""
        roomy = sum(len(name) + 5 for name in self._screens) < width
        parts: list[Part] = [(" ", "")]
        self._ends, column = [], 1
        for number, name in enumerate(self._screens, start=1):
            label = f"{number} {name}"
            if name == self._current:
                part = (f"[{label}] " if roomy else f"[{label}]", "bold $text-primary")
            else:
                part = (f" {label}  " if roomy else f" {label}", "$text-muted")
            parts.append(part)
            column += len(part[0])
            self._ends.append(column)
        self.update(Content.assemble(*parts))

    def on_click(self, event: events.Click) -> None:
        number = bisect.bisect_right(self._ends, event.x)
        if number < len(self._screens):
            self.post_message(self.Clicked(number))


def alerts(state: State) -> list[str]:
    """What needs a person, most urgent first."""
    found = []
    if state.keys_to_review:
        found.append(f"{state.keys_to_review} {'key' if state.keys_to_review == 1 else 'keys'} to review")
    failed = sum(state.job_counts[JobState.FAILED, kind] for kind in JobKind)
    if failed:
        found.append(f"{failed} failed")
    requests = sum(share.requests for share in state.shares.values())
    proposals = sum(share.proposals for share in state.shares.values())
    found += [f.plural(requests, "request")] if requests else []
    found += [f"{f.plural(proposals, 'change')} of keys"] if proposals else []
    status = state.status
    if status is not None and status.free_bytes < _LOW_DISK:
        found.append("disk nearly full")
    if status is not None and status.tracker_state == "unreachable":
        found.append("tracker unreachable")
    return found


def top_line(state: State, width: int) -> list[Part]:
    """The parts of the top bar that fit, filled up to ``width`` cells."""
    waiting = alerts(state)
    left: list[Part] = [(" p2pckpt ", "bold $text-primary"), (" ", "")]
    if waiting:
        left.append(("! " + " · ".join(waiting), "bold $text-error"))
    right = _right(state)
    while len(right) > 1 and _cells(left) + _cells(right) + 2 > width:
        right.remove(min(right, key=lambda item: item[2]))
    gap = max(width - _cells(left) - _cells(right) - 1, 1)
    parts = [*left, (" " * gap, ""), *((text, style) for text, style, _ in right)]
    return [(place(text, width), style) if cell_len(text) > width else (text, style) for text, style in parts]


def _right(state: State) -> list[tuple[str, str, int]]:
    """Text, style and importance of what stands at the right edge."""
    status = state.status
    dot = ("  ● daemon", "$text-success", 9) if state.connected else ("  ✗ no daemon", "bold $text-error", 9)
    if not state.connected and state.down is None:
        dot = ("  ◦ connecting", "$text-warning", 9)
    if status is None:
        return [dot]
    tone = "" if state.connected else "$text-muted"
    slow = [("  ◔ slow", "$text-warning", 6)] if status.limits.slow else []
    return [
        *slow,
        (f"  ↓ {f.rate(status.rate_down):>4}", tone, 8),
        (f" {f.sparkline(list(state.rates_down)):<10}", "$text-muted", 2),
        (f"  ↑ {f.rate(status.rate_up):>4}", tone, 7),
        (f" {f.sparkline(list(state.rates_up)):<10}", "$text-muted", 1),
        (f"  {f.size(status.free_bytes)} free", tone, 5),
        dot,
        (f"  {f.safe(status.name, 24)}", tone, 3),
    ]


def _cells(parts: Sequence[tuple[str, ...] | tuple[str, str, int]]) -> int:
    return sum(cell_len(str(part[0])) for part in parts)
