"""Writing what a screen shows to a file that the user names, for nobody else to read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from p2pckpt import atomic
from p2pckpt.errors import BadUsage, P2pckptError, disk_error
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.prompt import PromptDialog

if TYPE_CHECKING:
    from p2pckpt.tui.app import P2pckptApp


def export(hub: P2pckptApp, title: str, name: str, content: Callable[[], bytes]) -> None:
    """Ask where to, then write ``content`` there (mode 0600); what is there already is kept, and that is told."""

    def answered(text: str | None) -> None:
        if text:
            hub.run_worker(_write(hub, _path(hub, text), content), group="export")

    dialog = PromptDialog(
        title, "A new file, for you alone to read:", value=name, yes="Write", check=lambda text: _check(hub, text)
    )
    hub.push_screen(dialog, answered)


def _path(hub: P2pckptApp, text: str) -> Path:
    return hub.browse_from / Path(text).expanduser()


def _check(hub: P2pckptApp, text: str) -> None:
    if not text:
        raise BadUsage("name a file")
    path = _path(hub, text)
    try:
        if path.exists():
            raise BadUsage(f"{path} is there already")
        if not path.parent.is_dir():
            raise BadUsage(f"there is no folder {path.parent}")
    except OSError as exc:
        raise BadUsage(f"that is no name for a file: {exc.strerror}") from exc


async def _write(hub: P2pckptApp, path: Path, content: Callable[[], bytes]) -> None:
    try:
        await asyncio.to_thread(atomic.write_new, path, content())
    except FileExistsError:
        hub.commands.tell(P2pckptError(f"{path} is there already", kept="that file"))
    except OSError as exc:
        hub.commands.tell(disk_error(exc, path, kept="nothing was written"))
    else:
        hub.commands.say(f"Written to {f.safe(str(path), 300)}.")
