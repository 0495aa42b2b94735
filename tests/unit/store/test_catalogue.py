from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.errors import NoSpace, P2pckptError
from p2pckpt.store.catalogue import Catalogue, ChunkLocation, KnownShare, ObjectRow, VersionRow
from p2pckpt.store.retired import RetiredRow
from p2pckpt.trust.sealing import EpochKeys
from tests.support.homes import small_disk

SHARE, OTHER_SHARE = b"s" * 32, b"t" * 32
LENGTH = 3 * PIECE_LENGTH + 5


def identifier(number: int) -> bytes:
    return number.to_bytes(32, "big")


def object_row(number: int, pieces: list[int] | None = None, length: int = LENGTH) -> ObjectRow:
    have = PieceSet.full(length)
    if pieces is not None:
        have = PieceSet()
        have.add(pieces)
    return ObjectRow(identifier(number), length, 7, 2, have, b"layer")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


@pytest.fixture
def catalogue(path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(path)
    yield opened
    opened.close()


# -- objects and chunks


def test_an_object_is_read_back_as_it_was_recorded(catalogue: Catalogue) -> None:
    catalogue.record_object(object_row(1, [0, 2]))
    row = catalogue.object(identifier(1))
    assert row is not None
    assert (row.root, row.length, row.sealed_version, row.sealed_epoch) == (identifier(1), LENGTH, 7, 2)
    assert (list(row.pieces), row.layer, row.complete) == ([0, 2], b"layer", False)
    assert catalogue.object(identifier(2)) is None
    assert catalogue.object_roots() == [(identifier(1), LENGTH)]


def test_more_pieces_of_an_object_replace_the_old_ones_and_nothing_else(catalogue: Catalogue) -> None:
    catalogue.record_object(object_row(1, [0]))
    catalogue.record_object(ObjectRow(identifier(1), 999, 8, 9, PieceSet.full(LENGTH), b"other"))
    row = catalogue.object(identifier(1))
    assert row is not None
    assert row.complete
    assert (row.length, row.sealed_version, row.sealed_epoch, row.layer) == (LENGTH, 7, 2, b"layer")


def test_a_chunk_is_located_in_the_share_it_was_recorded_for(catalogue: Catalogue) -> None:
    catalogue.record_object(object_row(1))
    catalogue.record_chunks(SHARE, identifier(1), [(b"c" * 32, 100, 50, 4000, False), (b"d" * 32, 150, 9, 4000, True)])
    expected = ChunkLocation(identifier(1), LENGTH, 100, 50, 4000, 0, 7, 2)
    assert catalogue.locate(SHARE, b"c" * 32) == expected
    delta = catalogue.locate(SHARE, b"d" * 32)
    assert delta is not None
    assert delta.delta == 1
    assert catalogue.locate(OTHER_SHARE, b"c" * 32) is None
    assert catalogue.locate(SHARE, b"e" * 32) is None


def test_a_chunk_stays_where_it_was_first(catalogue: Catalogue) -> None:
    for number in (1, 2):
        catalogue.record_object(object_row(number))
        catalogue.record_chunks(SHARE, identifier(number), [(b"c" * 32, number, 50, 4000, False)])
    found = catalogue.locate(SHARE, b"c" * 32)
    assert found is not None
    assert found.root == identifier(1)


def test_a_chunk_that_comes_whole_takes_the_place_of_a_delta_and_not_the_other_way(catalogue: Catalogue) -> None:
    for number in (1, 2, 3):
        catalogue.record_object(object_row(number))
    catalogue.record_chunks(SHARE, identifier(1), [(b"c" * 32, 5, 50, 4000, True)])
    catalogue.record_chunks(SHARE, identifier(2), [(b"c" * 32, 7, 90, 4000, False)])
    whole = ChunkLocation(identifier(2), LENGTH, 7, 90, 4000, 0, 7, 2)
    assert catalogue.locate(SHARE, b"c" * 32) == whole
    catalogue.record_chunks(SHARE, identifier(3), [(b"c" * 32, 9, 30, 4000, True)])
    assert catalogue.locate(SHARE, b"c" * 32) == whole


def test_forgetting_an_object_forgets_its_chunks_and_no_others(catalogue: Catalogue) -> None:
    for number in (1, 2):
        catalogue.record_object(object_row(number))
        catalogue.record_chunks(SHARE, identifier(number), [(identifier(100 + number), 0, 50, 4000, False)])
        catalogue.record_chunks(OTHER_SHARE, identifier(number), [(identifier(100 + number), 0, 50, 4000, False)])
    catalogue.forget_objects([identifier(1), identifier(9)])
    assert catalogue.object(identifier(1)) is None
    assert catalogue.locate(SHARE, identifier(101)) is None
    assert catalogue.locate(OTHER_SHARE, identifier(101)) is None
    assert catalogue.locate(SHARE, identifier(102)) is not None
    # and whatever takes its place in the tables does not inherit them
    catalogue.forget_objects([identifier(2)])
    for number in (1, 3):
        catalogue.record_object(object_row(number))
    assert catalogue.locate(SHARE, identifier(101)) is None
    assert catalogue.locate(SHARE, identifier(102)) is None


def test_losing_pieces_loses_the_chunks_on_them(catalogue: Catalogue) -> None:
    catalogue.record_object(object_row(1))
    within, across, elsewhere = identifier(11), identifier(12), identifier(13)
    catalogue.record_chunks(
        SHARE,
        identifier(1),
        [
            (within, PIECE_LENGTH + 10, 100, 1000, False),
            (across, PIECE_LENGTH - 10, 20, 1000, False),
            (elsewhere, 2 * PIECE_LENGTH, 100, 1000, False),
        ],
    )
    catalogue.lose_pieces(identifier(1), {1})
    row = catalogue.object(identifier(1))
    assert row is not None
    assert list(row.pieces) == [0, 2, 3]
    assert [catalogue.locate(SHARE, chunk) is None for chunk in (within, across, elsewhere)] == [True, True, False]


def test_an_object_that_lost_every_piece_is_forgotten(catalogue: Catalogue) -> None:
    catalogue.record_object(object_row(1, [1, 2]))
    catalogue.lose_pieces(identifier(1), {1, 2, 3})
    catalogue.lose_pieces(identifier(5), {0})
    assert catalogue.object_roots() == []


def test_bytes_are_summed_over_all_and_over_one_share(catalogue: Catalogue) -> None:
    assert (catalogue.stored_bytes(), catalogue.share_bytes(SHARE)) == (0, 0)
    for number, share in ((1, SHARE), (2, SHARE), (3, OTHER_SHARE)):
        catalogue.record_object(object_row(number, length=100 * number))
        catalogue.record_chunks(share, identifier(number), [(identifier(n), 0, 5, 5, False) for n in (number, 50)])
    assert catalogue.stored_bytes() == 600
    assert catalogue.share_bytes(SHARE) == 300
    assert catalogue.share_bytes(b"nobody") == 0


# -- carriers, versions, shares


def test_the_newest_carrier_of_an_object_counts(catalogue: Catalogue) -> None:
    catalogue.record_carriers(SHARE, [(identifier(1), b"h" * 32, 1), (identifier(2), b"h" * 32, 1)])
    catalogue.record_carriers(SHARE, [(identifier(1), b"i" * 32, 4)])
    assert catalogue.carrier(SHARE, identifier(1)) == (b"i" * 32, 4)
    assert catalogue.carrier(SHARE, identifier(2)) == (b"h" * 32, 1)
    assert catalogue.carrier(OTHER_SHARE, identifier(1)) is None


def test_versions_are_recorded_found_and_forgotten(catalogue: Catalogue) -> None:
    rows = [VersionRow(SHARE, n, identifier(n), n == 1, f"/checkouts/{n}") for n in (1, 2)]
    for row in [*rows, VersionRow(OTHER_SHARE, 1, identifier(9), True, "")]:
        catalogue.record_version(row)
    assert sorted(catalogue.versions(SHARE), key=lambda row: row.version) == rows
    assert len(catalogue.versions()) == 3
    assert catalogue.version(SHARE, 2) == rows[1]
    moved = VersionRow(SHARE, 2, identifier(2), True, "/elsewhere")
    catalogue.record_version(moved)
    assert catalogue.version(SHARE, 2) == moved
    catalogue.forget_versions(SHARE, [2], [])
    assert catalogue.version(SHARE, 2) is None
    assert catalogue.version(OTHER_SHARE, 1) is not None


def test_shares_are_listed_by_name_with_the_keys_that_came_with_a_link(catalogue: Catalogue) -> None:
    keys = {1: EpochKeys(1, b"v" * 32, b"c" * 32), 5: EpochKeys(5, b"w" * 32, b"")}
    mine = KnownShare(SHARE, "zebra", "beside", "link", "owner", {})
    theirs = KnownShare(OTHER_SHARE, "ant", "h:1#key", "members", "viewer", keys)
    for share in (mine, theirs):
        catalogue.record_share(share)
    assert catalogue.shares() == [theirs, mine]
    assert catalogue.share(OTHER_SHARE) == theirs
    assert catalogue.share(b"nobody") is None
    catalogue.forget_share(SHARE)
    assert catalogue.shares() == [theirs]


# -- transactions


class _Stop(Exception):
    pass


def test_a_transaction_that_fails_leaves_nothing(catalogue: Catalogue) -> None:
    with pytest.raises(_Stop), catalogue.transaction():
        catalogue.record_object(object_row(1))
        catalogue.record_chunks(SHARE, identifier(1), [(b"c" * 32, 0, 5, 5, False)])
        catalogue.record_version(VersionRow(SHARE, 1, identifier(1), True, ""))
        raise _Stop
    assert (catalogue.object_roots(), catalogue.versions(), catalogue.locate(SHARE, b"c" * 32)) == ([], [], None)
    catalogue.record_object(object_row(2))
    assert catalogue.object_roots() == [(identifier(2), LENGTH)]


def test_nothing_of_a_transaction_is_seen_before_it_is_committed(catalogue: Catalogue) -> None:
    with catalogue.transaction():
        catalogue.record_object(object_row(1))
        assert catalogue.object_roots() == []
    assert catalogue.object_roots() == [(identifier(1), LENGTH)]


def test_an_error_of_sqlite_rolls_back_and_is_one_of_ours(catalogue: Catalogue) -> None:
    with pytest.raises(P2pckptError, match="can't be written"), catalogue.transaction():
        catalogue.record_object(object_row(1))
        catalogue._db.execute("INSERT INTO nothing VALUES (1)")
    assert catalogue.object_roots() == []
    catalogue.record_object(object_row(1))


def test_threads_that_write_at_once_lose_nothing(catalogue: Catalogue) -> None:
    barrier = threading.Barrier(4)

    def write(worker: int) -> None:
        barrier.wait()
        for number in range(10):
            row = object_row(100 * worker + number)
            with catalogue.transaction():
                catalogue.record_object(row)
                catalogue.record_chunks(SHARE, row.root, [(row.root, 0, 5, 5, False)])
            assert catalogue.locate(SHARE, row.root) is not None

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(catalogue.object_roots()) == 40


# -- what survives


def test_everything_is_there_when_it_is_opened_again(path: Path) -> None:
    first = Catalogue(path)
    first.record_object(object_row(1))
    first.record_chunks(SHARE, identifier(1), [(b"c" * 32, 0, 5, 5, False)])
    located = first.locate(SHARE, b"c" * 32)
    first.close()
    second = Catalogue(path)
    assert second.locate(SHARE, b"c" * 32) == located
    second.close()


KILLED = """
import sys
from pathlib import Path
from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.store.catalogue import Catalogue, ObjectRow
catalogue = Catalogue(Path(sys.argv[1]))
def record(number):
    root = number.to_bytes(32, "big")
    catalogue.record_object(ObjectRow(root, 100, 1, 1, PieceSet.full(100), b""))
    catalogue.record_chunks(b"s" * 32, root, [(root, 0, 5, 5, False)])
for number in range(20):
    with catalogue.transaction():
        record(number)
with catalogue.transaction():
    for number in range(20, 2000):
        record(number)
    print("now", flush=True)
    sys.stdin.read()
"""


def test_a_process_killed_within_a_transaction_leaves_what_was_committed(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    catalogue = Catalogue(path)
    assert sorted(catalogue.object_roots()) == [(identifier(number), 100) for number in range(20)]
    assert all(catalogue.locate(SHARE, identifier(number)) is not None for number in range(20))
    assert catalogue.locate(SHARE, identifier(20)) is None
    catalogue.record_object(object_row(20))
    catalogue.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_commit_waits_for_the_disk(catalogue: Catalogue) -> None:
    settings = {name: catalogue._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")}
    assert settings == {"synchronous": 2, "journal_mode": "wal"}


def test_a_full_disk_is_said_to_be_full_and_nothing_is_half_recorded(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 600 << 10) as disk:
        catalogue = Catalogue(disk / "catalogue.db")
        recorded = 0
        with pytest.raises(NoSpace):
            for number in range(1000):
                with catalogue.transaction():
                    for n in range(100):
                        root = identifier(1000 * number + n)
                        catalogue.record_object(ObjectRow(root, 100, 1, 1, PieceSet.full(100), b"x" * 100))
                recorded += 100
        assert recorded
        assert len(catalogue.object_roots()) == recorded
        catalogue.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_catalogue_is_an_error_of_ours(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(P2pckptError, match="catalogue"):
        Catalogue(path)
    assert path.read_bytes() == content


def test_a_catalogue_that_breaks_while_it_is_open_is_an_error_of_ours(catalogue: Catalogue, path: Path) -> None:
    for number in range(300):
        catalogue.record_object(object_row(number))
    catalogue._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(P2pckptError, match="catalogue"):
        for number in range(300):
            catalogue.object(identifier(number))


def test_what_was_retired_is_remembered_until_it_is_gone_or_back(catalogue: Catalogue) -> None:
    rows = [RetiredRow(SHARE, number, 4, b"{}", due) for number, due in ((1, 30), (2, 20), (3, 10))]
    catalogue.note_retired(rows)
    catalogue.note_retired([RetiredRow(b"o" * 32, 1, 4, b"{}", 5)])
    assert [row.version for row in catalogue.retired(SHARE)] == [3, 2, 1], "what is due first comes first"
    assert len(catalogue.retired()) == 4
    catalogue.forget_retired(SHARE, [1, 9])
    catalogue.forget_versions(SHARE, [2], [])
    assert catalogue.retired(SHARE) == [rows[2]]
    catalogue.begin_leaving(SHARE)
    assert [row.share for row in catalogue.retired()] == [b"o" * 32]


def test_a_version_goes_with_its_objects_and_what_carried_them_or_not_at_all(catalogue: Catalogue) -> None:
    for root in (b"1" * 32, b"2" * 32):
        catalogue.record_object(ObjectRow(root, 5, 1, 1, PieceSet.full(5), b""))
        catalogue.record_carriers(SHARE, [(root, b"t" * 32, 1)])
    catalogue.record_version(VersionRow(SHARE, 1, b"t" * 32, True, ""))
    with pytest.raises(RuntimeError), catalogue.transaction():
        catalogue.forget_versions(SHARE, [1], [b"1" * 32])
        raise RuntimeError
    assert len(catalogue.object_roots()) == 2 and catalogue.version(SHARE, 1) is not None
    catalogue.forget_versions(SHARE, [1], [b"1" * 32])
    assert catalogue.object_roots() == [(b"2" * 32, 5)]
    assert (catalogue.carrier(SHARE, b"1" * 32), catalogue.version(SHARE, 1)) == (None, None)
    assert catalogue.uncarried() == []
    assert catalogue.info_hashes() == {b"t" * 32}
