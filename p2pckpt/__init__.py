"""Share a checkpoint with one link, verify it like a release, download it like a torrent, restore it like a backup.

``p2pckpt.share``, ``p2pckpt.get``, ``p2pckpt.open`` and their asynchronous twins talk to this user's daemon and
start it when none runs; so do ``save_checkpoint`` and ``restore``, a training's ends. Importing this package costs
nothing; the first use does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from p2pckpt.api import Received, Shared, get, share
    from p2pckpt.bridges.training.plain import Saved, save_checkpoint
    from p2pckpt.bridges.training.resume import Restored, last_checkpoint, restore
    from p2pckpt.bridges.training.sender import SaveSender
    from p2pckpt.control.run_messages import Retention
    from p2pckpt.lazy import LazyTensors, open, open_async

__version__ = "0.1.0"
__all__ = [
    "LazyTensors",
    "Received",
    "Restored",
    "Retention",
    "SaveSender",
    "Saved",
    "Shared",
    "__version__",
    "get",
    "last_checkpoint",
    "open",
    "open_async",
    "restore",
    "save_checkpoint",
    "share",
]
_HOMES: Final = {
    "Received": "p2pckpt.api",
    "Shared": "p2pckpt.api",
    "get": "p2pckpt.api",
    "LazyTensors": "p2pckpt.lazy",
    "open": "p2pckpt.lazy",
    "open_async": "p2pckpt.lazy",
    "share": "p2pckpt.api",
    "Saved": "p2pckpt.bridges.training.plain",
    "save_checkpoint": "p2pckpt.bridges.training.plain",
    "SaveSender": "p2pckpt.bridges.training.sender",
    "Restored": "p2pckpt.bridges.training.resume",
    "last_checkpoint": "p2pckpt.bridges.training.resume",
    "restore": "p2pckpt.bridges.training.resume",
    "Retention": "p2pckpt.control.run_messages",
}
"""The module that each name is imported from at its first use."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
