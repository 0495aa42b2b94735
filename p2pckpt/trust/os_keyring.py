"""The operating system's keyring, asked from a process of its own.

A keyring may hang on a bus that does not answer, or wait for a window in which nobody types a password. A thread that
waits for it could not be ended, a process can. Secrets pass through its pipes, never through arguments or environment.
``python -m p2pckpt.trust.os_keyring`` is that process: one request as JSON on stdin, one answer on stdout.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Final

import msgspec

from p2pckpt.errors import P2pckptError

SERVICE: Final = "p2pckpt"
_PROBE_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 12.0
"""Less than front ends wait for a daemon to start, which may need the keyring first."""
_SILENT: Final = ("keyring.backends.SecretService", "keyring.backends.macOS", "keyring.backends.Windows")
"""Backends that can be used unasked: the session has opened them. Others may prompt, or keep secrets in plain files."""

_PROBLEMS: Final = {"KeyringLocked": "it is locked", "NoKeyringError": "there is none on this machine"}
"""What the ``keyring`` library raises, for people."""


class _Request(msgspec.Struct, frozen=True):
    act: str
    """``probe``, ``get``, ``put`` or ``delete``."""
    entry: str = ""
    secret: str = ""


class _Answer(msgspec.Struct, frozen=True):
    secret: str | None = None
    problem: str = ""


class KeyringFailed(P2pckptError):
    """The keyring can't be reached, is locked, or refuses."""


def is_ready() -> bool:
    """Whether there is a keyring that this session has unlocked. Never prompts, and answers within seconds."""
    if sys.platform == "linux" and not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return False  # every keyring of Linux desktops is on the session's bus
    try:
        _ask(_Request("probe"), _PROBE_SECONDS)
    except KeyringFailed:
        return False
    return True


def get(entry: str) -> str:
    """The secret kept under ``entry``. Raises ``KeyringFailed``, also when there is none."""
    secret = _ask(_Request("get", entry), _ANSWER_SECONDS).secret
    if secret is None:
        raise KeyringFailed("the OS keyring has no such entry")
    return secret


def put(entry: str, secret: str) -> None:
    """Keep ``secret``, and read it back to be sure. Raises ``KeyringFailed``."""
    _ask(_Request("put", entry, secret), _ANSWER_SECONDS)


def delete(entry: str) -> None:
    """Forget what is kept under ``entry``. Raises ``KeyringFailed``."""
    _ask(_Request("delete", entry), _ANSWER_SECONDS)


def _ask(request: _Request, seconds: float) -> _Answer:
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=msgspec.json.encode(request),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        answer = msgspec.json.decode(done.stdout, type=_Answer)
    except subprocess.TimeoutExpired as exc:
        raise KeyringFailed(f"the OS keyring did not answer within {seconds:.0f} s; it may be locked") from exc
    except (OSError, msgspec.MsgspecError) as exc:
        raise KeyringFailed("the OS keyring can't be asked") from exc
    if answer.problem:
        raise KeyringFailed(f"the OS keyring: {answer.problem}")
    return answer


def _serve(request: _Request) -> _Answer:
    """In the process of its own."""
    import keyring

    backend = keyring.get_keyring()
    match request.act:
        case "probe":
            return _Answer(problem=_why_not(backend))
        case "get":
            return _Answer(backend.get_password(SERVICE, request.entry))
        case "put":
            backend.set_password(SERVICE, request.entry, request.secret)
            if backend.get_password(SERVICE, request.entry) != request.secret:
                return _Answer(problem="it did not keep what was given to it")
        case "delete":
            backend.delete_password(SERVICE, request.entry)
    return _Answer()


def _why_not(backend: Any) -> str:
    """Why ``backend`` can't be used without asking anybody; empty when it can."""
    chained = getattr(backend, "backends", None)
    if chained is not None:
        backend = next(iter(chained), None)
    name = type(backend).__module__
    if not name.startswith(_SILENT):
        return f"{name} is none that is used unasked"
    if name == _SILENT[0]:
        import secretstorage

        # not get_default_collection(), which makes one and asks for its password
        collection = secretstorage.Collection(secretstorage.dbus_init())
        if collection.is_locked():
            return "it is locked"
    return ""


def _main() -> None:
    try:
        answer = _serve(msgspec.json.decode(sys.stdin.buffer.read(), type=_Request))
    except Exception as exc:  # whatever a backend throws; its text may quote what it was given
        name = type(exc).__name__
        answer = _Answer(problem=_PROBLEMS.get(name, name))
    os.write(sys.stdout.fileno(), msgspec.json.encode(answer))


if __name__ == "__main__":
    _main()
