"""The pictures of the documentation: each can be taken, names no host, and is shown somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.screenshots import SHOTS, Shot, take

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
LARGEST = 60_000
NAMES_NO_HOST = ("http://www.w3.org/2000/svg", "https://tracker.example:7341")
"""The namespace of SVG, which nobody fetches, and a name that is kept for examples."""


def check(svg: str) -> None:
    """Fail where a picture would fetch something, tells of this machine or is too large."""
    left = svg
    for name in NAMES_NO_HOST:
        left = left.replace(name, "")
    assert "//" not in left and "@import" not in left and "href" not in left
    assert set(re.findall(r"url\((.)", left)) <= {"#"}
    assert f"{Path.home()}/" not in left and "/tmp" not in left
    assert len(svg.encode()) < LARGEST


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
async def test_a_picture_can_be_taken_and_names_no_host(shot: Shot) -> None:
    svg = await take(shot)
    check(svg)
    assert svg.count("<text ") > 20


def test_the_pictures_in_the_repository_are_those_that_are_made_and_those_that_are_shown() -> None:
    made = {shot.file for shot in SHOTS}
    assert {path.name for path in IMAGES.iterdir()} == made
    guide = (ROOT / "docs" / "tui.md").read_text("utf-8")
    assert set(re.findall(r"\]\(images/([^)]+)\)", guide)) == made
    page = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"\]\(docs/images/([^)]+)\)", page)) <= made
    for path in IMAGES.iterdir():
        check(path.read_text("utf-8"))
