"""What a verify tells: every check, every damaged place, and where a repair took the right bytes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pckpt.control import messages as m
from p2pckpt.control.health_messages import DamageRow, Outcome, VerifyReport
from p2pckpt.errors import NotFound

from ...support.homes import Home, failure, flip_bit, seeded_bytes, tree, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


async def shared(alice: Home, bob: Home, tmp_path: Path, name: str, seed: int) -> tuple[Path, m.Job]:
    """Bob's checkout of what Alice published, and his fetch."""
    files = {
        "flipped.bin": seeded_bytes(9 * MIB, seed),
        "cut.bin": seeded_bytes(5 * MIB, seed + 1),
        "gone.bin": seeded_bytes(2 * MIB, seed + 2),
        "fine.bin": seeded_bytes(MIB, seed + 3),
        "empty": b"",
    }
    published = await alice.share(write_files(tmp_path / "source", files), name=name)
    return tmp_path / "target", await bob.get(published.link, tmp_path / "target")


async def report_of(home: Home, name: str, *, repair: bool = False) -> VerifyReport:
    """The report of a verify, however it ended."""
    job = await home.client.verify(m.VerifyRequest(name=name, repair=repair))
    await home.wait_job(job.id, m.JobState.DONE, m.JobState.FAILED)
    return await home.client.verify_report(job.id)


def outcomes(report: VerifyReport) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in report.checks}


def spoil(target: Path) -> None:
    """A bit that flipped, a file that was cut off, one that is gone."""
    flip_bit(target / "flipped.bin", 7 * MIB)
    (target / "cut.bin").write_bytes((target / "cut.bin").read_bytes()[: 4 * MIB])
    (target / "gone.bin").unlink()


async def test_a_version_that_is_whole_has_nothing_but_good_checks(alice: Home, bob: Home, tmp_path: Path) -> None:
    _, fetched = await shared(alice, bob, tmp_path, "report/whole", 100)
    assert isinstance(await failure(bob.client.verify_report(fetched.id)), NotFound)
    report = await report_of(bob, "report/whole")
    assert outcomes(report) == {
        "signature": Outcome.OK,
        "chain": Outcome.OK,
        "files": Outcome.OK,
        "chunks": Outcome.OK,
        "model.sig": Outcome.OK,
        "store": Outcome.OK,
        "pickles": Outcome.OK,
    }
    assert (report.damaged, report.damage, report.bad_chunks) == (0, (), 0)
    assert report.chunks > 0
    # asked of the transfer, the last verify of its version answers
    assert await bob.client.verify_report(fetched.id) == report


async def test_every_damaged_place_is_named_and_repaired_from_the_store(alice: Home, bob: Home, tmp_path: Path) -> None:
    target, _ = await shared(alice, bob, tmp_path, "report/damaged", 110)
    before = tree(target)
    spoil(target)
    report = await report_of(bob, "report/damaged")
    rows = {row.path: row for row in report.damage}
    assert set(rows) == {"flipped.bin", "cut.bin", "gone.bin"}
    flipped = rows["flipped.bin"]
    assert (flipped.place, flipped.problem, flipped.fixed_from) == ("checkout", "other bytes", "")
    assert flipped.offset <= 7 * MIB
    assert len(flipped.expected) == len(flipped.got) == 64
    assert flipped.expected != flipped.got
    assert rows["cut.bin"].problem == "ends at 4,194,304 of 5,242,880 bytes"
    assert rows["gone.bin"].problem == "No such file or directory"
    assert (report.damaged, report.repaired, report.damaged_files, report.damaged_objects) == (3, 0, 3, 0)
    assert report.bad_chunks >= 3
    found = outcomes(report)
    assert (found["files"], found["chunks"], found["store"]) == (Outcome.BAD, Outcome.BAD, Outcome.OK)

    printed = await bob.cli("verify", "report/damaged", "--json")
    assert printed.returncode == 6
    assert json.loads(printed.stdout)["damaged"] == 3

    repaired = await report_of(bob, "report/damaged", repair=True)
    assert (repaired.damaged, repaired.repaired) == (3, 3)
    assert {row.path: row.fixed_from for row in repaired.damage} == {
        "flipped.bin": "store",
        "cut.bin": "store",
        "gone.bin": "store",
    }
    assert tree(target, leave_out=(".p2pckpt-replaced",)) == before


async def test_a_bit_of_the_store_is_repaired_from_the_swarm(alice: Home, bob: Home, tmp_path: Path) -> None:
    target, fetched = await shared(alice, bob, tmp_path, "report/store", 120)
    roots = [row["root"] for row in (await bob.client.manifest("report/store"))["objects"]]
    flip_bit(bob.store / "objects" / roots[0][:2] / roots[0], MIB)
    flip_bit(target / "flipped.bin", 7 * MIB)
    report = await report_of(bob, "report/store")
    (stored,) = [row for row in report.damage if row.place == "store"]
    assert (stored.path, stored.fixed_from) == (roots[0], "")
    assert stored.chunk >= 0 and stored.offset >= 0
    assert (report.damaged_objects, outcomes(report)["store"]) == (1, Outcome.BAD)
    repaired = await report_of(bob, "report/store", repair=True)
    assert {row.place: row.fixed_from for row in repaired.damage}["store"] == "swarm"
    assert repaired.repaired == repaired.damaged == 2
    assert (await report_of(bob, "report/store")).damaged == 0
    # a restart keeps the reports, and a job that is removed takes its own with it
    await bob.restart()
    last = await bob.client.verify_report(fetched.id)
    assert last.damaged == 0
    await bob.client.remove(last.job)
    assert (await bob.client.verify_report(fetched.id)).repaired == 2


async def test_what_nobody_has_stays_damaged_in_the_report(alice: Home, bob: Home, tmp_path: Path) -> None:
    target, fetched = await shared(alice, bob, tmp_path, "report/lonely", 130)
    (published,) = [job for job in await alice.client.jobs() if job.share == "report/lonely"]
    await alice.client.pause(published.id)
    for root in [row["root"] for row in (await bob.client.manifest("report/lonely"))["objects"]]:
        (bob.store / "objects" / root[:2] / root).unlink()
    flip_bit(target / "flipped.bin", 7 * MIB)
    job = await bob.client.verify(m.VerifyRequest(name="report/lonely", repair=True))
    await bob.wait_until(job.id, lambda job: job.phase is m.Phase.CONNECTING)
    report = await bob.client.verify_report(job.id)
    assert report.repaired == 0
    assert any(row == DamageRow("checkout", "flipped.bin", "other bytes", *_where(row)) for row in report.damage)
    await alice.client.resume(published.id)
    await bob.wait_job(job.id)
    report = await bob.client.verify_report(fetched.id)
    assert report.repaired == report.damaged > 1
    assert "swarm" in {row.path: row.fixed_from for row in report.damage}["flipped.bin"]


def _where(row: DamageRow) -> tuple[int, int, str, str]:
    return row.chunk, row.offset, row.expected, row.got
