"""``python -m bench``: run the benchmarks, print one table.

Each kind of work is measured in the same run as a peer that does it too, at the peer's best settings. Everything is
written below a temporary directory and removed, but for weights that take minutes to make, which stay in ``--cache``.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.util
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from bench import codec, dedup, loopback, memory, startup, table, transport, tui_tick, whole_process
from bench.generate import _size
from bench.table import Row

GB = 10**9
KINDS = ("loopback", "transport", "memory", "help", "tui", "codec", "ratios", "dedup", "pipeline", "training")
_NEXT_VERSION = GB
_CACHE, _WEIGHTS = Path(".bench"), "weights"
"""Packages with real weights are in the second; what is made of them and trained lies beside it."""
_SMALL, _FULL = (1, 2), (2, 4)
"""GB of the memory rows."""


def main() -> int:
    options = _options()
    base = options.dir or Path(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix="p2pckpt-bench-", dir=base))
    began = datetime.datetime.now(datetime.UTC)
    facts, calm = table.machine(directory), table.load()
    rows: list[Row] = []
    try:
        for name, run in _work(options, directory):
            begin = time.monotonic()
            rows += run()
            print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    facts.append(f"- load average: {calm} when it began, {table.load()} when it ended, its own work included")
    text = f"Measured on {began:%Y-%m-%d}.\n\n" + "\n".join(facts) + "\n\n" + table.markdown(rows)
    print(text, end="", flush=True)
    if options.write:
        table.write(options.write, text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure p2pckpt beside its peers.")
    parser.add_argument("--size", type=_size, default=GB, help="raw bytes of the loopback rows (1GB)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the loopback rows (3); the median counts")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="the memory rows")
    parser.add_argument("--full", action="store_true", help="memory at 2 and 4 GB, not 1 and 2; packing 10 GB")
    parser.add_argument("--only", choices=KINDS, action="append", help="just these rows; may be repeated")
    parser.add_argument("--dir", type=Path, help="where to write meanwhile, up to five times the largest size")
    parser.add_argument("--cache", type=Path, default=_CACHE, help="where real and trained weights are kept (.bench)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the result between the marks of FILE")
    options = parser.parse_args()
    options.only = options.only or [kind for kind in KINDS if kind != "memory" or options.memory]
    if "ratios" in options.only and not (importlib.util.find_spec("zipnn") and (options.cache / _WEIGHTS).is_dir()):
        parser.error("ratios need peers and real weights, which `make bench` installs; choose others with --only")
    return options


def _work(options: argparse.Namespace, directory: Path) -> list[tuple[str, Callable[[], list[Row]]]]:
    """What to run, by name, in the table's order."""
    chosen = options.only
    work: list[tuple[str, Callable[[], list[Row]]]] = []
    if "loopback" in chosen:
        work.append(_later("loopback", partial(loopback.measure, directory / "l", options.size, options.rounds)))
    if "transport" in chosen:
        work.append(_later("transport", partial(transport.measure, directory / "t", options.size, options.rounds)))
    for size in (_FULL if options.full else _SMALL) if "memory" in chosen else ():
        work.append(_later(f"memory at {size} GB", partial(memory.measure, directory / "m", size * GB)))
    if "help" in chosen:
        work.append(("help", startup.measure))
    if "tui" in chosen:
        work.append(_later("tui", tui_tick.measure))
    if "codec" in chosen:
        work.append(("codec", codec.measure))
    if "ratios" in chosen:
        work.append(("ratios", lambda: _ratios(options.cache)))
    if "dedup" in chosen:
        work.append(_later("dedup", partial(dedup.measure, directory / "d", _NEXT_VERSION)))
    if "pipeline" in chosen:
        work.append(_later("pipeline", partial(whole_process.measure, directory / "p", full=options.full)))
    if "training" in chosen:
        work.append(("training", lambda: _training(directory / "o")))
    return work


def _training(directory: Path) -> list[Row]:
    """Imported when asked for, as it needs torch."""
    from bench import overhead

    return asyncio.run(overhead.measure(directory))


def _ratios(cache: Path) -> list[Row]:
    """Imported when asked for: these alone need the packages of the group ``bench``."""
    from bench import deltas, ratios

    return ratios.measure(cache, cache / _WEIGHTS) + deltas.measure(cache)


def _later(name: str, measure: Callable[[], Coroutine[None, None, list[Row]]]) -> tuple[str, Callable[[], list[Row]]]:
    return name, lambda: asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
