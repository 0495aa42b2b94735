"""The one place that writes to stdout and stderr, asks questions, and turns an error into text and exit code.

stdout carries data, stderr everything said about it. Each text line passes the terminal sanitizer here, so a
command cannot forget it; JSON is written in ASCII, where nothing can act on a terminal.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

import click

from p2pckpt.errors import BadUsage, Cancelled, P2pckptError

if TYPE_CHECKING:
    from p2pckpt.cli.options import Invocation

_COLOURS = {"red": "31", "yellow": "33", "green": "32", "dim": "2"}
INTERRUPTED = 130
OUTPUT_CLOSED = 141
"""What a shell reports for a program that SIGPIPE ended, and what scripts know to tolerate."""


class OutputClosed(BaseException):
    """Whoever read our output has gone away; no ``Exception``, so that no command takes it for its own error."""


class Report:
    """Writes for one invocation, in the format it asked for."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._drawn = False
        """Whether a progress line stands on the terminal and must be erased first."""
        for stream in (sys.stdout, sys.stderr):
            # a file name that is no UTF-8 must not end the program
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    @property
    def as_text(self) -> bool:
        return self._invocation.format == "text"

    @property
    def quiet(self) -> bool:
        return self._invocation.quiet

    @property
    def draws_progress(self) -> bool:
        dumb = os.environ.get("TERM") in (None, "", "dumb")
        return sys.stderr.isatty() and not dumb and not self.quiet and self.as_text

    def line(self, text: str = "", *, colour: str = "") -> None:
        """One line of data. A newline inside ``text`` is somebody else's and does not start a second one."""
        self._write(sys.stdout, self._paint(sys.stdout, _clean(text), colour) + "\n")

    def text(self, block: str) -> None:
        """Several lines of data."""
        for row in block.splitlines():
            self.line(row)

    def narrate(self, text: str = "", *, colour: str = "") -> None:
        """One line for the person watching; not with ``--quiet``."""
        if not self.quiet:
            self._write(sys.stderr, self._paint(sys.stderr, _clean(text), colour) + "\n")

    def progress(self, text: str) -> None:
        """Replace the progress line; ``text`` must fit the terminal. Nothing where stderr is no terminal."""
        if self.draws_progress:
            self._write(sys.stderr, "\r\x1b[2K" + _clean(text), keeps_progress=True)
            self._drawn = True

    def json(self, value: Any) -> None:
        """``value`` (structs, lists, dicts) as JSON: indented for ``json``, one line for ``jsonl``."""
        self._write(sys.stdout, _json(value, indent=2 if self._invocation.format == "json" else None) + "\n")

    def event(self, value: Any) -> None:
        """One object of a stream: always one line, since a reader takes it before the stream has ended."""
        self._write(sys.stdout, _json(value) + "\n")

    def items(self, values: Iterable[Any], *, ids: Iterable[str], text: Callable[[], Iterable[str]]) -> None:
        """A list in the format asked for; ``text`` is called only when its lines are wanted."""
        if not self.as_text:
            if self._invocation.format == "json":
                self.json(list(values))
            else:
                for value in values:
                    self.event(value)
            return
        for row in ids if self.quiet else text():
            self.line(row)

    def qr(self, text: str) -> None:
        """Draw ``text`` as a QR code on the terminal that stderr is. Says so where there is none, or it is too small.

        Its two colours are no ornament: without them nothing tells dark from light, so it has them always.
        """
        from p2pckpt import qr

        if self.quiet or not sys.stderr.isatty():
            self.narrate("a QR code is drawn on a terminal only")
            return
        size = shutil.get_terminal_size()
        rows = qr.draw(text, size.columns, max(size.lines - 2, 1)) or qr.draw(text, size.columns, 1 << 16)
        if not rows:
            columns, lines = qr.smallest(text)
            self.narrate(f"its QR code needs {columns} columns and {lines} lines: make the window larger")
        for row in rows:
            self._write(sys.stderr, f"\x1b[30;107m{row}\x1b[0m\n")

    def bytes(self, data: bytes) -> None:
        """Raw data to stdout: a backup that is piped on."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer."""
        return not self._invocation.no_input and sys.stdin.isatty()

    def ask(self, question: str, *, otherwise: str) -> bool:
        """Whether the person agrees, default no. ``BadUsage`` naming ``otherwise`` where nobody can be asked."""
        if not self.can_ask:
            raise BadUsage("this needs an answer, and nobody can be asked", next_step=f"add {otherwise}")
        self._write(sys.stderr, _clean(question) + " [y/N] ")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def typed(self, prompt: str, *, otherwise: str) -> str:
        """A line that the person types."""
        if not self.can_ask:
            raise BadUsage("this needs an answer, and nobody can be asked", next_step=f"add {otherwise}")
        self._write(sys.stderr, _clean(prompt) + ": ")
        return sys.stdin.readline().strip()

    def secret(self, prompt: str, *, otherwise: str) -> str:
        """A passphrase typed without echo."""
        if not self.can_ask:
            raise BadUsage("this needs a passphrase, and nobody can be asked", next_step=f"add {otherwise}")
        from getpass import getpass

        return getpass(prompt + ": ", stream=sys.stderr)

    def read_stdin(self) -> str:
        return sys.stdin.read()

    def failure(self, error: P2pckptError) -> None:
        """Fact, what was kept and the next step, or the same as one JSON object."""
        if not self.as_text:
            fields = {"code": error.code, "fact": error.fact, "kept": error.kept, "next_step": error.next_step}
            self._write(sys.stderr, _json(fields) + "\n")
            return
        label = self._paint(sys.stderr, "error:", "red")
        self._write(sys.stderr, f"{label} {_clean(error.fact)}\n")
        for name, value in (("kept:", error.kept), ("next:", error.next_step)):
            if value:
                self._write(sys.stderr, f"{name} {_clean(value)}\n")

    def raw_traceback(self) -> None:
        for row in traceback.format_exc().splitlines():
            self._write(sys.stderr, _clean(row) + "\n")

    def _paint(self, stream: IO[str], text: str, colour: str) -> str:
        if not colour or self._invocation.no_color or not stream.isatty():
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"

    def _write(self, stream: IO[str], text: str, *, keeps_progress: bool = False) -> None:
        try:
            if self._drawn and not keeps_progress:
                self._drawn = False
                sys.stderr.write("\r\x1b[2K")
                sys.stderr.flush()
            stream.write(text)
            stream.flush()
        except BrokenPipeError as exc:
            raise OutputClosed from exc


