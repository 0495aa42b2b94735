"""Two shares with the same bytes in them: what is here for one serves the other, for whoever does not seed it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Visibility

from ...support.homes import Home, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


def both(tmp_path: Path, seed: int) -> tuple[Path, Path]:
    """Two directories of which three quarters are the same, and like nothing else."""
    made = []
    for number, name in enumerate(("one", "two"), start=1):
        files = {"base.bin": seeded_bytes(3 * MIB, seed), "own.bin": seeded_bytes(MIB, seed + number)}
        made.append(write_files(tmp_path / name, files))
    return made[0], made[1]


@pytest.mark.parametrize("visibility", [Visibility.LINK, Visibility.PUBLIC])
async def test_bytes_that_another_share_brought_here_are_not_fetched_again(
    alice: Home, bob: Home, carol: Home, tmp_path: Path, visibility: Visibility
) -> None:
    fields = {"to": visibility, "allow_no_licence": True}
    first, second = both(tmp_path, 3100 + 10 * len(visibility.value))
    one = await alice.share(first, name=f"beside/one-{visibility}", **fields)
    two = await alice.share(second, name=f"beside/two-{visibility}", **fields)
    assert two.wire_done > 3 * MIB  # objects of its own
    await bob.get(one.link, tmp_path / "bob one")
    plan = await bob.client.fetch_plan(m.FetchRequest(source=two.link, to=str(tmp_path / "bob two"), seed=False))
    job = await bob.get(two.link, tmp_path / "bob two", seed=False)
    assert tree(tmp_path / "bob two") == tree(second)
    assert job.reused >= 3 * MIB
    assert job.wire_done < 2.5 * MIB  # whole pieces
    assert plan.wire_size == job.wire_done
    await bob.verify(two.share, full=True)
    # who has never seen the first gets all of the second, and so does who wants to offer it to others
    await bob.get(two.link, tmp_path / "bob seeds")
    await alice.client.pause(two.id)
    await carol.get(two.link, tmp_path / "carol", seed=False)
    await alice.client.resume(two.id)
    assert tree(tmp_path / "carol") == tree(second)


async def test_what_is_damaged_in_the_other_share_comes_from_the_swarm(alice: Home, bob: Home, tmp_path: Path) -> None:
    first, second = both(tmp_path, 3200)
    one = await alice.share(first, name="beside/damaged")
    two = await alice.share(second, name="beside/whole")
    await bob.get(one.link, tmp_path / "bob one")
    manifest = await bob.client.manifest("beside/damaged")
    for made in manifest["objects"]:
        path = bob.store / "objects" / made["root"][:2] / made["root"]
        with path.open("r+b") as file:
            file.seek(MIB)
            file.write(random.Random(1).randbytes(MIB))
    job = await bob.get(two.link, tmp_path / "bob two", seed=False)
    assert tree(tmp_path / "bob two") == tree(second)
    assert 0 < job.reused < 3 * MIB
    await bob.verify("beside/damaged", repair=True)


async def test_a_share_that_was_left_lends_nothing(alice: Home, bob: Home, tmp_path: Path) -> None:
    first, second = both(tmp_path, 3300)
    one = await alice.share(first, name="beside/left")
    two = await alice.share(second, name="beside/stays")
    await bob.client.leave((await bob.get(one.link, tmp_path / "bob one")).share_id)
    job = await bob.get(two.link, tmp_path / "bob two", seed=False)
    assert job.reused == 0
    assert tree(tmp_path / "bob two") == tree(second)
