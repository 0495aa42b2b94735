"""Memory that encoding and decoding use again and again, one set for each thread."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

BLOCK = 1 << 18
"""Numbers handled at a time: with 2 to 4 bytes each, a block and its temporaries stay in the second-level
cache."""


class Scratch(threading.local):
    """Temporary arrays of the calling thread. What is in them lasts until the thread's next call into the
    codec."""

    def __init__(self) -> None:
        self.a16 = np.empty(BLOCK, np.dtype("<u2"))
        self.b16 = np.empty(BLOCK, np.dtype("<u2"))
        self.a32 = np.empty(BLOCK, np.dtype("<u4"))
        self.b32 = np.empty(BLOCK, np.dtype("<u4"))
        self._arenas: dict[str, Bytes] = {}

    def arena(self, purpose: str, length: int) -> Bytes:
        """``length`` bytes, 64-bit aligned; the same memory for the same purpose every time. Grows, never
        shrinks."""
        arena = self._arenas.get(purpose)
        if arena is None or len(arena) < length:
            # Rounded up, so that slowly growing chunks do not allocate each time.
            arena = self._arenas[purpose] = np.empty(-(-max(length, 1) // (1 << 20)) << 20, np.uint8)
        return arena[:length]


scratch = Scratch()
