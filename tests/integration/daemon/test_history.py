"""The history of a training run: steps and metrics of its versions, and who has which of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.control import messages as m

from ...support.homes import Home, seeded_bytes, until, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


async def history(home: Home, name: str) -> dict[int, m.VersionRow]:
    return {row.version: row for row in (await home.client.share_detail(name)).versions}


async def test_steps_and_metrics_reach_everybody_without_being_asked_for(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    source = write_files(tmp_path / "run", {"model.bin": seeded_bytes(2 * MIB, 5)})
    for step, loss in ((100, 2.5), (200, 2.25)):
        write_files(source, {"model.bin": seeded_bytes(2 * MIB, step)})
        shared = await alice.share(source, name="history/run", step=step, metrics={"loss": loss, "eval": loss + 0.1})
    await bob.get(shared.link, tmp_path / "bob")

    async def known(home: Home) -> bool:
        rows = await history(home, "history/run")
        return {n: (row.step, row.metrics) for n, row in rows.items()} == {
            1: (100, {"loss": 2.5, "eval": 2.6}),
            2: (200, {"loss": 2.25, "eval": 2.35}),
        }

    for home in (alice, bob):  # bob holds only the second version; the first one's manifest comes from the tracker
        await until(lambda home=home: known(home), "the history is known")  # type: ignore[misc]
        share = next(share for share in await home.client.shares() if share.name == "history/run")
        assert share.measured == 2
    seeds = {n: row.seeds for n, row in (await history(alice, "history/run")).items()}
    assert seeds == {1: 0, 2: 1}, "others, not this machine"
    assert {n: row.seeds for n, row in (await history(bob, "history/run")).items()} == {1: 1, 2: 1}


async def test_a_share_without_measurements_is_no_run(alice: Home, tmp_path: Path) -> None:
    source = write_files(tmp_path / "plain", {"model.bin": seeded_bytes(MIB, 6)})
    await alice.share(source, name="history/plain")
    row = (await history(alice, "history/plain"))[1]
    assert (row.step, row.metrics) == (None, {})
    share = next(share for share in await alice.client.shares() if share.name == "history/plain")
    assert share.measured == 0
