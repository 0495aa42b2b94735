"""Which notes of retired versions hold, by what the signed files say."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt.errors import TrackerUnreachable
from p2pckpt.jobs import retire
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import KnownShare, VersionRow
from p2pckpt.store.retired import RetiredRow
from p2pckpt.trust import versions
from tests.unit.jobs.workshop import SHARE, Workshop

RUN = KnownShare(SHARE, "run", "beside", "members", "owner", {})


def services_of(workshop: Workshop, listed: set[int], *, away: bool = False) -> Services:
    known = SimpleNamespace(
        targets=SimpleNamespace(versions=dict.fromkeys(listed)), is_retired=lambda number: number not in listed
    )

    async def refresh(share: KnownShare) -> Any:
        if away:
            raise TrackerUnreachable("the tracker is away")
        return known

    async def trusted(share: KnownShare) -> Any:
        return known

    workshop.catalogue.note_retired(RetiredRow(SHARE, number, 4, b"{}", 1) for number in (1, 2, 3))
    shares = SimpleNamespace(refresh=refresh, trusted=trusted)
    return cast(Services, SimpleNamespace(shares=shares, catalogue=workshop.catalogue))


def noted(workshop: Workshop) -> set[int]:
    return {row.version for row in workshop.catalogue.retired(SHARE)}


async def test_a_version_that_is_listed_is_not_retired_whatever_was_noted(workshop: Workshop) -> None:
    assert await retire.settle(services_of(workshop, {2, 9}), RUN, {1, 2, 3}) == {1, 3}
    assert noted(workshop) == {1, 3}


async def test_with_the_tracker_away_what_it_said_last_counts_and_nothing_is_forgotten(workshop: Workshop) -> None:
    assert await retire.settle(services_of(workshop, {2, 9}, away=True), RUN, {1, 2}) == {1}
    assert noted(workshop) == {1, 2, 3}


async def test_what_was_retired_earlier_is_due_once_it_is_given_up(workshop: Workshop) -> None:
    services = services_of(workshop, set())
    workshop.catalogue.note_retired([RetiredRow(SHARE, 3, 4, b"{}", 1 << 40)])
    await retire.give_up(services, RUN)
    (late,) = [row for row in workshop.catalogue.retired(SHARE) if row.due > 1]
    assert (late.version, late.due < 1 << 40) == (3, True)


async def test_what_is_pinned_is_not_given_up(workshop: Workshop) -> None:
    services = services_of(workshop, set())
    workshop.catalogue.note_retired(RetiredRow(SHARE, number, 4, b"{}", 1 << 40) for number in (2, 3))
    workshop.catalogue.record_version(VersionRow(SHARE, 2, b"i" * 32, True, ""))
    workshop.catalogue.pin(SHARE, 2, 1)
    await retire.give_up(services, RUN)
    assert {row.version for row in workshop.catalogue.retired(SHARE) if row.due == 1 << 40} == {2}


@pytest.mark.parametrize("pinned", [{1}, {1, 2}])
async def test_what_is_pinned_while_a_policy_is_applied_is_not_retired(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, pinned: set[int]
) -> None:
    services = services_of(workshop, {1, 2, 9})
    workshop.catalogue.forget_retired(SHARE, {1, 2, 3})
    signed: list[set[int]] = []

    async def change_targets(share: KnownShare, edit: Callable[[Any], bytes]) -> None:
        edit(SimpleNamespace(targets_bytes=b"now"))

    def entries(targets: bytes, numbers: tuple[int, ...]) -> dict[int, bytes]:
        for number in pinned:
            workshop.catalogue.record_version(VersionRow(SHARE, number, b"i" * 32, True, ""))
            workshop.catalogue.pin(SHARE, number, 1)
        return dict.fromkeys(numbers, b"{}")

    monkeypatch.setattr(services.shares, "change_targets", change_targets, raising=False)
    monkeypatch.setattr(services, "identity", None, raising=False)
    monkeypatch.setattr(versions, "entries", entries)
    monkeypatch.setattr(versions, "retire", lambda targets, identity, numbers: signed.append(set(numbers)))
    trusted: Any = SimpleNamespace(targets=SimpleNamespace(metadata_version=4), targets_bytes=b"then")
    left = {1, 2} - pinned
    assert await retire.retire(services, RUN, trusted, (2, 1), 5) == left
    assert (noted(workshop), signed) == (left, [left] if left else [])


def test_what_is_pinned_does_not_go_though_it_was_retired(workshop: Workshop) -> None:
    services_of(workshop, set())
    workshop.catalogue.note_retired([RetiredRow(b"o" * 32, 2, 4, b"{}", 1)])
    workshop.catalogue.record_version(VersionRow(SHARE, 2, b"i" * 32, True, ""))
    workshop.catalogue.pin(SHARE, 2, 1)
    assert {(row.share, row.version) for row in retire.going(workshop.catalogue)} == {
        (SHARE, 1),
        (SHARE, 3),
        (b"o" * 32, 2),
    }
    workshop.catalogue.unpin(SHARE, 2, 1)
    assert {row.version for row in retire.going(workshop.catalogue, SHARE)} == {1, 2, 3}
