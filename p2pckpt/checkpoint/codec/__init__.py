"""Lossless encoding of one chunk: numbers taken apart into planes, each compressed as it deserves.

``frame`` is the door: ``encode``, ``encode_delta``, ``decode_into``. ``container`` knows the bytes of a
frame, ``ids`` which transform is meant by an id and offered to a number type, ``choice`` which one a chunk gets,
``transforms`` and ``differences`` how numbers become planes, ``planes`` and ``huffman`` how a plane is
compressed. Sealing, hashing and the choice of a base for deltas happen elsewhere. Nothing is imported here,
because numpy and zstandard cost start-up time.
"""

from __future__ import annotations

__all__: list[str] = []
