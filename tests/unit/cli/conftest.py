"""A home of its own for every test, the program run in it, and a daemon that answers from a script."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from p2pckpt.cli.main import run
from p2pckpt.config import Config, load
from tests.support.canned_daemon import CannedDaemon


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("P2PCKPT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def config(home: Path) -> Config:
    return load(home=home)


@pytest.fixture
def daemon(config: Config) -> Iterator[CannedDaemon]:
    with CannedDaemon(config.socket_path) as served:
        yield served
    assert not served.unexpected


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs one command line in the test's home; ``stdin`` is what is piped into it."""

    def invoke(*argv: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = run(argv)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return invoke


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Callable[[str], None]:
    """Makes the three streams look like a terminal, on which ``answers`` are typed."""

    class Typed(io.StringIO):
        def isatty(self) -> bool:
            return True

    def become(answers: str) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", Typed(answers))

    return become
