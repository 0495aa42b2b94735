"""Textual's driver for browsers, ended together with whoever it talks to."""

from __future__ import annotations

from textual import messages
from textual.drivers.web_driver import WebDriver


class BrowserDriver(WebDriver):
    """``WebDriver`` reads keys from stdin until it is told to quit; a server that was killed can't tell."""

    def run_input_thread(self) -> None:
        super().run_input_thread()
        if not self.exit_event.is_set():
            self._app.post_message(messages.ExitApp())
