from __future__ import annotations

import subprocess
import sys

import pytest

PURE = ["formats", "chunking", "paths", "terminal_text", "card", "merkle", "formats.pickle_search", "pickles"]


@pytest.mark.parametrize("module", [*PURE, "codec.frame"])
def test_importing_the_core_loads_nothing_heavy(module: str) -> None:
    heavy = {"asyncio", "aiohttp", "sqlite3", "libtorrent", "sqlalchemy"}
    if module in PURE:
        heavy |= {"numpy", "zstandard"}
    script = f"import sys, p2pckpt.checkpoint.{module}; print(*({heavy!r} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
