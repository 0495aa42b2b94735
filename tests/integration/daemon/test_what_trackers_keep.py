"""Two days after versions were retired their tracker has nothing of them, and what is offered is whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from p2pckpt.control.pin_messages import PinRequest
from p2pckpt.control.run_messages import Retention
from p2pckpt.errors import NotFound
from p2pckpt_tracker.app import Tracker
from p2pckpt_tracker.settings import Listen, Settings
from p2pckpt_tracker.uploads import KEPT

from ...support.homes import Home, failure, seeded_bytes, tree, write_files
from .test_retention import LAST_TWO, Run, retired

pytestmark = pytest.mark.asyncio(loop_scope="package")


class Lab:
    """A tracker in this process, and somebody who publishes there."""

    def __init__(self, tracker: Tracker, erin: Home) -> None:
        self.tracker = tracker
        self.erin = erin

    async def days(self, *seconds: int) -> None:
        """Time passes at the tracker."""
        for passed in seconds:
            await self.tracker._services.uploads.round(passed)

    async def kept(self, share: str) -> dict[str, int]:
        """How many uploads of each kind the tracker has."""
        share_id = (await self.erin.client.share_detail(share)).share.share_id
        root = self.tracker._data.blobs / share_id
        return {kind: len(list((root / kind).glob("*"))) for kind in ("manifest", "torrent")}


@asynccontextmanager
async def lab(directory: Path) -> AsyncIterator[Lab]:
    settings = Settings(directory / "t", Listen("127.0.0.1", 0), None, None, plain_http=True, only_listed=False)
    tracker = Tracker(settings)
    await tracker.start()
    try:
        async with Home(directory / "erin", tracker=f"http://127.0.0.1:{tracker.api_port}") as erin:
            yield Lab(tracker, erin)
    finally:
        await tracker.stop()


async def test_a_pruned_run_stays_whole_though_the_tracker_lets_go_of_what_was_retired(
    bob: Home, carol: Home, tmp_path: Path
) -> None:
    async with lab(tmp_path) as at:
        run = Run(at.erin, tmp_path / "run", "kept/run")
        job = await run.saved(5)
        assert retired(await run.prune(LAST_TWO)) == [3, 2, 1]
        await at.days(0, KEPT - 1)
        assert await at.kept(run.name) == {"manifest": 5, "torrent": 5}
        assert [row.version for row in (await at.erin.client.undo_prune(run.name)).rows] == [3, 2, 1]
        await at.days(1)
        await carol.get(job.link, tmp_path / "carol5")
        await carol.get(f"{run.name}@2", tmp_path / "carol2")
        assert tree(tmp_path / "carol2") == run.copy(2)

        assert retired(await run.prune(LAST_TWO, at_once=True)) == [3, 2, 1]
        await at.days(0, KEPT)
        # both that are left are differences to the first, whose torrent stays for them
        assert await at.kept(run.name) == {"manifest": 2, "torrent": 3}
        await carol.get(f"{run.name}@4", tmp_path / "carol4")
        assert tree(tmp_path / "carol4") == run.copy(4)
        await bob.get(job.link, tmp_path / "bob5")
        assert tree(tmp_path / "bob5") == run.copy(5)
        await carol.verify(f"{run.name}@2", full=True)
        refused = await failure(carol.get(f"{run.name}@1", tmp_path / "carol1"))
        assert isinstance(refused, NotFound) and refused.next_step

        # what was begun with a tracker that has forgotten goes on
        await run.save()
        await carol.get(f"{run.name}@6", tmp_path / "carol6")
        assert tree(tmp_path / "carol6") == run.copy(6)
        assert (await carol.client.drop_version(f"{run.name}@2")).freed > 0
        assert (await carol.client.drop_version(f"{run.name}@6")).freed > 0


async def test_what_the_tracker_let_go_of_and_a_new_version_needs_is_there_again(carol: Home, tmp_path: Path) -> None:
    async with lab(tmp_path) as at:
        contents = [seeded_bytes(70_000, 800 + number) for number in range(4)]

        step = 0

        async def share(content: bytes) -> tuple[str, ...]:
            nonlocal step
            write_files(tmp_path / "run", {"model.bin": content})
            step += 1
            job = await at.erin.share(tmp_path / "run", name="kept/again", step=step)
            detail = await at.erin.client.version_detail(f"kept/again@{job.version}")
            return job.link, *detail.info_hashes

        published = [await share(content) for content in contents]
        run = Run(at.erin, tmp_path / "run", "kept/again")
        assert retired(await run.prune(LAST_TWO)) == [2, 1]
        await at.days(0, KEPT)
        assert await at.kept("kept/again") == {"manifest": 2, "torrent": 2}

        _, _, first = await share(contents[0])
        assert first == published[0][1], "the object is still in that torrent"
        (at.erin.store / "torrents" / published[1][1] / "torrent").unlink()
        link, *own = await share(contents[1])
        assert len(own) == 1, "the new version carries what was in a torrent that is nowhere"
        await at.days(0, KEPT)
        for version, content in ((6, contents[1]), (5, contents[0])):
            await carol.get(link if version == 6 else "kept/again@5", tmp_path / f"carol{version}")
            assert tree(tmp_path / f"carol{version}") == tree(
                write_files(tmp_path / f"like{version}", {"model.bin": content})
            )


async def test_a_pinned_version_is_taken_back_though_the_tracker_and_its_directory_have_nothing_of_it(
    carol: Home, tmp_path: Path
) -> None:
    async with lab(tmp_path) as at:
        run = Run(at.erin, tmp_path / "run", "kept/pinned")
        write_files(run.directory, {"README.md": b"# Pinned\n"})
        job = await run.saved(4)
        assert retired(await run.prune(LAST_TWO)) == [2, 1]
        await at.erin.client.pin(PinRequest(f"{run.name}@2"))
        write_files(run.directory, {"README.md": b"# Another\n"})
        await run.prune(LAST_TWO, at_once=True)
        await at.days(0, KEPT)
        assert await at.kept(run.name) == {"manifest": 2, "torrent": 3}

        assert [row.version for row in (await at.erin.client.undo_prune(run.name)).rows] == [2]
        assert (await at.kept(run.name))["manifest"] == 3
        await carol.get(job.link, tmp_path / "carol4")
        await carol.get(f"{run.name}@2", tmp_path / "carol2")
        assert tree(tmp_path / "carol2") == run.copy(2)


async def test_a_version_that_can_not_be_taken_back_holds_no_other_up(tmp_path: Path) -> None:
    async with lab(tmp_path) as at:
        run = Run(at.erin, tmp_path / "run", "kept/one")
        await run.saved(5)
        infohash = (await at.erin.client.version_detail(f"{run.name}@2")).info_hashes[0]
        assert retired(await run.prune(Retention(last=3))) == [2, 1]
        await at.erin.client.pin(PinRequest(f"{run.name}@2"))
        await at.days(0, KEPT)
        assert retired(await run.prune(LAST_TWO)) == [3]
        lost = at.erin.store / "torrents" / infohash / "torrent"
        torrent = lost.read_bytes()
        lost.unlink()

        back = await at.erin.client.undo_prune(run.name)
        assert ([row.version for row in back.rows], list(back.left)) == ([3, 1], [2])
        refused = await failure(at.erin.client.undo_prune(run.name))
        assert (type(refused), refused.fact) == (NotFound, back.left[2])
        lost.write_bytes(torrent)
        assert [row.version for row in (await at.erin.client.undo_prune(run.name)).rows] == [2]
