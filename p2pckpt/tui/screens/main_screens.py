"""The main screens, in the order of their digits. The navigation bar, the digits and the palette follow this list.

A screen's module is imported when it is looked at for the first time: the first screen should be there at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from textual.screen import Screen


@dataclass(frozen=True, slots=True)
class MainScreen:
    """One entry: ``mode`` is its name inside the app, ``title`` what a person reads."""

    mode: str
    title: str
    make: Callable[[], Screen[Any]]


def _later(module: str, kind: str) -> Callable[[], Screen[Any]]:
    """Makes a screen of the class ``kind`` in ``module``, a neighbour of this one."""

    def make() -> Screen[Any]:
        screen = getattr(importlib.import_module(f"p2pckpt.tui.screens.{module}"), kind)()
        assert isinstance(screen, Screen)
        return screen

    return make


MAIN_SCREENS: Final = (
    MainScreen("transfers", "Transfers", _later("transfers", "TransfersScreen")),
    MainScreen("shares", "Shares", _later("shares", "SharesScreen")),
    MainScreen("runs", "Runs", _later("runs", "RunsScreen")),
    MainScreen("members", "Members", _later("members", "MembersScreen")),
    MainScreen("keys", "Keys", _later("keys", "KeysScreen")),
    MainScreen("peers", "Peers", _later("peers", "PeersScreen")),
    MainScreen("log", "Log", _later("log", "LogScreen")),
    MainScreen("settings", "Settings", _later("settings", "SettingsScreen")),
)
