"""Which version a repository and a revision stand for, and how often the daemon is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from p2pckpt.bridges.hub_gateway.etags import commit_of
from p2pckpt.bridges.hub_gateway.repos import Repos, RevisionNotFound
from p2pckpt.bridges.hub_gateway.routes import RepoNotFound
from p2pckpt.control.read_messages import FileInfo
from p2pckpt.errors import DaemonUnavailable

from ...support.hub_source import HubSource


@pytest.fixture
def source(tmp_path: Path) -> HubSource:
    source = HubSource()
    source.add("cars/sd15", tmp_path, version_name="first", tags=("stable",))
    source.add("cars/sd15", tmp_path, version_name="second")
    return source


@pytest.mark.parametrize(
    ("revision", "version"),
    [
        ("main", 2),
        ("HEAD", 2),
        ("refs/heads/main", 2),
        ("v1", 1),
        ("1", 1),
        ("stable", 1),
        ("refs/tags/stable", 1),
        ("first", 1),
        ("second", 2),
    ],
)
async def test_a_revision_is_a_branch_a_tag_a_name_or_a_number(source: HubSource, revision: str, version: int) -> None:
    assert (await Repos(source).find("cars/sd15", revision)).version == version


async def test_a_commit_leads_back_to_its_version_also_in_a_gateway_that_never_gave_it_out(source: HubSource) -> None:
    first = await Repos(source).find("cars/sd15", "v1")
    commit = commit_of(first.manifest)
    assert await Repos(source).find("cars/sd15", commit) == first
    with pytest.raises(RevisionNotFound):
        await Repos(source).find("cars/sd15", "0" * 40)


async def test_what_is_missing_is_told_apart(source: HubSource) -> None:
    repos = Repos(source)
    with pytest.raises(RevisionNotFound, match="no revision 'v7'"):
        await repos.find("cars/sd15", "v7")
    with pytest.raises(RepoNotFound):
        await repos.find("cars/nothing", "main")
    with pytest.raises(RepoNotFound):
        await repos.find("cars/nothing", "0" * 40)


async def test_many_who_ask_at_once_are_one_question_to_the_daemon(source: HubSource) -> None:
    repos = Repos(source)
    await asyncio.gather(*(repos.find("cars/sd15", "main") for _ in range(20)))
    assert source.asked == ["cars/sd15"]


async def test_one_who_leaves_takes_the_answer_from_nobody_else(source: HubSource) -> None:
    repos = Repos(source)
    leaves, stays = (asyncio.ensure_future(repos.find("cars/sd15", "main")) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    assert (await stays).version == 2


async def test_a_failure_is_not_remembered(source: HubSource) -> None:
    repos = Repos(source)
    source.failures["cars/sd15"] = DaemonUnavailable("it does not run")
    with pytest.raises(DaemonUnavailable):
        await repos.find("cars/sd15", "main")
    source.failures.clear()
    assert (await repos.find("cars/sd15", "main")).version == 2


async def test_a_commit_never_leads_to_other_content(source: HubSource, tmp_path: Path) -> None:
    repos = Repos(source)
    commit = commit_of((await repos.find("cars/sd15", "main")).manifest)
    other = HubSource()  # left, and another share joined that is called the same
    for path in ("one", "two"):
        other.add_files("cars/sd15", tmp_path, (FileInfo(path, 1, "ab" * 32, "opaque", False),))
    repos._source = other
    with pytest.raises(RevisionNotFound):
        await repos.find("cars/sd15", commit)
    with pytest.raises(RevisionNotFound):
        await repos.find("cars/sd15", commit)
