"""Keeps the answer to one question fresh: what a pane shows of the row under the cursor.

Asked when another row is looked at, when that row changed, and whenever ``refresh`` is called. One question is
open at a time; an answer about a row that is no longer looked at is dropped. What is refused is told of once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from textual.widget import Widget

from p2pckpt.control.client import ControlClient
from p2pckpt.errors import DaemonUnavailable, NotFound, P2pckptError

if TYPE_CHECKING:
    from p2pckpt.tui.app import P2pckptApp
    from p2pckpt.tui.inline import InlineApp

T = TypeVar("T")


class Asking(Generic[T]):
    """Hands the answers to ``request`` about ``key`` to ``show``, and None when another key is looked at.

    A key that is gone (``NotFound``) and a daemon that is gone are told of elsewhere.
    """

    def __init__(
        self,
        hub: P2pckptApp | InlineApp,
        owner: Widget,
        request: Callable[[ControlClient, str], Awaitable[T]],
        show: Callable[[T | None], object],
    ) -> None:
        self._hub = hub
        self._owner = owner
        self._request = request
        self._show = show
        self._state: object = None
        """Of what is looked at, when it was last asked for."""
        self._asked: str | None = None
        """The key that the open question is about."""
        self._again = False
        self._refused = False
        self.key = ""

    def look_at(self, key: str, state: object = None) -> None:
        """Look at ``key``, empty for nothing; asked for again whenever ``state`` is another than before."""
        if key != self.key:
            self.key, self._state, self._refused = key, state, False
            self._show(None)
        elif state == self._state:
            return
        else:
            self._state, self._refused = state, False
        self.refresh()

    def refresh(self) -> None:
        """Ask again, or once more after the open question; not while there is nobody to ask."""
        if not self.key or self._refused or self._hub.feed.client is None:
            return
        if self._asked is not None:
            self._again = True
            return
        key = self._asked = self.key
        self._hub.commands.run(
            lambda client: self._request(client, key),
            lambda answer: self._answered(key, answer),
            lambda error: self._failed(key, error),
        )

    def _answered(self, key: str, answer: T) -> None:
        if key == self.key and self._owner.is_attached:
            self._show(answer)
        self._done()

    def _failed(self, key: str, error: P2pckptError) -> None:
        if key == self.key:
            if isinstance(error, DaemonUnavailable):
                self._state = None  # asked for again once it is back
            else:
                self._refused = True
                if not isinstance(error, NotFound):
                    self._hub.commands.tell(error)
        self._done()

    def _done(self) -> None:
        moved, self._asked = self._asked != self.key, None
        if moved or self._again:
            self._again = False
            self.refresh()
