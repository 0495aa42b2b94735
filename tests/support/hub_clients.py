"""The model hubs' own client in the generations that people have: 0.x and 1.x beside the one in the environment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_DEADLINE: Final = 100.0
_HF: Final = "import sys; from huggingface_hub.cli.hf import main; sys.argv[0] = 'hf'; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class HubClient:
    """One version of huggingface_hub, run as a program of its own."""

    version: str
    """As it begins."""
    directory: Path | None
    """Where `make test` installed it; None for the one of the environment."""

    def environment(self, **variables: str) -> dict[str, str]:
        """For a process that imports this client. What the user set for their own cache counts for nothing."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
        paths = [str(self.directory)] if self.directory is not None else []
        paths += [path for path in kept.get("PYTHONPATH", "").split(os.pathsep) if path]
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_COLOR": "1"}
        return {**kept, **quiet, "PYTHONPATH": os.pathsep.join(paths), **variables}

    async def python(self, program: str, *arguments: object, **variables: str) -> str:
        """What ``program`` prints; fails if it does, or is not run with this client."""
        check = f"import huggingface_hub as _h; assert _h.__version__.startswith({self.version!r}), _h.__version__\n"
        return await self._run([sys.executable, "-c", check + program, *map(str, arguments)], variables)

    async def hf(self, *arguments: object, **variables: str) -> str:
        """What ``hf ARGUMENTS`` prints on stdout; fails if it does."""
        return await self._run([sys.executable, "-c", _HF, *map(str, arguments)], variables)

    async def _run(self, command: list[str], variables: Mapping[str, str]) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{command[2:]}\n{done.stdout}\n{done.stderr}"
        return done.stdout


OLD: Final = HubClient("0.36.", ROOT / ".clients" / "hub-0.36")
MIDDLE: Final = HubClient("1.33.", ROOT / ".clients" / "hub-1.33")
NEW: Final = HubClient("2.", None)
CLIENTS: Final = (OLD, MIDDLE, NEW)
