"""Starts a tracker as the process it is in real life, for tests and demonstrations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_DEADLINE = 30.0
_STOP_DEADLINE = 15.0


@dataclass
class TrackerProcess:
    """A running tracker. ``stop`` it, or use it as a context manager."""

    process: subprocess.Popen[bytes]
    url: str
    """Of the API, without a path: ``http://127.0.0.1:40715``."""
    api_port: int
    announce_port: int
    """0 when that listener is off; so for ``ops_port``."""
    ops_port: int
    certificate_sha256: str
    """Hex, to pin; empty with plain HTTP."""
    tracker_id: str
    data_dir: Path
    log_file: Path

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process and return its exit code; again is fine."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the tracker did not stop:\n{self.log()}") from None

    def log(self) -> str:
        """All it has logged."""
        return self.log_file.read_text()

    def __enter__(self) -> TrackerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_tracker(
    data_dir: Path, *, new_shares: str = "open", plain_http: bool = True, **options: Any
) -> TrackerProcess:
    """Start ``python -m p2pckpt_tracker.main serve`` on free ports of 127.0.0.1 and wait until it listens.

    Other ``options`` become flags: ``owner=[identity]`` is repeated, ``trusted_proxy="127.0.0.0/8"`` given once,
    ``listen="127.0.0.1:7000"`` replaces the free port.
    """
    data_dir = Path(data_dir)
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    ready_file = data_dir.with_name(data_dir.name + ".ready")
    log_file = data_dir.with_name(data_dir.name + ".log")
    ready_file.unlink(missing_ok=True)
    flags: dict[str, Any] = {
        "data": data_dir,
        "listen": "127.0.0.1:0",
        "announce_listen": "127.0.0.1:0",
        "ops_listen": "127.0.0.1:0",
        "new_shares": new_shares,
        "ready_file": ready_file,
        "plain_http": plain_http,
    } | options
    command = [sys.executable, "-m", "p2pckpt_tracker.main", "serve"]
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            command += [flag] if value else []
        else:
            for each in value if isinstance(value, (list, tuple)) else [value]:
                command += [flag, str(each)]
    with log_file.open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
    deadline = time.monotonic() + _START_DEADLINE
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"the tracker did not start:\n{log_file.read_text()}")
        time.sleep(0.02)
    ready = json.loads(ready_file.read_text())
    assert ready["pid"] == process.pid
    return TrackerProcess(
        process=process,
        url=f"{'http' if plain_http else 'https'}://127.0.0.1:{ready['api_port']}",
        api_port=ready["api_port"],
        announce_port=ready["announce_port"],
        ops_port=ready["ops_port"],
        certificate_sha256=ready["certificate_sha256"],
        tracker_id=ready["tracker_id"],
        data_dir=data_dir,
        log_file=log_file,
    )
