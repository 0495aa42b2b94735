"""Rows of versions that stay here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pckpt.store.catalogue import Catalogue, VersionRow
from p2pckpt.store.pins import PinRow
from p2pckpt.store.retired import RetiredRow

SHARE, OTHER = b"s" * 32, b"t" * 32


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "catalogue.db")
    for share, version, held in ((SHARE, 1, True), (SHARE, 2, False), (SHARE, 3, True), (OTHER, 1, True)):
        opened.record_version(VersionRow(share, version, b"i" * 32, held, ""))
    yield opened
    opened.close()


def test_only_what_is_whole_here_is_pinned_and_the_first_pin_counts(catalogue: Catalogue) -> None:
    assert [catalogue.pin(SHARE, version, 10) for version in (1, 2, 9)] == [10, None, None]
    assert catalogue.pin(SHARE, 1, 20) == 10
    assert (catalogue.pinned(SHARE), catalogue.pinned(OTHER)) == ({1}, set())


def test_pins_are_listed_last_first_and_taken_away_once(catalogue: Catalogue) -> None:
    for share, version, since in ((SHARE, 1, 10), (OTHER, 1, 30), (SHARE, 3, 20)):
        catalogue.pin(share, version, since)
    assert catalogue.pins() == [PinRow(OTHER, 1, 30), PinRow(SHARE, 3, 20), PinRow(SHARE, 1, 10)]
    assert (catalogue.unpin(SHARE, 3, 0), catalogue.unpin(SHARE, 3, 0)) == (20, None)
    assert catalogue.pinned(SHARE) == {1}


def test_what_was_retired_is_not_due_as_soon_as_its_pin_is_gone(catalogue: Catalogue) -> None:
    dues = {1: 10, 3: 90}
    catalogue.note_retired(RetiredRow(SHARE, version, 4, b"{}", due) for version, due in dues.items())
    catalogue.note_retired([RetiredRow(OTHER, 1, 4, b"{}", 10)])
    assert catalogue.unpin(SHARE, 1, 50) is None
    assert {row.version: row.due for row in catalogue.retired(SHARE)} == dues, "it was not pinned"
    for version in dues:
        catalogue.pin(SHARE, version, 20)
        assert catalogue.unpin(SHARE, version, 50) == 20
    assert {row.version: row.due for row in catalogue.retired(SHARE)} == {1: 50, 3: 90}
    assert [row.due for row in catalogue.retired(OTHER)] == [10]


def test_pins_of_a_share_that_is_left_go_with_it(catalogue: Catalogue) -> None:
    catalogue.pin(SHARE, 1, 10)
    catalogue.pin(OTHER, 1, 10)
    catalogue.begin_leaving(SHARE)
    assert [row.share for row in catalogue.pins()] == [OTHER]
    catalogue.forget_share(OTHER)
    assert catalogue.pins() == []


def test_pins_outlast_the_process_and_an_older_catalogue_gets_its_table(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    Catalogue(path).close()
    with sqlite3.connect(path) as older:
        older.execute("DROP TABLE pins")
    older.close()
    catalogue = Catalogue(path)
    catalogue.record_version(VersionRow(SHARE, 1, b"i" * 32, True, ""))
    catalogue.pin(SHARE, 1, 10)
    catalogue.close()
    again = Catalogue(path)
    assert again.pinned(SHARE) == {1}
    again.close()
