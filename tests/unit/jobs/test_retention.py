"""What a policy keeps of a run's versions, and why."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.control.run_messages import Retention
from p2pckpt.errors import BadUsage
from p2pckpt.jobs.retention import Candidate, check, judge

RUN = [
    Candidate(number, step=500 * number, metrics={"eval_loss": loss})
    for number, loss in enumerate([3.0, 2.0, 1.0, 1.5, 1.0, 4.0, math.nan, 5.0], start=1)
]


def kept(versions: list[Candidate], **policy: object) -> dict[int, str]:
    return {number: why for number, why in judge(versions, Retention(**policy)).items() if why}  # type: ignore[arg-type]


def test_every_reason_is_told() -> None:
    run = [
        *RUN,
        Candidate(9, tags=["final"], pinned=True),
        Candidate(10, step=4500, tags=["stable", "best"], metrics={}),
        Candidate(11, step=5000, tags=["latest"]),
    ]
    assert kept(run, last=2, every=1500, best=2, metric="eval_loss") == {
        11: "newest, one of the last 2",
        10: "tagged best, stable, one of the last 2, step is a multiple of 1500",
        9: "tagged final, pinned here, not a save: no step",
        6: "step is a multiple of 1500",
        5: "best by eval_loss",
        3: "step is a multiple of 1500, 2nd best by eval_loss",
    }


def test_of_equals_the_newer_is_the_better_and_more_may_be_better() -> None:
    assert kept(RUN, best=1, metric="eval_loss").keys() == {8, 5}
    assert kept(RUN, best=2, metric="eval_loss", highest=True) == {
        8: "newest, best by eval_loss",
        6: "2nd best by eval_loss",
    }


def test_what_was_not_measured_or_is_no_number_is_never_among_the_best() -> None:
    assert kept(RUN, best=8, metric="eval_loss").keys() == {1, 2, 3, 4, 5, 6, 8}
    assert kept(RUN, best=8, metric="accuracy").keys() == {8}


def test_the_last_one_that_verifies_stays_whatever_the_policy() -> None:
    run = [Candidate(n, step=n, verified=n in (2, 4)) for n in range(1, 9)]
    assert kept(run, last=1) == {8: "newest, the last one", 4: "the last one that verifies"}


def test_what_is_pinned_here_stays_whatever_the_policy() -> None:
    run = [Candidate(n, step=n, pinned=n == 2) for n in range(1, 9)]
    assert kept(run, last=1) == {8: "newest, the last one", 2: "pinned here"}


def test_without_a_policy_every_version_is_kept() -> None:
    assert len(kept(RUN)) == len(RUN)
    assert judge([], Retention(last=1)) == {}


def test_a_policy_that_says_nothing_to_be_done_is_refused() -> None:
    for policy in (Retention(last=-1), Retention(best=2)):
        with pytest.raises(BadUsage):
            check(policy)


metrics = st.dictionaries(st.sampled_from(["loss", "accuracy"]), st.floats(), max_size=2)
versions = st.lists(
    st.builds(
        Candidate,
        number=st.integers(1, 500),
        step=st.none() | st.integers(0, 10_000),
        metrics=metrics,
        tags=st.lists(st.sampled_from(["stable", "best"]), max_size=2),
        verified=st.booleans(),
        pinned=st.booleans(),
    ),
    max_size=40,
    unique_by=lambda version: version.number,
)
policies = st.builds(
    Retention,
    last=st.integers(0, 6),
    every=st.integers(0, 100),
    best=st.integers(0, 6),
    metric=st.sampled_from(["loss", "accuracy"]),
    highest=st.booleans(),
)


@given(versions, policies)
def test_what_nobody_may_lose_is_never_retired(run: list[Candidate], policy: Retention) -> None:
    judged = judge(run, policy)
    assert list(judged) == sorted((version.number for version in run), reverse=True)
    verified = [version.number for version in run if version.verified]
    newest = [version.number for version in run]
    always = {version.number for version in run if version.tags or version.step is None or version.pinned}
    for number in always | set(verified and [max(verified)]) | set(newest and [max(newest)]):
        assert judged[number]


@given(versions, policies)
def test_a_policy_keeps_no_more_than_it_says(run: list[Candidate], policy: Retention) -> None:
    if policy.keeps_all:
        return
    always = {version.number for version in run if version.tags or version.step is None or version.pinned}
    every = {version.number for version in run if policy.every and (version.step or 0) % policy.every == 0}
    kept = {number for number, why in judge(run, policy).items() if why}
    assert len(kept - always - every) <= policy.last + policy.best + 2


@given(versions, policies)
def test_pruning_again_retires_nothing_more(run: list[Candidate], policy: Retention) -> None:
    first = judge(run, policy)
    rest = [version for version in run if first[version.number]]
    assert all(judge(rest, policy).values())


@given(versions, policies)
def test_the_order_in_which_versions_are_given_does_not_matter(run: list[Candidate], policy: Retention) -> None:
    assert judge(run[::-1], policy) == judge(run, policy)
