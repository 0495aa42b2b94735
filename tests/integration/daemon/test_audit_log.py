"""The audit log as its owner reads it: who did what, verified; and what a tracker that edits it is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.tracker_protocol.audit_log import AUDIT_START, audit_chain

from ...support.homes import Home, failure, seeded_bytes, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def publish(alice: Home, tmp_path: Path, name: str) -> tuple[str, str]:
    """A share with one version: its id and its link."""
    source = write_files(tmp_path / "source", {"model.bin": seeded_bytes(1 << 16, name)})
    job = await alice.share(source, name=name)
    return job.share_id, job.link


async def test_an_owner_reads_who_did_what_with_names_and_versions(alice: Home, bob: Home, tmp_path: Path) -> None:
    _, link = await publish(alice, tmp_path, "logged")
    await bob.get(link, tmp_path / "bob")
    shown = await alice.cli("log", "logged")
    assert shown.returncode == 0, shown.stderr
    me, him = [(await home.client.key()).identity[:8] for home in (alice, bob)]
    lines = [" ".join(line.split()[3:]) for line in shown.stdout.splitlines()]
    assert lines[1:3] == [f"alice ({me}) create link", f"alice ({me}) publish v1"]
    assert f"bob ({him}) fetched v1" in lines
    assert any(line.startswith(f"bob ({him}) join ") for line in lines)
    assert f"verified up to row {len(lines) - 1}, signed 20" in shown.stderr
    reply = json.loads((await alice.cli("log", "logged", "--json", "-n", "2")).stdout)
    assert len(reply["rows"]) == 2
    assert reply["verified"] == reply["signed"] == len(lines) - 1
    assert (await alice.cli("log", "logged", "--since", "1h", "-q")).stdout.split() == [
        str(number) for number in range(1, len(lines))
    ]


async def test_only_owners_read_it(alice: Home, bob: Home, tmp_path: Path) -> None:
    _, link = await publish(alice, tmp_path, "discreet")
    await bob.get(link, tmp_path / "bob")
    refused = await bob.cli("log", "discreet")
    assert refused.returncode == 4, refused.stderr
    assert (await bob.cli("log", "no-such-share")).returncode == 5


class LogOnDisk:
    """One share's log in the database of the tracker beside a home, to be edited as its operator could."""

    def __init__(self, home: Home, share_id: str) -> None:
        self._path, self._share_id = home.config.tracker_dir / "tracker.db", share_id

    def run(self, statement: str, *values: object) -> None:
        with sqlite3.connect(self._path, timeout=20) as database:
            database.execute(statement.replace("SHARE", f"'{self._share_id}'"), values)
        database.close()

    def chain_anew(self) -> None:
        """Every link made to fit, as a careful forger would."""
        database = sqlite3.connect(self._path, timeout=20)
        columns = "seq, at, actor, action, subject"
        query = f"SELECT {columns} FROM audit WHERE share_id = '{self._share_id}' ORDER BY seq"
        rows, chain = database.execute(query).fetchall(), AUDIT_START.chain
        for row in rows:
            chain = audit_chain(chain, self._share_id, *row)
            self.run("UPDATE audit SET chain = ? WHERE share_id = SHARE AND seq = ?", chain, row[0])
        database.close()


def change(log: LogOnDisk) -> None:
    log.run("UPDATE audit SET subject = 'v9' WHERE share_id = SHARE AND seq = 2")


def change_and_chain_anew(log: LogOnDisk) -> None:
    change(log)
    log.chain_anew()


def cut(log: LogOnDisk) -> None:
    log.run("DELETE FROM audit WHERE share_id = SHARE AND seq > 2")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (change, "broken at row 2"),
        (change_and_chain_anew, "are not those that"),
        (cut, "row 3 is missing"),
    ],
)
async def test_an_edited_log_is_reported_with_the_first_row_that_does_not_fit(
    alice: Home, tmp_path: Path, edit: Callable[[LogOnDisk], None], says: str
) -> None:
    name = f"edited/{edit.__name__}"
    share_id, _ = await publish(alice, tmp_path, name)
    assert (await alice.client.log(am.LogRequest(name))).verified > 2
    edit(LogOnDisk(alice, share_id))
    refused = await alice.cli("log", name)
    assert (refused.returncode, refused.stdout) == (6, ""), refused.stderr
    assert says in refused.stderr
    assert (await failure(alice.client.log(am.LogRequest(name)))).exit_code == 6, "a broken log stays broken"


async def test_a_tracker_restored_from_a_backup_has_a_shorter_log_which_the_owner_may_accept(
    alice: Home, tmp_path: Path
) -> None:
    share_id, _ = await publish(alice, tmp_path, "restored")
    assert (await alice.client.log(am.LogRequest("restored"))).verified > 2
    cut(LogOnDisk(alice, share_id))
    assert (await failure(alice.client.log(am.LogRequest("restored")))).exit_code == 6
    accepted = await alice.cli("log", "restored", "--anew", "-q")
    assert (accepted.returncode, accepted.stdout.split()) == (0, ["1", "2"]), accepted.stderr
    assert (await alice.client.log(am.LogRequest("restored"))).verified == 2
