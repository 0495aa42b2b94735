"""Backends for the ``keyring`` library, chosen with ``PYTHON_KEYRING_BACKEND=tests.support.keyrings.NAME``.

``Shelf`` keeps secrets in the file that ``TEST_KEYRING`` names, so that processes share it; the others are broken in
the ways that keyrings of real machines are.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from keyring.backend import KeyringBackend


class Shelf(KeyringBackend):
    """Works."""

    priority = 1  # type: ignore[assignment]

    @property
    def _path(self) -> Path:
        return Path(os.environ["TEST_KEYRING"])

    def _all(self) -> dict[str, str]:
        return dict(json.loads(self._path.read_text())) if self._path.exists() else {}

    def get_password(self, service: str, username: str) -> str | None:
        return self._all().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._path.write_text(json.dumps(self._all() | {f"{service}/{username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        self._path.write_text(json.dumps({k: v for k, v in self._all().items() if k != f"{service}/{username}"}))


class Hangs(Shelf):
    """Waits for a password that nobody types."""

    def get_password(self, service: str, username: str) -> str | None:
        threading.Event().wait()
        return None

    def set_password(self, service: str, username: str, password: str) -> None:
        threading.Event().wait()


class Quotes(Shelf):
    """Fails, and says what it was given."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(password)
