"""Cards as people meet them: warned of at a dry run, before a fetch and after it, and what a version was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from tests.unit.checkpoint.builders import safetensors_bytes

from ...support.homes import Home, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")

ODD = b"""---
license: do what you like
base_model: [cards/base, "p2pckpt:cards/base@v1", org/unknown]
---
# Odd
"""


async def test_what_is_wrong_with_a_card_is_said_before_it_is_published_and_before_it_is_fetched(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "odd", {"README.md": ODD, "model.safetensors": safetensors_bytes()})
    wrong = "The card's licence do what you like is no SPDX expression; it counts as LicenseRef-do-what-you-like."
    plan = await alice.client.publish_plan(pm.PublishRequest(path=str(source), name="cards/odd"))
    assert wrong in plan.warnings
    mended = pm.PublishRequest(path=str(source), name="cards/odd", card=pm.CardFields(licence="mit"))
    assert (await alice.client.publish_plan(mended)).warnings == ()
    assert (source / "README.md").read_bytes() == ODD
    job = await alice.share(source, name="cards/odd")
    assert wrong in job.warnings
    preview = await bob.client.fetch_plan(m.FetchRequest(source=job.link, base=str(tmp_path)))
    assert (preview.licence, wrong in preview.warnings) == ("LicenseRef-do-what-you-like", True)
    assert f"warning: {wrong}" in (await bob.cli("show", "cards/odd")).stderr


async def test_a_directory_without_a_card_is_told_how_to_make_one(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "bare", {"model.safetensors": safetensors_bytes()})
    said = await alice.cli("share", source, "--name", "cards/bare")
    assert f"p2pckpt card {source} --write" in said.stderr


async def test_what_a_version_was_made_from_is_linked_to_the_share_here(alice: Home, tmp_path: Path) -> None:
    base = write_files(tmp_path / "base", {"README.md": b"---\nlicense: mit\n---\n", "a.bin": b"1"})
    await alice.share(base, name="cards/base")
    write_files(base, {"a.bin": b"2"})
    await alice.share(base, name="cards/base")
    source = write_files(tmp_path / "tuned", {"README.md": ODD, "b.bin": b"3"})
    await alice.share(source, name="cards/tuned")
    detail = await alice.client.version_detail("cards/tuned")
    assert detail.bases == (
        m.BaseShare("cards/base", "cards/base", 2),
        m.BaseShare("p2pckpt:cards/base@v1", "cards/base", 1),
    )
    shown = (await alice.cli("show", "cards/tuned")).stdout
    assert "cards/base (share here, v2), p2pckpt:cards/base@v1 (share here, v1), org/unknown\n" in shown
