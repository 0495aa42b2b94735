"""The names that a pickle would import, for judging whether it may be loaded. The judgement itself is
elsewhere."""

from __future__ import annotations

from p2pckpt.checkpoint.formats.pickle_walk import PickleUnreadable, walk

__all__ = ["PickleUnreadable", "globals_in"]

_LEGACY_PICKLES = 5
"""``torch.save`` before 1.6: magic number, protocol, system, the object, storage keys."""


def globals_in(data: bytes) -> frozenset[str]:
    """Every ``module.name`` that unpickling ``data`` would look up, called or not.

    Covers pickles that follow each other, up to the five that begin an old ``torch.save`` file; of such a
    file, its first ``pickle_walk.MAX_BYTES`` are enough. Names are as written: Python 2's ``__builtin__``
    and the like stay what they are. Raises ``PickleUnreadable`` where anything else follows or a pickle
    cannot be followed to its end; whoever asks must then treat it as hostile, because an unpickler acts
    before it notices.
    """
    found: set[str] = set()
    at = 0
    for _ in range(_LEGACY_PICKLES):
        walked = walk(data, at)
        found.update(f"{name.module}.{name.name}" for name in walked.globals)
        at = walked.end
        if at >= len(data):
            break
    return frozenset(found)
