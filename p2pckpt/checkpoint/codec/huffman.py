"""zstd as a mere Huffman coder: its entropy stage without its search for repetition. The result is a standard frame.

zstandard has no switch for that. The next best there is a match finder too small to find much, which on exponent
planes is smaller and faster than every level from 1 to 9. The standard library's binding (Python 3.14, or its backport)
passes any parameter on: with one more, positions are skipped altogether, which on exponent planes is faster by a third
and a little smaller. Where that binding is missing or does not know the parameter, the first way serves.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import zstandard

_MODULES: Final = ("compression.zstd", "backports.zstd")
_LITERALS: Final = 1002
"""``ZSTD_c_literalCompressionMode`` of zstd.h (experimental, the same number since 1.4.0); 1 means always. Without it,
the fast strategy with a step leaves literals alone."""
_STEP: Final = 128 << 10
"""Positions to skip: a whole block."""

Compress = Callable[[memoryview], bytes]


def literal_coder(window_log: int) -> Compress | None:
    """A function for one thread that searches for nothing; ``None`` without a binding that can do that.

    No block, and so no code, spans more than 2^``window_log`` bytes, nor 128 KiB.
    """
    for name in _MODULES:
        try:
            return _literals_only(importlib.import_module(name), window_log)
        except (ImportError, AttributeError, ValueError, TypeError):
            continue
    return None


def _literals_only(binding: Any, window_log: int) -> Compress:
    """Raises what the binding does where it does not know the parameters."""
    parameter = binding.CompressionParameter
    options = {
        parameter.strategy: int(binding.Strategy.fast),
        parameter.min_match: 7,
        parameter.hash_log: 6,
        parameter.chain_log: 6,
        parameter.search_log: 1,
        parameter.target_length: _STEP,
        parameter.window_log: window_log,
        parameter.content_size_flag: 1,
        _LITERALS: 1,
    }
    compressor = binding.ZstdCompressor(options=options)

    def compress(data: memoryview) -> bytes:
        compressor.set_pledged_input_size(len(data))
        body: bytes = compressor.compress(data, mode=compressor.FLUSH_FRAME)
        return body

    compress(memoryview(b"tried before it is needed"))
    return compress


def searching_coder(window_log: int) -> Compress:
    """The same with the smallest search that zstandard allows. Always there."""
    parameters = zstandard.ZstdCompressionParameters(
        strategy=zstandard.STRATEGY_FAST,
        min_match=7,
        hash_log=6,
        chain_log=6,
        search_log=1,
        target_length=0,
        window_log=window_log,
        write_content_size=True,
        write_checksum=False,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress
