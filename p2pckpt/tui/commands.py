"""Requests to the daemon from key presses: run beside the screen, failures told as notifications.

Nothing here changes what a list shows: a row moves when the daemon's events say so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import Job, VerifyRequest
from p2pckpt.errors import DaemonUnavailable, P2pckptError
from p2pckpt.tui import format as f
from p2pckpt.tui.feed import Feed

if TYPE_CHECKING:
    from textual.app import App

T = TypeVar("T")
Request = Callable[[ControlClient], Awaitable[T]]
"""What to ask a client for."""


class Commands:
    """Runs requests as workers of the app."""

    def __init__(self, app: App[int], feed: Feed) -> None:
        self._app = app
        self._feed = feed

    def run(
        self,
        request: Request[T],
        done: Callable[[T], object] | None = None,
        failed: Callable[[P2pckptError], object] | None = None,
    ) -> None:
        """Send ``request``; then call ``done`` with its reply, or ``failed`` (default: tell) with its error."""
        self._app.run_worker(self._send(request, done, failed or self.tell), group="commands")

    def tell(self, error: P2pckptError) -> None:
        """Show an error: what happened, what is safe, what helps."""
        self._app.notify("\n".join(lines(error)), title="That did not work", severity="error", markup=False, timeout=10)

    def say(self, text: str, *, warning: bool = False) -> None:
        """Show one sentence for a moment."""
        self._app.notify(f.safe(text), severity="warning" if warning else "information", markup=False)

    async def _send(
        self,
        request: Request[T],
        done: Callable[[T], object] | None,
        failed: Callable[[P2pckptError], object],
    ) -> None:
        client = self._feed.client
        try:
            if client is None:
                raise DaemonUnavailable("the daemon is not running", next_step="press s to start it")
            reply = await request(client)
        except P2pckptError as error:
            failed(error)
            return
        if done is not None:
            done(reply)


def verify(request: VerifyRequest) -> Request[Job]:
    """Check every byte of a version again."""
    return lambda client: client.verify(request)


def remove_job(job_id: str, *, data: bool = False) -> Request[None]:
    """Forget a job, with ``data`` what it has in the store, too."""
    return lambda client: client.remove(job_id, data=data)


def lines(error: P2pckptError) -> list[str]:
    """An error as the lines a person reads."""
    found = [f.safe(error.fact)]
    if error.kept:
        found.append(f"Kept: {f.safe(error.kept)}")
    if error.next_step:
        found.append(f"Next: {f.safe(error.next_step)}")
    return found
