"""The user's key map: names of actions, and what is wrong with the ones it moves."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from textual.binding import Binding
from textual.dom import DOMNode


def problems(keys: Mapping[str, str]) -> list[str]:
    """A sentence for each action that ``keys`` names and nobody knows, or that it leaves without a key."""
    if not keys:
        return []
    owners = list(_owners())
    known = {binding.id for bindings in owners for binding in bindings}
    found = [f"The key map names no action of this program: {name}." for name in sorted(set(keys) - known)]
    lost = set()
    for bindings in owners:
        moved = {key.strip(): name for name in keys for key in keys[name].split(",")}
        moved = {key: name for key, name in moved.items() if any(binding.id == name for binding in bindings)}
        for binding in bindings:
            taken = [moved[key] for key in binding.key.split(",") if key in moved]
            if taken and binding.id not in keys:
                lost.add(f"The key map gives {binding.key} to {taken[0]} and leaves {binding.id} without a key.")
    return found + sorted(lost)


def _owners() -> Iterator[list[Binding]]:
    """The bindings of every screen, widget and the app, inherited ones with them."""
    from p2pckpt.tui import screens

    importlib.import_module("p2pckpt.tui.inline")
    for module in pkgutil.iter_modules(screens.__path__):
        importlib.import_module(f"{screens.__name__}.{module.name}")
    waiting: list[type[DOMNode]] = [DOMNode]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("p2pckpt."):
            ours = [base for base in kind.__mro__ if base.__module__.startswith("p2pckpt.")]
            yield [b for base in ours for b in vars(base).get("BINDINGS", ()) if isinstance(b, Binding)]


def table() -> list[tuple[str, str, str]]:
    """Name, keys and description of every action, by name."""
    rows: dict[str, tuple[list[str], str]] = {}
    for bindings in _owners():
        for binding in bindings:
            if binding.id:
                keys, _ = rows.setdefault(binding.id, ([], binding.description))
                keys += [key for key in binding.key.split(",") if key not in keys]
    return [(name, " ".join(keys), text) for name, (keys, text) in sorted(rows.items())]
