"""The main screens, in the order of their digits. The navigation bar, the digits and the palette follow this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from textual.screen import Screen

from p2pckpt.tui.screens.keys import KeysScreen
from p2pckpt.tui.screens.log import LogScreen
from p2pckpt.tui.screens.members import MembersScreen
from p2pckpt.tui.screens.peers import PeersScreen
from p2pckpt.tui.screens.runs import RunsScreen
from p2pckpt.tui.screens.settings import SettingsScreen
from p2pckpt.tui.screens.shares import SharesScreen
from p2pckpt.tui.screens.transfers import TransfersScreen


@dataclass(frozen=True, slots=True)
class MainScreen:
    """One entry: ``mode`` is its name inside the app, ``title`` what a person reads."""

    mode: str
    title: str
    make: Callable[[], Screen[Any]]


MAIN_SCREENS: Final = (
    MainScreen("transfers", TransfersScreen.NAME, TransfersScreen),
    MainScreen("shares", SharesScreen.NAME, SharesScreen),
    MainScreen("runs", RunsScreen.NAME, RunsScreen),
    MainScreen("members", MembersScreen.NAME, MembersScreen),
    MainScreen("keys", KeysScreen.NAME, KeysScreen),
    MainScreen("peers", PeersScreen.NAME, PeersScreen),
    MainScreen("log", LogScreen.NAME, LogScreen),
    MainScreen("settings", SettingsScreen.NAME, SettingsScreen),
)
