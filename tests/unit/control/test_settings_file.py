"""The one writer of ``config.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.config import load
from p2pckpt.errors import BadUsage, NotAllowed
from p2pckpt.settings_file import write_setting

WRITTEN = """\
# my settings
name = 'al'  # me
port = 1

[keys]
"job.pause" = "p"  # as elsewhere
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "config.toml"
    path.parent.mkdir()
    path.write_text(WRITTEN)
    return path


def test_comments_order_and_tables_stay(path: Path) -> None:
    write_setting(path, "port", "2", "test")
    assert path.read_text() == WRITTEN.replace("port = 1", "port = 2")
    write_setting(path, "dht", "off", "test")
    assert path.read_text().index("dht = false") < path.read_text().index("[keys]")
    found = load(home=path.parents[1], environ={}, directory=path.parent)
    assert (found.number("port"), found.flag("dht"), found.keys) == (2, False, {"job.pause": "p"})


def test_nothing_takes_a_setting_out(path: Path) -> None:
    write_setting(path, "port", None, "test")
    write_setting(path, "workers", None, "test")
    assert path.read_text() == WRITTEN.replace("port = 1\n", "")


@pytest.mark.parametrize(("value", "line"), [("5M", '"5M"'), (2_000_000, '"2MB"'), ("1234", "1234"), (0, "0")])
def test_sizes_are_written_as_people_read_them(path: Path, value: str | int, line: str) -> None:
    write_setting(path, "upload_limit", value, "test")
    assert f"upload_limit = {line}\n" in path.read_text()


def test_a_file_that_is_not_there_is_made_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    write_setting(path, "turtle_hours", "22:00-06:00", "test")
    assert path.read_text() == 'turtle_hours = "22:00-06:00"\n'
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_stays_a_link_and_a_mode_a_mode(path: Path, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.toml"
    path.rename(kept)
    kept.chmod(0o644)
    path.symlink_to(kept)
    write_setting(path, "port", 9, "test")
    assert path.is_symlink()
    assert kept.read_text() == WRITTEN.replace("port = 1", "port = 9")
    assert kept.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("key", "value"),
    [("prot", 1), ("port", "many"), ("turtle", "maybe"), ("turtle_hours", "9-17"), ("upload_limit", "5X")],
)
def test_what_makes_no_sense_changes_nothing(path: Path, key: str, value: str | int) -> None:
    with pytest.raises(BadUsage, match=r"^test: "):
        write_setting(path, key, value, "test")
    assert path.read_text() == WRITTEN


def test_a_file_that_cannot_be_read_is_left_alone(path: Path) -> None:
    path.write_text("port = = 1\n")
    with pytest.raises(BadUsage) as raised:
        write_setting(path, "port", 2, "test")
    assert str(path) in raised.value.fact
    assert path.read_text() == "port = = 1\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file")
    with pytest.raises(NotAllowed) as raised:
        write_setting(tmp_path / "config" / "config.toml", "port", 2, "test")
    assert str(tmp_path / "config" / "config.toml") in raised.value.fact
