"""Real clients of a model hub as processes: huggingface_hub of three major versions, and what uses it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .homes import DEADLINE

_CLIENTS: Final = Path(__file__).parents[2] / ".clients"
_HF: Final = "import sys; sys.argv[0] = 'hf'; from huggingface_hub.cli.hf import main; sys.exit(main())"


@dataclass(frozen=True)
class HubClient:
    """One version of huggingface_hub. ``directory`` is in front of what is installed; none for the installed one."""

    version: str
    directory: Path | None = None

    @property
    def is_old(self) -> bool:
        return self.version.startswith("0.")

    def environment(self, endpoint: str, home: Path) -> dict[str, str]:
        """Nothing of whoever runs the tests: a cache of its own, and no question to anybody but ``endpoint``."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "P2PCKPT_", "PYTHON"))}
        switches = ("DISABLE_UPDATE_CHECK", "DISABLE_TELEMETRY", "DISABLE_PROGRESS_BARS")
        return {
            **kept,
            **{f"HF_HUB_{name}": "1" for name in switches},
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": "hf_atokenofsomebody",
            **({"PYTHONPATH": str(self.directory)} if self.directory is not None else {}),
        }

    def popen(self, script: str, *arguments: object, endpoint: str, home: Path) -> subprocess.Popen[str]:
        """A program of its own that is not waited for."""
        return subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=self.environment(endpoint, home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=home.parent,
        )

    async def run(self, script: str, *arguments: object, endpoint: str, home: Path) -> str:
        """What a program prints. Its failure is the test's."""
        process = self.popen(script, *arguments, endpoint=endpoint, home=home)
        try:
            out, err = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        except BaseException:
            process.kill()
            raise
        assert process.returncode == 0, f"{self.version}: {err[-4000:]}"
        assert "hf_atoken" not in out
        return out

    async def ask(self, script: str, *arguments: object, endpoint: str, home: Path) -> Any:
        """The JSON that a program prints as its last line."""
        return json.loads((await self.run(script, *arguments, endpoint=endpoint, home=home)).splitlines()[-1])

    def hf(self, *arguments: object, endpoint: str, home: Path) -> subprocess.Popen[str]:
        """The command ``hf``, not waited for."""
        return self.popen(_HF, *arguments, endpoint=endpoint, home=home)

    async def hf_run(self, *arguments: object, endpoint: str, home: Path) -> str:
        return await self.run(_HF, *arguments, endpoint=endpoint, home=home)


INSTALLED: Final = HubClient("2.4.0")
OLDEST: Final = HubClient("0.36.2", _CLIENTS / "hub-0.36")
CLIENTS: Final = (OLDEST, HubClient("1.33.0", _CLIENTS / "hub-1.33"), INSTALLED)
"""``make test`` installs those that are not installed beside us."""
