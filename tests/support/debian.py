"""Programs that tests need and Debian has: installed when they are missing, by root or by sudo."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class CannotInstall(Exception):
    """Says what is missing, and why it can't be had."""


def install(packages: Sequence[str], *, deadline: float = 100) -> None:
    """Have apt install these. Raises ``CannotInstall``."""
    if shutil.which("apt-get") is None:
        raise CannotInstall(f"missing: {', '.join(packages)}")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (Path(tempfile.gettempdir()) / f"p2pckpt-tests-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # apt itself does not wait for another one
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            command = [*sudo, "apt-get", *arguments]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, env=environment, timeout=deadline, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as exc:
                raise CannotInstall(f"{', '.join(packages)} can't be installed: {exc}") from exc
    if done.returncode != 0:
        raise CannotInstall(f"{', '.join(packages)} can't be installed: {done.stderr[-300:]}")
