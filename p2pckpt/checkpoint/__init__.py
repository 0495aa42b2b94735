"""The pure core: what a checkpoint is made of, how it is cut, encoded, hashed and named.

Everything here turns bytes into values and back. Nothing here opens a file, a socket or a database, and
nothing waits: callers bring bytes through small protocols such as ``formats.ByteSource``. Import the module
you need; this package loads nothing by itself.
"""

from __future__ import annotations

__all__: list[str] = []
