"""What the feed tells the app."""

from __future__ import annotations

from textual.message import Message

from p2pckpt.control.messages import Notice
from p2pckpt.tui.state import Changes


class StateChanged(Message):
    """The state was folded forward; at most ten of these a second."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self.changes = changes


class NoticeArrived(Message):
    """The daemon has something a person should see once."""

    def __init__(self, notice: Notice) -> None:
        super().__init__()
        self.notice = notice
