"""Share a checkpoint with one link, verify it like a release, download it like a torrent, restore it like a backup.

``p2pckpt.share``, ``p2pckpt.get``, ``p2pckpt.open`` and their asynchronous twins talk to this user's daemon and
start it when none runs. Importing this package costs nothing; the first use does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pckpt.api import Received, Shared, get, share
    from p2pckpt.lazy import LazyTensors, open, open_async

__version__ = "0.1.0"
__all__ = ["LazyTensors", "Received", "Shared", "__version__", "get", "open", "open_async", "share"]

_LAZY = ("LazyTensors", "open", "open_async")


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("p2pckpt.lazy" if name in _LAZY else "p2pckpt.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
