"""When what was retired is deleted, and what a run hears of a policy that could not be applied."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from p2pckpt.control.messages import JobKind, JobState
from p2pckpt.control.run_messages import PruneRequest, Retention
from p2pckpt.daemon import retention
from p2pckpt.daemon.job_table import JobTable
from p2pckpt.daemon.retention import Retaining
from p2pckpt.daemon.verify_reports import VerifyReports
from p2pckpt.errors import TrackerUnreachable
from p2pckpt.jobs import retire
from p2pckpt.jobs.leaning import Leaning
from p2pckpt.jobs.retention import Candidate
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, VersionRow
from p2pckpt.store.retired import RetiredRow
from tests.unit.jobs.workshop import SHARE, Workshop

RUN = KnownShare(SHARE, "run", "beside", "members", "owner", {})
LATER = int(time.time()) + 3600


class Desk:
    """A daemon's retention over a store, without tracker: ``deleted`` and ``removed`` say what it did."""

    def __init__(self, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.catalogue, self.leaning = workshop.catalogue, Leaning()
        self.jobs: list[Any] = []
        self.deleted: list[set[int]] = []
        self.removed: list[str] = []
        self.closed: list[int] = []
        """Into which nobody looks any more."""
        self.listed: set[int] = set()
        self.away = False
        targets = SimpleNamespace(latest=9, versions={9: SimpleNamespace(size=1000)})

        async def trusted(share: KnownShare) -> Any:
            return SimpleNamespace(targets=targets)

        async def delete(services: Any, share: KnownShare, numbers: set[int], in_use: Any) -> int:
            self.deleted.append(set(numbers))
            self.catalogue.forget_retired(share.share_id, numbers)
            return len(numbers)

        async def remove(job: str) -> None:
            self.removed.append(job)

        async def settle(services: Any, share: KnownShare, numbers: set[int]) -> set[int]:
            if self.away:
                raise TrackerUnreachable("the tracker is away")
            return numbers - self.listed

        monkeypatch.setattr(retire, "settle", settle)
        monkeypatch.setattr(retention, "remove_versions", delete)
        services = SimpleNamespace(
            catalogue=self.catalogue,
            leaning=self.leaning,
            layout=workshop.layout,
            shares=SimpleNamespace(known=lambda: [RUN], find=lambda name: RUN, trusted=trusted),
        )
        table = cast(JobTable, SimpleNamespace(jobs=lambda: tuple(self.jobs)))
        reports = VerifyReports(workshop.layout.root)

        async def forget(share: bytes, version: int) -> None:
            self.closed.append(version)

        self.retaining = Retaining(
            cast(Services, services), table, remove, set, reports, lambda name: Retention(), forget
        )

    def retired(self, **due: int) -> None:
        self.catalogue.note_retired(RetiredRow(SHARE, int(name[1:]), 3, b"{}", at) for name, at in due.items())

    def pin(self, version: int) -> None:
        self.catalogue.record_version(VersionRow(SHARE, version, b"i" * 32, True, ""))
        self.catalogue.pin(SHARE, version, 1)

    def job(self, version: int, state: JobState, kind: JobKind = JobKind.PUBLISH) -> None:
        name = f"j{version}"
        self.jobs.append(SimpleNamespace(id=name, share_id=SHARE.hex(), version=version, state=state, kind=kind))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    workshop = Workshop(tmp_path / "store")
    yield Desk(workshop, monkeypatch)
    workshop.close()


async def test_what_is_due_goes_with_the_jobs_that_offer_it_and_nothing_else(desk: Desk) -> None:
    desk.retired(v1=1, v2=1, v3=LATER)
    for version in (1, 2, 3):
        desk.job(version, JobState.SEEDING)
    assert await desk.retaining.delete_due() == 2
    assert (desk.deleted, desk.removed, desk.closed) == ([{1, 2}], ["j1", "j2"], [1, 2])
    assert await desk.retaining.delete_due() == 0


async def test_nothing_is_deleted_while_a_publish_leans_on_it_or_somebody_fetches_it(desk: Desk) -> None:
    desk.retired(v1=1, v2=1)
    desk.job(2, JobState.RUNNING, JobKind.FETCH)
    async with desk.leaning.publishing(RUN), desk.leaning.publishing(RUN):
        assert await desk.retaining.delete_due() == 0
    assert desk.deleted == []
    assert await desk.retaining.delete_due() == 1
    assert (desk.deleted, desk.removed) == ([{1}], [])
    desk.jobs.clear()
    assert await desk.retaining.delete_due() == 1


async def test_a_version_that_is_listed_after_all_keeps_its_job(desk: Desk) -> None:
    desk.retired(v1=1, v2=1)
    for version in (1, 2):
        desk.job(version, JobState.SEEDING)
    desk.listed = {2}
    await desk.retaining.delete_due()
    assert (desk.deleted, desk.removed) == ([{1}], ["j1"])


async def test_what_can_not_be_deleted_now_is_tried_again_later_and_told_once(desk: Desk) -> None:
    desk.retired(v1=1)
    desk.away = True
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert await desk.retaining.delete_due() == 0
    assert len(logs) == 1


async def test_without_room_for_the_next_saves_what_went_first_is_given_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.retired(v1=LATER, v2=LATER + 1)
    monkeypatch.setattr(retention, "free_bytes", lambda path: 2000)
    await desk.retaining.delete_due()
    assert desk.deleted == []
    monkeypatch.setattr(retention, "free_bytes", lambda path: 1999)
    await desk.retaining.delete_due()
    assert desk.deleted == [{1}]
    monkeypatch.setattr(retention, "free_bytes", lambda path: 5000)
    await desk.retaining.delete_due()
    assert desk.deleted == [{1}], "one at a time, as long as it is needed"


async def test_what_is_pinned_is_neither_deleted_when_due_nor_given_up_for_room(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.retired(v1=1, v2=LATER, v3=LATER + 1)
    for version in (1, 2):
        desk.pin(version)
        desk.job(version, JobState.SEEDING)
    monkeypatch.setattr(retention, "free_bytes", lambda path: 1)
    await desk.retaining.delete_due()
    assert (desk.deleted, desk.removed) == ([{3}], []), "room is made by what is not pinned"
    assert await desk.retaining.delete_due() == 0
    monkeypatch.setattr(retention, "free_bytes", lambda path: 5000)
    desk.catalogue.unpin(SHARE, 1, 1)
    await desk.retaining.delete_due()
    assert (desk.deleted, desk.removed) == ([{3}, {1}], ["j1"])


async def test_what_is_pinned_while_the_tracker_is_asked_keeps_its_job_and_the_others_go(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.retired(v1=1, v2=1)
    for version in (1, 2):
        desk.job(version, JobState.SEEDING)

    async def settle(services: Any, share: KnownShare, numbers: set[int]) -> set[int]:
        desk.pin(1)
        return numbers

    monkeypatch.setattr(retire, "settle", settle)
    assert await desk.retaining.delete_due() == 1
    assert (desk.deleted, desk.removed, desk.closed) == ([{2}], ["j2"], [2])


async def test_what_is_pinned_while_a_policy_is_applied_is_told_as_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {number: SimpleNamespace(name="") for number in (3, 2, 1)}
    judged = retire.Judged(tuple(map(Candidate, versions)), {3: "newest", 2: "", 1: ""})

    async def look(*arguments: Any) -> Any:
        return SimpleNamespace(targets=SimpleNamespace(versions=versions)), judged

    async def weigh(services: Any, share: KnownShare, doomed: set[int], working: Any) -> tuple[dict[int, int], int]:
        return dict.fromkeys(doomed, 10), 10 * len(doomed)

    async def all_but_1(*arguments: Any) -> set[int]:
        return {2}

    for function in (look, weigh):
        monkeypatch.setattr(retire, function.__name__, function)
    monkeypatch.setattr(retire, "retire", all_but_1)
    reply = await desk.retaining.prune(PruneRequest(name="run", retention=Retention(last=1)))
    assert {row.version: (row.keep, row.freed) for row in reply.rows} == {
        3: ("newest", 0),
        2: ("", 10),
        1: ("pinned here", 0),
    }
    assert reply.freed == 10


async def test_a_policy_that_can_not_be_applied_is_logged_and_stops_no_save(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*arguments: Any) -> Any:
        raise TrackerUnreachable("the tracker is away")

    monkeypatch.setattr(retire, "look", away)
    with structlog.testing.capture_logs() as logs:
        await desk.retaining.apply(RUN, Retention())
        assert logs == []
        await desk.retaining.apply(RUN, Retention(last=3))
        await desk.retaining.apply(RUN, Retention(best=3))
    assert [log["event"] for log in logs] == ["no version of run was retired"] * 2


async def test_public_shares_wait_for_each_other_since_they_may_have_equal_objects(desk: Desk) -> None:
    public = [KnownShare(bytes([n]) * 32, "p", "beside", "public", "owner", {}) for n in (1, 2)]
    async with desk.leaning.publishing(public[0]):
        async with desk.leaning.deleting(public[1]) as may_delete:
            assert not may_delete
        async with desk.leaning.deleting(RUN) as may_delete:
            assert may_delete
