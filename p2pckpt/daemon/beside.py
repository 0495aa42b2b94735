"""Processes that the daemon keeps beside itself: starting them, ports they keep, whether they live."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from p2pckpt.control.client import last_line
from p2pckpt.daemon.niceness import stand_back_as_we_do

_T = TypeVar("_T")
START_DEADLINE: Final = 20.0
"""Seconds a process gets until it is ready."""
_POLL: Final = 0.05


async def start(
    module: str, arguments: Sequence[str], log: Path, look: Callable[[int], _T | None], *, stdin: int = DEVNULL
) -> tuple[Process, _T | None]:
    """Run ``module`` as a process in a session of its own, as nice as we are; its output goes to the end of ``log``.

    ``look`` is asked with its pid until it gives what the process says once it is ready; None when it ended before,
    or took longer than ``START_DEADLINE``.
    """
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, stdin=stdin, stdout=sink, stderr=sink, start_new_session=True
        )
    finally:
        os.close(sink)
    await asyncio.to_thread(stand_back_as_we_do, process.pid)
    deadline = asyncio.get_running_loop().time() + START_DEADLINE
    while asyncio.get_running_loop().time() < deadline:
        ready = look(process.pid)
        if ready is not None:
            return process, ready
        if process.returncode is not None:
            break
        await asyncio.sleep(_POLL)
    return process, None


def last_port(file: Path) -> int:
    """The port that was used last; 0 for none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie; for those that are no children of ours."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def complaint(log: Path) -> str:
    """The last line of ``log``, for an error."""
    return last_line(log) or "it wrote nothing"
