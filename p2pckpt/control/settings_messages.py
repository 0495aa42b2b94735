"""Requests and replies about settings and limits. Rates are bytes per second, times Unix seconds; no logic here."""

from __future__ import annotations

from typing import Annotated

import msgspec

from p2pckpt.config import Kind, Value


class SettingRow(msgspec.Struct, frozen=True):
    """One setting as the daemon finds it."""

    key: str
    group: str
    help: str
    kind: Kind
    choices: tuple[str, ...]
    """All values there are; empty for any."""
    default: Value
    value: Value
    """What environment and files say now."""
    origin: str
    """``environment P2PCKPT_…``, a file's path, or ``default``."""
    environment: str
    """The variable that overrides the files."""
    live: bool
    """Whether a change counts at once; if not, from the daemon's next start."""
    in_force: Value
    """What the daemon works with: another than ``value`` after a change that waits for its next start."""


class Settings(msgspec.Struct, frozen=True):
    """``GET /v1/settings``; ``POST /v1/settings/reload`` for files that somebody else wrote."""

    file: str
    """The user's ``config.toml``, whether it exists or not."""
    rows: tuple[SettingRow, ...]
    """In the order in which they are listed, group after group."""


class SetRequest(msgspec.Struct, frozen=True):
    """``POST /v1/settings`` → SettingRow: write one setting into the user's file and go by it."""

    key: str
    value: Value | None
    """A value or its text; None takes it out of the file, which leaves the default."""


class Limits(msgspec.Struct, frozen=True):
    """``GET /v1/limits``: what holds for all transfers together."""

    down: int = 0
    """0 for none, here and below."""
    up: int = 0
    slow: bool = False
    """Whether slow mode is on now."""
    turtle: str = "auto"
    """The setting: on, off, or auto for what ``hours`` say."""
    hours: str = ""
    changes_at: int = 0
    """When the hours turn slow mode on or off next; 0 for never, and while ``turtle`` is on or off."""


class TurtleRequest(msgspec.Struct, frozen=True):
    """``POST /v1/limits/turtle`` → Limits."""

    mode: str
    """on, off, auto; or toggle: slow if it is not and the other way round, by the hours alone where they say so."""


class JobLimitRequest(msgspec.Struct, frozen=True):
    """``POST /v1/jobs/{id}/limit`` → Job; None leaves as it is, 0 is none."""

    down: Annotated[int, msgspec.Meta(ge=0)] | None = None
    up: Annotated[int, msgspec.Meta(ge=0)] | None = None
