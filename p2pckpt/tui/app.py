"""The app: wires feed, commands and screens, and holds what works everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme

from p2pckpt.config import Config
from p2pckpt.control.client import ControlClient, connect
from p2pckpt.tui import format as f
from p2pckpt.tui.commands import Commands
from p2pckpt.tui.feed import BACKOFF, ClientFactory, Feed
from p2pckpt.tui.messages import NoticeArrived, StateChanged
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.screens.dialog import StepDialog
from p2pckpt.tui.screens.help import HelpScreen
from p2pckpt.tui.screens.receive_dialog import ReceiveDialog
from p2pckpt.tui.screens.share_dialog import ShareDialog
from p2pckpt.tui.screens.shares import SharesScreen
from p2pckpt.tui.screens.transfers import TransfersScreen

_SEVERITY = {"warning": "warning", "error": "error"}
_THEME = Theme(
    name="p2pckpt",
    primary="#5fb3c9",
    secondary="#8a9ba8",
    accent="#d7a65f",
    success="#7fbf7f",
    warning="#e0b050",
    error="#e06c75",
    foreground="#d8dee4",
    background="#12161a",
    surface="#171c21",
    panel="#1f262d",
)


def run(config: Config) -> int:
    """Show the terminal UI until the user leaves; the exit code. A daemon that does not run is started."""

    async def factory(start: bool) -> ControlClient:
        return await connect(config, start=start)

    app = P2pckptApp(factory)
    app.run()
    return app.return_code or 0


class P2pckptApp(App[int]):
    """Two modes, one feed. Rows change when the daemon says so, never because a key was pressed."""

    CSS_PATH = "styles.tcss"
    TITLE = "p2pckpt"
    MODES: ClassVar[dict[str, Callable[[], Screen[Any]]]] = {  # type: ignore[assignment]
        "transfers": TransfersScreen,
        "shares": SharesScreen,
    }
    DEFAULT_MODE = "transfers"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start_daemon", "Start daemon"),
        Binding("r", "retry", "Try again"),
        Binding("1", "go('transfers')", "Transfers", show=False),
        Binding("2", "go('shares')", "Shares", show=False),
        Binding("n", "share", "Share"),
        Binding("o", "receive", "Receive"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit", show=False),
        Binding("ctrl+c", "help_quit", "How to quit", show=False, system=True),
    ]

    def __init__(
        self,
        factory: ClientFactory,
        *,
        start: bool = True,
        backoff: Sequence[float] = BACKOFF,
        now: Callable[[], float] = time.time,
        browse_from: Path | None = None,
    ) -> None:
        super().__init__()
        self.now = now
        self.feed = Feed(factory, self.post_message, start=start, backoff=backoff, now=now)
        self.commands = Commands(self, self.feed)
        self._browse_from = browse_from or Path.cwd()
        self.register_theme(_THEME)
        self.theme = _THEME.name

    def on_mount(self) -> None:
        self.run_worker(self.feed.run(), group="feed")

    # -- what the feed says

    def on_state_changed(self, message: StateChanged) -> None:
        for screen in reversed(self.screen_stack):
            if isinstance(screen, StateScreen | StepDialog) and screen.is_mounted:
                screen.state_changed(message.changes)

    def on_notice_arrived(self, message: NoticeArrived) -> None:
        notice = message.notice
        severity: Any = _SEVERITY.get(notice.level, "information")
        self.notify(f.safe(notice.text), severity=severity, markup=False)

    # -- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("start_daemon", "retry"):
            return self.feed.state.down is not None
        return True

    def action_go(self, mode: str) -> None:
        """Show a main screen; a detail on top of the present one is closed."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.switch_mode(mode)

    def action_share(self) -> None:
        self.push_screen(ShareDialog(self._browse_from))

    def action_receive(self) -> None:
        self.push_screen(ReceiveDialog())

    def action_start_daemon(self) -> None:
        self.commands.say("Starting the daemon …")
        self.feed.wake(start=True)

    def action_retry(self) -> None:
        self.feed.wake()

    def action_help(self) -> None:
        self.push_screen(HelpScreen(self._keys()))

    def copy_link(self, link: str) -> None:
        """Hand ``link`` to the terminal's clipboard (OSC 52)."""
        self.copy_to_clipboard(link)
        self.commands.say("Link copied, if this terminal allows it. It may carry a secret.")

    # -- palette

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action of the screen and the app, then the theme."""
        seen: set[str] = set()
        for active in screen.active_bindings.values():
            binding, node = active.binding, active.node
            if not active.enabled or node not in (screen, self) or binding.action in seen or _foreign(binding):
                continue
            seen.add(binding.action)
            help_text = f"key {self.get_key_display(binding)}"
            yield SystemCommand(binding.description, help_text, partial(node.run_action, binding.action))
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)

    def _keys(self) -> list[tuple[str, str]]:
        described: dict[str, list[str]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if active.enabled and not _foreign(binding):
                described.setdefault(binding.description, []).append(self.get_key_display(binding))
        return [(" ".join(keys[:2]), text) for text, keys in described.items()]


def _foreign(binding: Binding) -> bool:
    """Whether a binding is Textual's own: it works, but explaining it helps nobody."""
    return binding.system or binding.action.startswith(("scroll_", "page_", "screen.", "app.focus"))
