"""Doors are there for trainers that are not installed, too: nothing of theirs is imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BLOCKED = """
import importlib, sys
class Blocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "transformers", "lightning", "pytorch_lightning", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""
DOORS = {"transformers": "P2pckptCallback", "lightning": "P2pckptCallback", "dcp": "P2pckptWriter"}


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_all_doors_are_imported_without_any_framework() -> None:
    names = ("", ".plain", ".sender", ".resume", *(f".{door}" for door in DOORS))
    python(_BLOCKED + f"for name in {names}: importlib.import_module('p2pckpt.bridges.training' + name)")


@pytest.mark.parametrize(("door", "name"), DOORS.items())
def test_a_door_whose_framework_is_missing_says_which(door: str, name: str) -> None:
    said = python(
        _BLOCKED
        + f"try: from p2pckpt.bridges.training.{door} import {name}\nexcept ModuleNotFoundError as exc: print(exc)"
    )
    assert {"dcp": "torch"}.get(door, door) in said


def test_the_package_offers_its_training_calls_and_imports_none_of_them() -> None:
    said = python(
        "import sys, p2pckpt; print(any(name.startswith('p2pckpt.') for name in sys.modules)); "
        "[getattr(p2pckpt, name) for name in p2pckpt.__all__]; print('torch' in sys.modules)"
    )
    assert said.split() == ["False", "False"]
