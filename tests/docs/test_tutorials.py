"""Every tutorial, and what is said of trainers' doors, works as it is written, from fresh homes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support.tutorial import blocks, machines

DOCUMENTS = Path(__file__).parents[2] / "docs"


@pytest.mark.timeout(400)  # some three dozen commands each, and torch
@pytest.mark.parametrize(
    "name", ["training", *sorted(f"tutorials/{path.stem}" for path in DOCUMENTS.glob("tutorials/*.md"))]
)
def test_a_document_does_what_it_says(name: str, tmp_path: Path) -> None:
    with machines(tmp_path) as here:
        for block in blocks((DOCUMENTS / f"{name}.md").read_text()):
            here.run(block)
