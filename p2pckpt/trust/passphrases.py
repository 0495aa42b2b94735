"""Where a daemon that nobody watches finds its identity's passphrase: a file, or a credential of its service; and what
every process does that holds one."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

from p2pckpt.config import Config
from p2pckpt.errors import NotFound

CREDENTIAL: Final = "p2pckpt-passphrase"
"""Its name for ``LoadCredential=`` of systemd."""
_MAX: Final = 4096


def find(settings: Config) -> str:
    """From the setting ``passphrase_file``, else from ``$CREDENTIALS_DIRECTORY``; empty where neither says anything.

    Raises ``NotFound`` when the file that the setting names is not there or empty.
    """
    path = settings.text("passphrase_file")
    if path:
        passphrase = _first_line(Path(path).expanduser())
        if not passphrase:
            raise NotFound(f"there is no passphrase in {path}", next_step="p2pckpt config show passphrase_file")
        return passphrase
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return _first_line(Path(directory) / CREDENTIAL) if directory else ""


def clean(data: bytes) -> str:
    """A passphrase as a file or pipe has it: without the end of its line. Empty when it is no text."""
    try:
        return data[:_MAX].decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        return ""


def stay_out_of_core_dumps() -> None:
    """Keys and passphrases are in this process's memory: a dump of it would put them on the disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as source:
            return clean(source.read(_MAX))
    except OSError:
        return ""
