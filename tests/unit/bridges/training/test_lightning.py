"""The callback for Lightning, with a trainer that is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from p2pckpt.bridges.training import lightning

from ....support.canned_daemon import CannedDaemon
from .conftest import SAVES


class Base:
    """What Lightning's own classes are here for."""


@pytest.fixture
def old_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Lightning as a training imported it by its older name."""
    module = ModuleType("pytorch_lightning")
    module.Callback = Base  # type: ignore[attr-defined]
    module.loggers = SimpleNamespace(Logger=Base)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytorch_lightning", module)
    monkeypatch.delitem(sys.modules, "lightning.pytorch", raising=False)
    monkeypatch.setattr(lightning, "P2pckptCallback", None, raising=False)
    monkeypatch.delattr(lightning, "P2pckptCallback")
    yield module
    vars(lightning).pop("P2pckptCallback", None)


def trainer() -> Any:
    return SimpleNamespace(
        loggers=["another"],
        global_step=7,
        callback_metrics={"loss": 0.5},
        is_global_zero=True,
        strategy=SimpleNamespace(checkpoint_io=None),
    )


def checkpoints(path: Path | str, *, weights_only: bool = False) -> Any:
    return SimpleNamespace(_last_checkpoint_saved=str(path), save_weights_only=weights_only)


def test_a_step_that_is_saved_twice_is_handed_over_once(daemon: CannedDaemon, old_name: ModuleType, save: Path) -> None:
    callback, fitted = lightning.P2pckptCallback("my/run", start_daemon=False), trainer()
    assert isinstance(callback, Base)
    callback.on_fit_start(fitted, None)
    assert fitted.loggers[0] == "another"
    ears = fitted.loggers[1]
    assert isinstance(ears, Base)
    ears.after_save_checkpoint(checkpoints(save))
    ears.after_save_checkpoint(checkpoints(save.with_name("last.ckpt")))
    callback.teardown(fitted, None, "fit")
    assert [(request["path"], request["step"]) for request in daemon.asked(*SAVES)] == [(str(save), 7)]
    assert fitted.loggers == ["another"]


@pytest.mark.parametrize("alone", [False, True])
def test_weights_alone_are_handed_over_only_where_nothing_saves_everything(
    daemon: CannedDaemon, old_name: ModuleType, save: Path, alone: bool
) -> None:
    callback, fitted = lightning.P2pckptCallback("my/run", start_daemon=False), trainer()
    weights, everything = checkpoints(save.with_name("weights"), weights_only=True), checkpoints(save)
    save.with_name("weights").touch()
    fitted.checkpoint_callbacks = [weights] if alone else [weights, everything]
    callback.on_fit_start(fitted, None)
    for each in fitted.checkpoint_callbacks:
        fitted.loggers[1].after_save_checkpoint(each)
    callback.teardown(fitted, None, "fit")
    (request,) = daemon.asked(*SAVES)
    assert request["path"] == str(save.with_name("weights") if alone else save)


def test_a_second_fit_does_not_hear_everything_twice(old_name: ModuleType) -> None:
    callback, fitted = lightning.P2pckptCallback("my/run", start_daemon=False), trainer()
    callback.on_fit_start(fitted, None)
    callback.on_fit_start(fitted, None)
    assert len(fitted.loggers) == 2


def test_what_lightning_does_not_have_any_more_breaks_nothing(
    old_name: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    callback, fitted = lightning.P2pckptCallback("my/run", start_daemon=False), trainer()
    callback.on_fit_start(fitted, None)
    fitted.loggers[1].after_save_checkpoint(SimpleNamespace())
    assert "the save of step 7 was not handed over, training goes on: AttributeError" in caplog.text
