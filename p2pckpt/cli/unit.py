"""The systemd user unit of the daemon, as text and as a place."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from p2pckpt.config import Config
from p2pckpt.errors import BadUsage

UNIT_NAME: Final = "p2pckpt.service"

_UNIT: Final = """\
[Unit]
Description=p2pckpt daemon: shares and receives checkpoints

[Service]
ExecStart={command}
{environment}Restart=on-failure
RestartSec=2
# transfers save their state on SIGTERM
TimeoutStopSec=60
UMask=0077
NoNewPrivileges=true

[Install]
WantedBy=default.target
"""


def unit_directory() -> Path:
    """Where systemd looks for this user's units."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "systemd" / "user"


def unit_text(config: Config) -> str:
    """A unit that runs this interpreter's daemon for this home."""
    command = " ".join(quoted(word) for word in (sys.executable, "-m", "p2pckpt.daemon.main"))
    # ExecStart expands $NAME, Environment does not
    command = command.replace("$", "$$")
    lines = [f"Environment={quoted(f'{k}={v}')}\n" for k, v in sorted(config.environment().items())]
    return _UNIT.format(command=command, environment="".join(lines))


def quoted(word: str) -> str:
    """``word`` as systemd reads it back: quotes and backslashes escaped, ``%`` no specifier."""
    if any(ord(char) < 0x20 or char == "\x7f" for char in word):
        raise BadUsage("a path with control characters cannot be written into a unit")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != word or " " in word or "'" in word or ";" in word else escaped
