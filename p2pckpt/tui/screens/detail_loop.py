"""Keeps the detail of one job fresh: asked for once a second, only for the job that is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pckpt.control.messages import JobDetail
from p2pckpt.errors import DaemonUnavailable, NotFound, P2pckptError
from p2pckpt.tui.screens.job_pane import JobPane

if TYPE_CHECKING:
    from p2pckpt.tui.app import P2pckptApp


class DetailLoop:
    """Asks for the detail of ``job_id`` and hands it to the pane; an answer for an earlier job is dropped.

    A job whose detail is refused is told of once and asked for again when it is selected again. A job that is
    gone and a daemon that is gone are seen elsewhere.
    """

    def __init__(self, hub: P2pckptApp, pane: JobPane) -> None:
        self._hub = hub
        self._pane = pane
        self._asked = ""
        self._refused = ""
        self.job_id = ""

    def look_at(self, job_id: str) -> None:
        """Another row is selected."""
        if job_id != self.job_id:
            self.job_id, self._refused = job_id, ""
            self._pane.clear_detail()
            self.refresh()

    def refresh(self) -> None:
        """Ask, unless the last question is still open or there is nobody to ask."""
        job_id = self.job_id
        if not job_id or job_id in (self._asked, self._refused) or self._hub.feed.client is None:
            return
        self._asked = job_id
        self._hub.commands.run(
            lambda client: client.job_detail(job_id), self._answer, lambda error: self._failed(job_id, error)
        )

    def _answer(self, detail: JobDetail) -> None:
        self._done(detail.job.id)
        if detail.job.id == self.job_id and self._pane.is_attached:
            self._pane.show_detail(detail)

    def _failed(self, job_id: str, error: P2pckptError) -> None:
        self._done(job_id)
        if job_id == self.job_id and not isinstance(error, NotFound | DaemonUnavailable):
            self._refused = job_id
            self._hub.commands.tell(error)

    def _done(self, job_id: str) -> None:
        if self._asked == job_id:
            self._asked = ""
