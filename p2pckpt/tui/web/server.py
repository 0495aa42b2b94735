"""The server behind ``p2pckpt tui --web``: the door, the page, textual-serve's files, and a websocket for each tab.

Of textual-serve (the extra ``web``) only what runs in the browser is used; docs/adr says why.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Final

from aiohttp import WSCloseCode, web

from p2pckpt.config import Config
from p2pckpt.errors import NotFound
from p2pckpt.loopback import listen
from p2pckpt.tui.web.gate import DOOR, ENTER, Gate, Handler
from p2pckpt.tui.web.tab import MAX_MESSAGE, PATIENCE, Tab, cells

MAX_TABS: Final = 8
"""Open at the same time: each is a process of some 50 MB."""
_MAX_TOKEN: Final = 200
_HEARTBEAT: Final = 15.0
"""Seconds between signs of life that a browser is asked for."""
_SHUTDOWN: Final = 15.0
"""Seconds for all tabs to end: more than the patience with each."""
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".ttf": "font/ttf"}
_FILES: Final = (
    "css/xterm.css",
    "js/textual.js",
    "fonts/RobotoMono-VariableFont_wght.ttf",
    "fonts/RobotoMono-Italic-VariableFont_wght.ttf",
)
"""What the page needs of textual-serve; nothing else of it is served."""


class WebServer:
    """Serves the terminal interface of ``config``'s home from ``start`` to ``stop``; ``on_url`` gets each new URL."""

    def __init__(
        self,
        config: Config,
        on_url: Callable[[str], None],
        *,
        max_tabs: int = MAX_TABS,
        patience: float = PATIENCE,
    ) -> None:
        self._environment = {**os.environ, **config.environment()}
        self._log = config.state_dir / "web.log"
        self._on_url = on_url
        self._max_tabs = max_tabs
        self._patience = patience
        self._static = _static_directory()
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None

    @property
    def tabs(self) -> int:
        """How many are open."""
        return len(self._sockets)

    async def start(self, port: int = 0) -> None:
        """Listen on ``port`` of the loopback interface; 0 takes any. ``BadUsage`` when it is taken."""
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log.touch(mode=0o600)
        listening = listen(port, otherwise="choose another one, or leave out --port")
        self.app = self._make_app(listening.getsockname()[1])
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=_SHUTDOWN, logger=_logger(self._log))
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()
        self._on_url(self.gate.url)

    async def stop(self) -> None:
        """Close every tab; when this returns their processes have ended."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _make_app(self, port: int) -> web.Application:
        door = _page("door.html")
        script = re.search("<script>(.*)</script>", door, re.DOTALL)
        assert script is not None
        self.gate = gate = Gate(port, script[1])
        index = _page("index.html").replace("WEBSOCKET", f"ws://{gate.host}{gate.path}/ws")
        app = web.Application(middlewares=[gate.check], client_max_size=_MAX_TOKEN)
        app.on_response_prepare.append(gate.harden)
        app.on_shutdown.append(self._close_tabs)

        async def show_door(_request: web.Request) -> web.Response:
            return web.Response(text=door, content_type="text/html", status=403)

        async def enter(request: web.Request) -> web.Response:
            response = gate.exchange((await request.read()).decode("ascii", "replace"))
            self._on_url(gate.url)
            return response

        async def show_index(_request: web.Request) -> web.Response:
            if self.tabs >= self._max_tabs:
                raise web.HTTPServiceUnavailable(text=f"{self.tabs} tabs are open already. Close one first.\n")
            return web.Response(text=index, content_type="text/html")

        app.router.add_get("/", show_door, name=DOOR)
        app.router.add_post("/enter", enter, name=ENTER)
        app.router.add_get(f"{gate.path}/", show_index)
        app.router.add_get(f"{gate.path}/ws", self._open_tab, allow_head=False)
        for name in ("page.css", "page.js"):
            app.router.add_get(f"{gate.path}/{name}", _sender(_page(name).encode(), name))
        for name in _FILES:
            content = self._static.joinpath(name).read_bytes()
            app.router.add_get(f"{gate.path}/static/{name}", _sender(content, name))
        return app

    async def _open_tab(self, request: web.Request) -> web.StreamResponse:
        if self.tabs >= self._max_tabs:
            raise web.HTTPServiceUnavailable(text="too many tabs\n")
        # on one machine, compressing costs more than it saves
        ws = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=MAX_MESSAGE, compress=False)
        self._sockets.add(ws)
        try:
            await ws.prepare(request)
            tab = Tab(self._environment, self._log, patience=self._patience)
            await tab.run(ws, _number(request, "width", 80), _number(request, "height", 24))
        finally:
            self._sockets.discard(ws)
        return ws

    async def _close_tabs(self, _app: web.Application) -> None:
        for ws in list(self._sockets):
            await ws.close(code=WSCloseCode.GOING_AWAY)


def _logger(path: Path) -> logging.Logger:
    """aiohttp's complaints go to a file, not to the terminal in between what a command says."""
    logger = logging.Logger("p2pckpt.web", logging.WARNING)
    logger.addHandler(logging.FileHandler(path, delay=True))
    return logger


def _static_directory() -> Path:
    spec = importlib.util.find_spec("textual_serve")
    if spec is None or spec.origin is None:
        raise NotFound(
            "the terminal interface in a browser needs an extra that is not installed",
            next_step="pip install 'p2pckpt[web]'",
        )
    return Path(spec.origin).parent / "static"


def _page(name: str) -> str:
    return resources.files("p2pckpt.tui.web").joinpath("page", name).read_text("utf-8")


def _sender(content: bytes, name: str) -> Handler:
    kind = _TYPES[Path(name).suffix]

    async def send(_request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind)

    return send


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return cells(int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else default
