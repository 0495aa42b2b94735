"""Every tutorial works as it is written, from fresh homes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support.tutorial import blocks, machines

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"


@pytest.mark.timeout(400)  # some three dozen commands each, and torch
@pytest.mark.parametrize("name", sorted(path.stem for path in TUTORIALS.glob("*.md")))
def test_a_tutorial_does_what_it_says(name: str, tmp_path: Path) -> None:
    with machines(tmp_path) as here:
        for block in blocks((TUTORIALS / f"{name}.md").read_text()):
            here.run(block)