def guard(invocation: Invocation, work: Callable[[], None]) -> int:
    """Run ``work`` and return the exit code of how it ended; nothing escapes but ``SystemExit``."""
    try:
        work()
        return 0
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except (OutputClosed, BrokenPipeError):
        # the interpreter flushes stdout once more on its way out, and would complain
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    except (KeyboardInterrupt, click.Abort):
        error: P2pckptError = Cancelled("interrupted")
    except P2pckptError as exc:
        error = exc
    except click.ClickException as exc:
        error = _usage(exc)
    except Exception as exc:
        error = _bug(invocation, exc)
    with contextlib.suppress(OutputClosed):
        invocation.report.failure(error)
    return error.exit_code


def _usage(exc: click.ClickException) -> P2pckptError:
    context = getattr(exc, "ctx", None)
    where = context.command_path if context is not None else "p2pckpt"
    return BadUsage(exc.format_message(), next_step=f"{where} --help")


def _bug(invocation: Invocation, exc: Exception) -> P2pckptError:
    if invocation.verbose:
        invocation.report.raw_traceback()
    kept = ""
    with contextlib.suppress(Exception):
        # a log that cannot be written must not hide the error it was to describe
        log = invocation.config.state_dir / "cli.log"
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as sink:
            sink.write(traceback.format_exc())
        kept = f"the traceback is in {log}; the daemon's log is {invocation.config.daemon_log}"
    return P2pckptError(
        f"a bug in p2pckpt: {type(exc).__name__}: {exc}", kept=kept, next_step="report it with that log"
    )


def _clean(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    from p2pckpt.cli.text import clean

    return clean(text)


def _json(value: Any, *, indent: int | None = None) -> str:
    import json

    import msgspec

    # json.dumps keeps DEL, which some terminals act on
    return json.dumps(msgspec.to_builtins(value), indent=indent).replace("\x7f", "\\u007f")
