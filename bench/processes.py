"""What a whole process costs: from before it starts until it has ended, and all it started with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_LAUNCHER = """
import json, os, sys, time
flush, command = sys.argv[1], sys.argv[2:]
begin = time.perf_counter()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, used = os.wait4(child, 0)
for folder, _, names in os.walk(flush) if flush else ():
    for name in names:
        descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
wall = time.perf_counter() - begin
print(json.dumps([os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, used.ru_maxrss << 10]))
"""
"""A process of its own: what is launched begins its peak RSS with its parent's, which must be small."""


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, seconds of processors, bytes at the worst moment."""

    wall: float
    cpu: float
    peak_rss: int


def cost(
    command: Sequence[str | Path],
    *,
    directory: Path | None = None,
    environment: dict[str, str] | None = None,
    flush: Path | None = None,
) -> Cost:
    """Run ``command`` to its end. With ``flush``, the clock stops once every file below it was fsynced.

    ``subprocess.CalledProcessError`` where it fails.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(flush or ""), *map(str, command)]
    done = subprocess.run(
        launcher, cwd=directory, env=environment, capture_output=True, check=True, text=True, stdin=subprocess.DEVNULL
    )
    code, wall, cpu, peak = json.loads(done.stdout.splitlines()[-1])
    if code:
        raise subprocess.CalledProcessError(code, [str(part) for part in command], done.stdout, done.stderr)
    return Cost(wall, cpu, peak)


def middle(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(
        median(each.wall for each in costs),
        median(each.cpu for each in costs),
        int(median(each.peak_rss for each in costs)),
    )
