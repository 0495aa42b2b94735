"""A daemon that takes every save, and a save to give it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pckpt.config import Config, load
from p2pckpt.control.run_messages import SaveRow, SaveState

from ....support.canned_daemon import CannedDaemon

SAVES = ("POST", "/v1/saves")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("P2PCKPT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RANK", raising=False)
    return load(home=tmp_path / "home")


@pytest.fixture
def daemon(config: Config) -> Iterator[CannedDaemon]:
    with CannedDaemon(config.socket_path) as served:
        served.replies[SAVES] = row()
        yield served
    assert not served.unexpected


@pytest.fixture
def save(tmp_path: Path) -> Path:
    return make_save(tmp_path / "checkpoint-7")


def make_save(path: Path) -> Path:
    path.mkdir()
    (path / "model.bin").write_bytes(b"weights")
    return path


def row(state: SaveState = SaveState.WAITING, **fields: object) -> SaveRow:
    fields = {"name": "checkpoint-7", "path": "/taken/checkpoint-7", "step": 7, "noticed_at": 5, **fields}
    return SaveRow(state=state, **fields)  # type: ignore[arg-type]
