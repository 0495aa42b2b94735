"""Leaving the processor to other programs.

Where Linux shares the processor out by session first (autogroups), a nice value counts within the session alone, and
the session has one of its own.
"""

from __future__ import annotations

import os
import time
from typing import Final

import structlog

_log = structlog.get_logger(__name__)
_TRIES: Final = 10
_PAUSE: Final = 0.11
"""Seconds: on all of a machine, one session's value may be changed in a tenth."""


def stand_back(nice: int) -> None:
    """This process, and its session if it leads it, from now on; 0 changes nothing. Blocks for a second at most."""
    if nice:
        os.nice(nice)
        if os.getsid(0) == os.getpid():  # else it is somebody's terminal
            stand_back_as_we_do(os.getpid())


def stand_back_as_we_do(leader: int) -> None:
    """The session that process ``leader`` leads: it has its process's nice value from us. Blocks as ``stand_back``."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        group = os.open(f"/proc/{leader}/autogroup", os.O_WRONLY | os.O_CLOEXEC) if nice > 0 else -1
    except OSError:
        return  # no Linux, or not shared out so
    if group < 0:
        return
    try:
        for _ in range(_TRIES):
            try:
                os.write(group, str(nice).encode())
                return
            except BlockingIOError:
                time.sleep(_PAUSE)
        _log.warning("the session does not stand back", process=leader)
    except OSError as exc:
        _log.warning("the session does not stand back", process=leader, reason=str(exc))
    finally:
        os.close(group)
