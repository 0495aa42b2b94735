"""What follows from one torrent's record."""

from __future__ import annotations

from typing import Any

from p2pckpt.jobs.joined import Joined


def joined(**wanted: dict[int, set[int]]) -> Joined:
    anything: Any = None
    return Joined(anything, b"s" * 32, "beside", wanted=dict(wanted))


def test_a_torrent_wants_what_any_of_its_jobs_does() -> None:
    assert joined(a={1: {0, 1}}, b={1: {1, 2}, 3: {7}}).wanted_by_any() == {1: {0, 1, 2}, 3: {7}}
    assert joined(a={}).wanted_by_any() == {}


def test_what_a_job_gives_up_goes_only_if_no_other_job_wants_it() -> None:
    torrent = joined(a={1: {0, 1, 2}}, b={1: {1}})
    more, fewer = torrent.rewant("a", {1: {2, 3}})
    assert (more, fewer) == ({1: {3}}, {1: {0}})
    assert torrent.wanted == {"a": {1: {2, 3}}, "b": {1: {1}}}


def test_this_machine_is_none_of_the_other_seeds() -> None:
    torrent = joined(a={})
    torrent.seeds = 2
    assert torrent.other_seeds == 2, "the tracker has not heard of it yet"
    torrent.announced = True
    assert torrent.other_seeds == 1
    torrent.was_leech = True
    assert torrent.other_seeds == 2, "it was counted among those who lack something"
