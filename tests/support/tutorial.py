"""Does what a tutorial says: its blocks, one after the other, each on the machine that it names.

A fence ```` ```sh machine=theirs ```` is run by bash in that machine's home (``mine`` without a name), with
``background`` until the end; ```` ```python file=NAME ```` is written there; ```` ```text ```` is what the block before
it prints, where ``…`` stands for anything. Variables pass from block to block, as people pass them from hand to hand.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .homes import DEADLINE

_FENCE: Final = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SETTINGS: Final = {
    "PORT_MAPPING": "0",
    "DHT": "0",
    "LOCAL_DISCOVERY": "0",
    "KEY_STORE": "file",
    "LISTEN": "127.0.0.1",
    "TRACKER_LISTEN": "127.0.0.1",
}
"""No packet leaves this machine, nor does a key get into the keyring of whoever runs the tests."""


@dataclass(frozen=True)
class Block:
    language: str
    options: Mapping[str, str]
    text: str
    line: int

    @property
    def machine(self) -> str:
        return self.options.get("machine", "mine")


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document."""
    found = []
    for match in _FENCE.finditer(document):
        words = (word.partition("=") for word in shlex.split(match[2]))
        options = {name: value or "yes" for name, _, value in words}
        found.append(Block(match[1], options, match[3], document.count("\n", 0, match.start()) + 1))
    return found


class Machines:
    """A directory for each machine, with a home and daemon of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._variables: dict[str, str] = {}
        self._background: list[subprocess.Popen[bytes]] = []
        self._names: set[str] = set()
        self.printed = ""

    def run(self, block: Block) -> None:
        """Write a file, run commands, or compare what the last ones printed. Raises ``AssertionError``."""
        where = f"line {block.line}"
        if block.language == "text":
            for line in filter(None, map(str.strip, block.text.splitlines())):
                pattern = ".*".join(map(re.escape, line.split("…")))
                assert re.search(pattern, self.printed), f"{where}: {line!r} is not in\n{self.printed}"
        elif "file" in block.options:
            (self._directory(block.machine) / block.options["file"]).write_text(block.text)
        elif block.language == "sh" and "background" in block.options:
            self._start(block)
        elif block.language == "sh":
            self._shell(block, where)

    def close(self) -> None:
        """Stop what was started."""
        for process in self._background:
            process.terminate()
            process.wait(DEADLINE)
        for name in self._names:
            self._call(name, [sys.executable, "-m", "p2pckpt", "daemon", "stop"])

    def _directory(self, name: str) -> Path:
        directory = self._root / name
        directory.mkdir(exist_ok=True)
        self._names.add(name)
        return directory

    def _environment(self, name: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("P2PCKPT_", "XDG_", "HF_"))}
        programs = str(Path(sys.executable).parent)
        own = {
            "HOME": str(self._directory(name)),
            "PATH": f"{programs}{os.pathsep}{kept['PATH']}",
            "HF_HUB_OFFLINE": "1",
        }
        settings = {f"P2PCKPT_{key}": value for key, value in _SETTINGS.items()}
        return {**kept, **settings, **own, "P2PCKPT_NAME": name, **self._variables}

    def _call(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._directory(name),
            env=self._environment(name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE * 2,
            check=False,
        )

    def _shell(self, block: Block, where: str) -> None:
        variables = self._root / "variables"
        variables.unlink(missing_ok=True)
        script = f"set -euo pipefail\n{_here(block.text)}\ndeclare -p > {variables}\n"
        done = self._call(block.machine, ["bash", "-c", script])
        self.printed = done.stdout
        assert done.returncode == 0, f"{where}: exit code {done.returncode}\n{block.text}---\n{done.stdout}"
        said = variables.read_text()
        for name in set(re.findall(r"^\s*([A-Z]+)=", block.text, re.MULTILINE)):
            line = next(line for line in said.splitlines() if re.match(rf"declare -[-x]+ {name}=", line))
            self._variables[name] = shlex.split(line)[2].partition("=")[2]

    def _start(self, block: Block) -> None:
        """Run until the end; what it says when it is ready is waited for."""
        directory = self._directory(block.machine)
        with (directory / "background.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {_here(block.text)}"],
                cwd=directory,
                env=self._environment(block.machine),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._background.append(process)
        ready = re.search(r"--ready-file (\S+)", block.text)
        deadline = time.monotonic() + DEADLINE
        while ready is not None and not (directory / ready[1]).exists():
            assert process.poll() is None, (directory / "background.log").read_text()
            assert time.monotonic() < deadline, (directory / "background.log").read_text()
            time.sleep(0.02)


def _here(commands: str) -> str:
    """A server of the test listens on loopback alone, on any port."""
    return commands.replace("0.0.0.0:7878", "127.0.0.1:0")


@contextlib.contextmanager
def machines(root: Path) -> Iterator[Machines]:
    made = Machines(root)
    try:
        yield made
    finally:
        made.close()
