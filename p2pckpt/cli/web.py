"""``tui --web``: the terminal interface in a browser, from the first URL to Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import webbrowser
from pathlib import Path

from p2pckpt.cli import text
from p2pckpt.cli.options import Invocation
from p2pckpt.tui.web.server import WebServer

_REDIRECT = '<!DOCTYPE html><meta charset="utf-8"><title>p2pckpt</title><script>location.replace("URL")</script>\n'


def serve(invocation: Invocation, port: int, *, opens: bool) -> None:
    """Serve until Ctrl-C, SIGTERM or the end of the terminal; each URL is printed when it becomes valid."""
    asyncio.run(_serve(invocation, port, opens=opens))


async def _serve(invocation: Invocation, port: int, *, opens: bool) -> None:
    report = invocation.report
    opener = _Opener(invocation.config.state_dir) if opens and _has_display() else None
    stopped = asyncio.Event()
    used = 0

    def on_url(url: str) -> None:
        nonlocal used
        if used:
            report.narrate("A browser was let in. The next one takes:")
        if report.as_text:
            report.line(url)
        else:
            report.event({"url": url})
        if used and opener is not None:
            opener.close()
        used += 1

    server = WebServer(invocation.config, on_url)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, stopped.set)
    try:
        await server.start(port)
        report.narrate("Open it in a browser on this machine. It lets one browser in, once. Ctrl-C ends this.")
        if opener is not None:
            await asyncio.to_thread(opener.open, server.gate.url)
        elif opens:
            report.narrate("There is no display here that a browser could be opened on.", colour="yellow")
        await stopped.wait()
    finally:
        tabs = server.tabs
        await server.stop()
        if opener is not None:
            opener.close()
    report.narrate(f"Stopped; {text.count(tabs, 'tab')} closed. The daemon and its transfers go on.")


def _has_display() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


class _Opener:
    """Opens a browser on a file that leads to the URL: arguments of a program are everybody's to read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: Path | None = None

    def open(self, url: str) -> None:
        descriptor, name = tempfile.mkstemp(prefix="open-", suffix=".html", dir=self._directory)
        self._file = Path(name)
        with os.fdopen(descriptor, "w") as sink:
            sink.write(_REDIRECT.replace("URL", url))
        webbrowser.open(self._file.as_uri())

    def close(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)
