"""The settings that this daemon goes by while it runs: told, changed in the user's file, and applied where they can be.

What counts at once is taken over from the files as soon as they are read again; everything else stays as it was when
the daemon started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from p2pckpt.config import SETTINGS, Config, Setting, Value, convert, setting
from p2pckpt.control import settings_messages as sm
from p2pckpt.errors import NotAllowed
from p2pckpt.settings_file import write_setting

_log = structlog.get_logger(__name__)
_ORIGIN: Final = "the request"


class LiveSettings:
    """``config`` is what is in force; ``on_change`` is called whenever it became another.

    ``tell`` is called when the files say something else than before, whether it is in force or not.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        on_change: Callable[[Config], None],
        tell: Callable[[], None],
    ) -> None:
        self.config = config
        self._found = config
        """As the files and the environment say."""
        self._load = load
        self._on_change = on_change
        self._tell = tell
        self._writing = asyncio.Lock()

    def rows(self) -> sm.Settings:
        return sm.Settings(str(self.config.user_file), tuple(map(self._row, SETTINGS)))

    async def set(self, request: sm.SetRequest) -> sm.SettingRow:
        """Write ``request`` into the user's file and go by it.

        Raises ``BadUsage`` for what makes no sense, ``NotAllowed`` when something stronger than that file says it.
        """
        row = setting(request.key, _ORIGIN)
        if request.value is not None:
            convert(row.key, request.value, _ORIGIN)
        async with self._writing:
            self._take(await asyncio.to_thread(self._load))
            origin = self._found.origins[row.key].origin
            if origin not in ("default", str(self.config.user_file)):
                raise NotAllowed(
                    f"{origin} says what {row.key} is for this daemon, and overrides your settings",
                    kept=f"{row.key} is {self._found.origins[row.key].written}",
                    next_step=f"take it out of the {origin}, then: p2pckpt daemon stop"
                    if origin.startswith("environment")
                    else f"change it in {origin}",
                )
            await asyncio.to_thread(write_setting, self.config.user_file, row.key, request.value, _ORIGIN)
            self._take(await asyncio.to_thread(self._load))
        return self._row(row)

    async def reload(self) -> sm.Settings:
        """Read the files again. Raises ``BadUsage`` when they make no sense; then nothing changes."""
        async with self._writing:
            self._take(await asyncio.to_thread(self._load))
        return self.rows()

    def _take(self, found: Config) -> None:
        before, self._found = self._found, found
        taken = {row.key: (found if row.live else self.config).origins[row.key] for row in SETTINGS}
        changed = [key for key, origin in taken.items() if origin.value != self.config.origins[key].value]
        self.config = replace(self.config, origins=taken)
        if changed:
            self._on_change(self.config)
            _log.info("settings changed", keys=changed)
        if found.origins != before.origins:
            self._tell()

    def _row(self, row: Setting) -> sm.SettingRow:
        found = self._found.origins[row.key]
        in_force: Value = self.config.origins[row.key].value
        return sm.SettingRow(
            key=row.key,
            group=row.group,
            help=row.help,
            kind=row.kind,
            choices=row.choices,
            default=row.default,
            value=found.value,
            origin=found.origin,
            environment=row.environment,
            live=row.live,
            in_force=in_force,
        )
