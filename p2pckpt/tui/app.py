"""The app: wires feed, commands and screens, and holds what works everywhere.

What is not on the first screen is imported when it is asked for, so that the first screen is there at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import events, on
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme

from p2pckpt.config import Config
from p2pckpt.control.client import ControlClient, connect, last_line
from p2pckpt.control.messages import ShareRow
from p2pckpt.control.settings_messages import SetRequest
from p2pckpt.tui import format as f
from p2pckpt.tui import key_map
from p2pckpt.tui.commands import Commands
from p2pckpt.tui.feed import BACKOFF, ClientFactory, Feed
from p2pckpt.tui.messages import NoticeArrived, StateChanged
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.screens.choose import ChooseDialog
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.dialog import StepDialog
from p2pckpt.tui.screens.help import HelpScreen, Key
from p2pckpt.tui.screens.main_screens import MAIN_SCREENS
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.top_bar import NavBar

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

    app = P2pckptApp(factory, keys=config.keys, theme=config.text("theme"), daemon_log=config.daemon_log, config=config)
    # what was imported stays, and rows by the thousand are no reason to look through everything again and again
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    app.run()
    return app.return_code or 0


class P2pckptApp(App[int]):
    """One mode for each main screen, one feed. Rows change when the daemon says so, never because a key was pressed."""

    CSS_PATH = "styles.tcss"
    TITLE = "p2pckpt"
    MODES: ClassVar[dict[str, Callable[[], Screen[Any]]]] = {  # type: ignore[assignment]
        screen.mode: screen.make for screen in MAIN_SCREENS
    }
    DEFAULT_MODE = MAIN_SCREENS[0].mode
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "start_daemon", "Start daemon", id="app.start-daemon", tooltip="p2pckpt daemon start"),
        Binding("r", "retry", "Try again", id="app.retry"),
        Binding("i", "install", "Install as a service", id="app.install", tooltip="p2pckpt daemon install --now"),
        *(
            Binding(str(digit), f"go('{screen.mode}')", screen.title, show=False, id=f"app.{screen.mode}")
            for digit, screen in enumerate(MAIN_SCREENS, start=1)
        ),
        Binding("n", "share", "Share", id="app.share", tooltip="p2pckpt share DIR"),
        Binding("o", "receive", "Receive", id="app.receive", tooltip="p2pckpt get LINK"),
        Binding("exclamation_mark", "waiting", "Who waits", show=False, key_display="!", id="app.waiting"),
        Binding(
            "K",
            "review_keys",
            "Review keys",
            show=False,
            id="app.review-keys",
            tooltip="p2pckpt trust ls --review",
        ),
        Binding("question_mark", "help", "Help", key_display="?", id="app.help"),
        Binding("q", "quit", "Quit", show=False, id="app.quit"),
        Binding("ctrl+c", "help_quit", "How to quit", show=False, system=True, id="app.how-to-quit"),
    ]

    def __init__(
        self,
        factory: ClientFactory,
        *,
        start: bool = True,
        backoff: Sequence[float] = BACKOFF,
        now: Callable[[], float] = time.time,
        browse_from: Path | None = None,
        keys: Mapping[str, str] | None = None,
        theme: str = _THEME.name,
        daemon_log: Path | None = None,
        config: Config | None = None,
    ) -> None:
        super().__init__()
        self._daemon_log = daemon_log
        self.animation_level = "none"
        self._leaving = False
        self.now = now
        self.share_id = ""
        """The share that was looked at last: Members shows it."""
        self.config = config
        """Of this home; None where the app was given none, which leaves out what is done beside the daemon."""
        self.titles = [screen.title for screen in MAIN_SCREENS]
        self.feed = Feed(factory, self.post_message, start=start, backoff=backoff, now=now)
        self.commands = Commands(self, self.feed)
        self.browse_from = browse_from or Path.cwd()
        """Where relative paths begin."""
        self.register_theme(_THEME)
        self.theme = theme if theme in self.available_themes else _THEME.name
        self._theme_wanted = theme
        self._keys_moved = dict(keys or {})
        self.set_keymap(self._keys_moved)

    def on_mount(self) -> None:
        self.run_worker(self.feed.run(), group="feed")
        for problem in key_map.problems(self._keys_moved):
            self.commands.say(problem, warning=True)
        if self.theme != self._theme_wanted:
            self.commands.say(f"There is no theme called {self._theme_wanted}.", warning=True)

    def exit(self, result: int | None = None, return_code: int = 0, message: Any = None) -> None:
        self._leaving = True
        super().exit(result, return_code, message)

    async def on_event(self, event: events.Event) -> None:
        """Keys that come while the app ends find no screen any more: they are nobody's."""
        if not (self._leaving and isinstance(event, events.Key)):
            await super().on_event(event)

    # -- what the feed says

    def on_state_changed(self, message: StateChanged) -> None:
        self.feed.state.last_words = self._last_words() if self.feed.state.down is not None else ""
        for screen in reversed(self.screen_stack):
            # of one that is being taken down, as when the app ends, parts are gone already
            if isinstance(screen, StateScreen | StepDialog) and screen.is_mounted and not screen._pruning:
                screen.state_changed(message.changes)

    def _last_words(self) -> str:
        """The end of the daemon's log, where something went wrong there."""
        line = last_line(self._daemon_log) if self._daemon_log is not None else ""
        return "" if "level='info'" in line else line

    def on_notice_arrived(self, message: NoticeArrived) -> None:
        notice = message.notice
        severity: Any = _SEVERITY.get(notice.level, "information")
        self.notify(f.safe(notice.text), severity=severity, markup=False)

    # -- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("start_daemon", "retry", "install"):
            return self.feed.state.down is not None
        if action == "waiting":
            return self._waiting() is not None or bool(self.feed.state.keys_to_review)
        return True

    async def action_pop_screen(self) -> None:
        """Back; a key that was pressed twice does no more than one that was pressed once where there is no way back."""
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def action_go(self, mode: str) -> None:
        """Show a main screen; a detail on top of the present one is closed."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.switch_mode(mode)

    @on(NavBar.Clicked)
    def _clicked(self, event: NavBar.Clicked) -> None:
        self.action_go(MAIN_SCREENS[event.number].mode)

    def show_members(self, share_id: str) -> None:
        """Show who has access to a share."""
        self.share_id = share_id
        self.action_go("members")
        if isinstance(self.screen, StateScreen) and self.screen.is_mounted:
            self.screen.state_changed(Changes())

    def action_waiting(self) -> None:
        """Show a share in which somebody asks to be let in, or a change of keys waits for us; else keys to review."""
        share = self._waiting()
        if share is not None:
            self.show_members(share.share_id)
        else:
            self.action_review_keys()

    def _waiting(self) -> ShareRow | None:
        return next((share for share in self.feed.state.shares.values() if share.requests or share.proposals), None)

    def action_review_keys(self) -> None:
        """Go to the first key that should be looked at."""
        from p2pckpt.tui.screens.keys import KeysScreen

        if not self.feed.state.keys_to_review:
            self.commands.say("No key is to be reviewed.")
            return
        self.action_go("keys")
        if isinstance(self.screen, KeysScreen):
            self.screen.show_review()

    def action_share(self) -> None:
        from p2pckpt.tui.screens.share_dialog import ShareDialog

        self.push_screen(ShareDialog(self.browse_from))

    def action_receive(self) -> None:
        from p2pckpt.tui.screens.receive_dialog import ReceiveDialog

        self.push_screen(ReceiveDialog())

    def action_start_daemon(self) -> None:
        self.commands.say("Starting the daemon …")
        self.feed.wake(start=True)

    def action_install(self) -> None:
        """Ask, then have systemd start the daemon now and at each login."""
        lines = [
            "The daemon is run by systemd for you: it starts at login, and again after it fails.",
            "A unit is written to ~/.config/systemd/user/p2pckpt.service.",
        ]
        dialog = ConfirmDialog(
            "Install as a service", lines, yes="Install", no="No", command="p2pckpt daemon install --now"
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._install(), group="commands")

        self.push_screen(dialog, answered)

    async def _install(self) -> None:
        command = (sys.executable, "-m", "p2pckpt", "daemon", "install", "--now")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(self.config.environment() if self.config is not None else {})},
        )
        output, _ = await process.communicate()
        text = output.decode("utf-8", "replace").strip() or f"it ended with code {process.returncode}"
        self.notify(f.safe(text, 1000), severity="error" if process.returncode else "information", markup=False)
        self.feed.wake()

    def action_retry(self) -> None:
        self.feed.wake()

    def action_help(self) -> None:
        self.push_screen(HelpScreen(self._keys()))

    def action_change_theme(self) -> None:
        """Choose the colours; the choice is a setting and stays."""
        dialog = ChooseDialog(
            "Theme",
            [(name, name) for name in sorted(self.available_themes)],
            present=self.theme,
            text="The colours of this program.",
            command="p2pckpt config set theme …",
        )
        self.push_screen(dialog, lambda name: self._keep_theme(name) if name is not None else None)

    def use_theme(self, name: str) -> None:
        """Draw in the colours of ``name`` from now on."""
        if name in self.available_themes:
            self.theme = name
        else:
            self.commands.say(f"There is no theme called {name}.", warning=True)

    def _keep_theme(self, name: str) -> None:
        self.use_theme(name)
        self.commands.run(lambda client: client.set_setting(SetRequest("theme", name)))

    def copy_link(self, link: str) -> None:
        """Hand ``link`` to the terminal's clipboard (OSC 52)."""
        self.copy_to_clipboard(link)
        self.commands.say("Link copied, if this terminal allows it. It may carry a secret.")

    def show_qr(self, share_id: str, name: str, link: str = "", link_id: str = "") -> None:
        """Draw ``link`` as a QR code; without one the link called ``link_id``, or the one that lets nobody in."""
        from p2pckpt.tui.screens.qr import QrScreen

        command = "p2pckpt link qr -" if link else f"p2pckpt link qr {name} {link_id}".rstrip()

        def show(shown: str) -> None:
            self.push_screen(QrScreen(f"A link to {name}", shown, command=command))

        if link:
            show(link)
        else:
            self.commands.run(lambda client: client.link(share_id, link_id), lambda reply: show(reply.link))

    # -- palette

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action of the screen and the app with its key and the command line that does the same."""
        seen: set[str] = set()
        for active in screen.active_bindings.values():
            binding, node = active.binding, active.node
            if not active.enabled or node not in (screen, self) or binding.action in seen or _foreign(binding):
                continue
            seen.add(binding.action)
            help_text = f"key {self.get_key_display(binding)}" + (f"   = {binding.tooltip}" if binding.tooltip else "")
            yield SystemCommand(binding.description, help_text, partial(node.run_action, binding.action))
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)

    def _keys(self) -> list[Key]:
        described: dict[tuple[str, str], list[str]] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if active.enabled and not _foreign(binding):
                described.setdefault((binding.description, binding.tooltip), []).append(self.get_key_display(binding))
        return [Key(" ".join(keys[:2]), text, command) for (text, command), keys in described.items()]


def _foreign(binding: Binding) -> bool:
    """Whether a binding is Textual's own: it works, but explaining it helps nobody."""
    return not binding.id or binding.system or binding.action.startswith(("scroll_", "page_", "screen.", "app.focus"))
