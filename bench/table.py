"""What a benchmark says: rows with their target, the markdown of all of them, and where they were measured."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from p2pckpt import __version__

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
"""What ``--write`` replaces in a document; the rest of it is written by hand."""
_LIBRARIES = ("libtorrent", "numpy", "zstandard", "blake3", "aiohttp", "textual")
_PEERS = ("zipnn", "blosc2", "hf-xet", "torch", "gguf")
"""Named where they are installed."""
_PROGRAMS = (("zstd", "--version"), ("restic", "version"), ("borg", "--version"))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    ours: str
    peer: str = "—"
    ratio: str = "—"
    target: str = "—"
    met: bool | None = None
    """None where there is no target."""


def markdown(rows: Sequence[Row]) -> str:
    """The table, then what misses its target."""
    lines = ["| work | p2pckpt | beside it | ratio | target | |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = {True: "met", False: "**missed**", None: ""}[row.met]
        cells = (row.work, row.ours, row.peer, row.ratio, row.target, verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    missed = [row for row in rows if row.met is False]
    lines += ["", "Missed:" if missed else "Nothing misses its target.", ""]
    for row in missed:
        ratio = "" if row.ratio == "—" else f", {row.ratio}"
        lines.append(f"- {row.work}: {row.ours}{ratio}; target {row.target}")
    return "\n".join(lines).rstrip() + "\n"


def machine(directory: Path) -> list[str]:
    """Where this ran, one fact a line."""
    memory = psutil.virtual_memory().total / (1 << 30)
    installed = {each.metadata["Name"].lower() for each in importlib.metadata.distributions()}
    names = [*_LIBRARIES, *(name for name in _PEERS if name in installed)]
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    programs = [_version(program) for program in _PROGRAMS if shutil.which(program[0])]
    return [
        f"- machine: {_processor()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}; files on {_filesystem(directory)}",
        f"- versions: p2pckpt {__version__}, Python {platform.python_version()}, {libraries}",
        f"- programs: {', '.join(programs) or 'none'}",
        f"- command: `{' '.join(['python -m bench', *sys.argv[1:]])}`",
    ]


def load() -> str:
    """Load average of the last minute: how calm the machine was."""
    return f"{psutil.getloadavg()[0]:.1f}"


def write(file: Path, text: str) -> None:
    """Put ``text`` between the marks of ``file``. Raises ``ValueError`` when it has none."""
    before, begin, rest = file.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} lacks {BEGIN} … {END}")
    file.write_text(f"{before}{BEGIN}\n{text.rstrip()}\n{END}{after}", "utf-8")


def _version(command: tuple[str, str]) -> str:
    """The program's name and the first number with dots that it says of itself."""
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return f"{command[0]} {found.group() if found else '?'}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


def _filesystem(directory: Path) -> str:
    mounts = [m for m in psutil.disk_partitions(all=True) if directory.resolve().is_relative_to(m.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "?"
