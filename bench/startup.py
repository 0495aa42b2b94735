"""How long a command takes that does nothing, beside a Python that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.table import Row

RUNS = 15
TARGET = 5.0


def measure() -> list[Row]:
    """``p2pckpt --help`` and ``python -c pass`` by turns."""
    script = Path(sys.executable).with_name("p2pckpt")
    ours = [str(script), "--help"] if script.exists() else [sys.executable, "-m", "p2pckpt", "--help"]
    bare = [sys.executable, "-c", "pass"]
    _seconds(ours), _seconds(bare)
    pairs = [(_seconds(ours), _seconds(bare)) for _ in range(RUNS)]
    help_ms, bare_ms = (median(times) * 1000 for times in zip(*pairs, strict=True))
    ratio = help_ms / bare_ms
    return [
        Row(
            f"`p2pckpt --help`, median of {RUNS}",
            f"{help_ms:.0f} ms",
            f"`python -c pass` {bare_ms:.0f} ms",
            f"{ratio:.1f}×",
            f"≤{TARGET:.0f}×",
            ratio <= TARGET,
        )
    ]


def _seconds(command: Sequence[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin
