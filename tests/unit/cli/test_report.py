"""Errors become text and exit codes; nothing that others wrote reaches a terminal raw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from p2pckpt import errors, qr
from p2pckpt.cli.options import Invocation
from p2pckpt.cli.report import OUTPUT_CLOSED, OutputClosed, guard
from tests.unit.cli.conftest import Cli

EXIT_CODES = {
    "P2pckptError": 1,
    "BadUsage": 2,
    "Partial": 3,
    "NotAllowed": 4,
    "LicenceNotAccepted": 4,
    "NotFound": 5,
    "VerificationFailed": 6,
    "UnsafeContent": 6,
    "Stale": 6,
    "UntrustedKey": 7,
    "BlockedKey": 7,
    "KeyToReview": 7,
    "DaemonUnavailable": 8,
    "NoSeeds": 9,
    "NoSpace": 10,
    "TrackerUnreachable": 1,
    "Conflict": 1,
    "ChangedWhileReading": 1,
    "Cancelled": 130,
}


def _every_error() -> list[type[errors.P2pckptError]]:
    found = [errors.P2pckptError]
    for cls in found:
        found += [sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__]
    return found


def _raise(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_the_table_of_exit_codes_names_every_error() -> None:
    assert {cls.__name__ for cls in _every_error()} == set(EXIT_CODES)


@pytest.mark.parametrize("cls", _every_error())
def test_every_error_is_told_with_its_exit_code(
    cls: type[errors.P2pckptError], capsys: pytest.CaptureFixture[str]
) -> None:
    code = guard(Invocation(), _raise(cls("it broke", kept="the pieces", next_step="glue")))
    captured = capsys.readouterr()
    assert code == EXIT_CODES[cls.__name__]
    assert captured.out == ""
    assert captured.err == "error: it broke\nkept: the pieces\nnext: glue\n"


def test_with_json_the_failure_is_one_object_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation()
    invocation.format = "json"
    assert guard(invocation, _raise(errors.NoSpace("full"))) == 10
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err) == {"code": "no_space", "fact": "full", "kept": "", "next_step": ""}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_with_130(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard(Invocation(), _raise(error)) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_bug_shows_one_line_and_puts_its_traceback_into_a_log(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation()
    assert guard(invocation, _raise(ZeroDivisionError("by zero"))) == 1
    shown = capsys.readouterr().err
    log = invocation.config.state_dir / "cli.log"
    assert "error: a bug in p2pckpt: ZeroDivisionError: by zero\n" in shown
    assert "Traceback" not in shown
    assert str(log) in shown
    assert "Traceback" in log.read_text()


def test_a_bug_shows_its_traceback_with_v(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation()
    invocation.verbose = True
    guard(invocation, _raise(ZeroDivisionError("by zero")))
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_told_even_when_no_log_can_be_written(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("P2PCKPT_HOME", "/dev/null/home")
    assert guard(Invocation(), _raise(ZeroDivisionError())) == 1
    assert "a bug in p2pckpt" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_the_program_quietly() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "p2pckpt", "--version"], stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (OUTPUT_CLOSED, b"")


def test_help_into_a_closed_pipe_is_quiet_too() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "p2pckpt", "--help"], stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (OUTPUT_CLOSED, b"")


def test_no_command_can_catch_a_closed_output_by_accident() -> None:
    assert not issubclass(OutputClosed, Exception)


HOSTILE = "a\x1b]0;owned\x07b\x9bc\u202ed\x7fe\rf"


@pytest.mark.parametrize("write", ["line", "narrate"])
def test_escape_sequences_never_reach_the_output(write: str, capsys: pytest.CaptureFixture[str]) -> None:
    getattr(Invocation().report, write)(HOSTILE)
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert shown.count("\n") == 1
    assert not set(shown) & set("\x1b\x07\x9b\u202e\x7f\r")


def test_an_error_with_escape_sequences_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    guard(Invocation(), _raise(errors.NotFound(HOSTILE, kept=HOSTILE, next_step=HOSTILE)))
    shown = capsys.readouterr().err
    assert shown.count("\n") == 3
    assert not set(shown) & set("\x1b\x07\x9b\u202e\x7f\r")


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_is_exact_and_still_harmless(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation()
    invocation.format = form
    invocation.report.json({"name": HOSTILE})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"name": HOSTILE}
    assert shown.replace("\n", "").isascii()
    assert shown.replace("\n", "").isprintable()


def test_a_question_nobody_can_answer_is_a_usage_error(capsys: pytest.CaptureFixture[str], cli: Cli) -> None:
    with pytest.raises(errors.BadUsage) as caught:
        Invocation().report.ask("Really?", otherwise="-y")
    assert caught.value.next_step == "add -y"


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_a_question_is_answered_no_unless_yes(
    answer: str, agreed: bool, terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(answer)
    assert Invocation().report.ask("Really?", otherwise="-y") is agreed


def test_colours_only_on_a_terminal_that_wants_them(
    terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    Invocation().report.narrate("plain", colour="red")
    terminal("")
    Invocation().report.narrate("painted", colour="red")
    dull = Invocation()
    dull.no_color = True
    dull.report.narrate("dull", colour="red")
    assert capsys.readouterr().err == "plain\n\x1b[31mpainted\x1b[0m\ndull\n"


def test_a_qr_code_has_its_colours_on_every_terminal_and_is_drawn_nowhere_else(
    terminal: Callable[[str], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    link = "p2pckpt:" + "a" * 52 + "?tr=x:1"
    Invocation().report.qr(link)
    assert capsys.readouterr() == ("", "a QR code is drawn on a terminal only\n")
    terminal("")
    monkeypatch.setenv("NO_COLOR", "1")
    for columns, lines in ((100, 40), (100, 10)):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        Invocation().report.qr(link)
        drawn = capsys.readouterr().err.splitlines()
        assert all(row.startswith("\x1b[30;107m") and row.endswith("\x1b[0m") for row in drawn)
        plain = [row.removeprefix("\x1b[30;107m").removesuffix("\x1b[0m") for row in drawn]
        assert plain == qr.draw(link, columns, 38), "a terminal scrolls: only its width counts"
    monkeypatch.setenv("COLUMNS", "20")
    Invocation().report.qr(link)
    assert "make the window larger" in capsys.readouterr().err
