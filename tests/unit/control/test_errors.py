"""Errors cross the control socket by their code, and come out as what they were."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import p2pckpt
from p2pckpt.control.client import error_of, failure_of
from p2pckpt.control.messages import Failure
from p2pckpt.errors import BadUsage, P2pckptError, VerificationFailed, by_code


def every_class() -> Iterator[type[P2pckptError]]:
    for module in pkgutil.walk_packages(p2pckpt.__path__, "p2pckpt."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    pending: list[type[P2pckptError]] = [P2pckptError]
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if cls.__module__.startswith("p2pckpt."):
            yield cls


CLASSES = sorted(every_class(), key=lambda cls: cls.__name__)
OF_THE_TREE = [cls for cls in CLASSES if cls.__module__ == "p2pckpt.errors"]


def test_there_are_classes_to_look_at() -> None:
    assert len(OF_THE_TREE) >= 14
    assert {"BadManifest", "UnsafePath", "FrameError"} <= {cls.__name__ for cls in CLASSES}


def test_codes_are_unique() -> None:
    stated = Counter(cls.__dict__["code"] for cls in CLASSES if "code" in cls.__dict__)
    assert [code for code, times in stated.items() if times > 1] == []


@pytest.mark.parametrize("cls", OF_THE_TREE, ids=lambda cls: cls.__name__)
def test_a_class_is_found_by_its_code(cls: type[P2pckptError]) -> None:
    assert "code" in cls.__dict__
    assert by_code(cls.code) is cls


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_says_what_it_means(cls: type[P2pckptError]) -> None:
    assert cls.__doc__
    assert cls.__doc__.strip().splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_socket_with_its_exit_code(cls: type[P2pckptError]) -> None:
    sent = cls("what happened", kept="what is safe", next_step="what helps")
    failure = msgspec.json.decode(msgspec.json.encode(failure_of(sent)), type=Failure)
    received = error_of(failure)
    assert isinstance(sent, type(received))
    assert received.exit_code == sent.exit_code
    assert (received.fact, received.kept, received.next_step) == ("what happened", "what is safe", "what helps")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_class_of_the_daemon_has_a_code_that_every_program_knows(cls: type[P2pckptError]) -> None:
    """The command line does not load what the daemon does, and has to exit with the same code."""
    if not cls.__module__.startswith(("p2pckpt.cli", "p2pckpt.tui")):
        assert cls.code in {known.code for known in OF_THE_TREE}


def test_a_program_that_loaded_nothing_else_knows_the_exit_code_of_an_unsafe_path() -> None:
    script = "import sys, p2pckpt.errors; print(p2pckpt.errors.by_code(sys.argv[1]).exit_code)"
    unsafe = next(cls for cls in CLASSES if cls.__name__ == "UnsafePath")
    done = subprocess.run([sys.executable, "-c", script, unsafe.code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == VerificationFailed.exit_code


@given(st.text(max_size=30))
def test_an_unknown_code_is_the_plain_error(code: str) -> None:
    known = {cls.code: cls for cls in CLASSES}
    assert by_code(code) in (P2pckptError, known.get(code))


def test_exit_codes_are_those_of_the_tree() -> None:
    codes = {cls.__name__: cls.exit_code for cls in OF_THE_TREE if "exit_code" in cls.__dict__}
    assert codes == {
        "P2pckptError": 1, "BadUsage": 2, "Partial": 3, "NotAllowed": 4, "NotFound": 5, "VerificationFailed": 6,
        "UnsafeContent": 6, "UntrustedKey": 7, "DaemonUnavailable": 8, "NoSeeds": 9, "NoSpace": 10, "Cancelled": 130,
    }  # fmt: skip


def test_fact_and_hint_are_kept_apart() -> None:
    error = BadUsage("the fact")
    assert (str(error), error.fact, error.kept, error.next_step) == ("the fact", "the fact", "", "")
