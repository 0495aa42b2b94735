"""``config get|set|show``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from p2pckpt.config import PROJECT_FILE, SETTINGS, Config
from tests.unit.cli.conftest import Cli


def test_a_value_that_was_set_is_read_back_with_its_origin(cli: Cli, config: Config) -> None:
    assert cli("config", "set", "port", "6881").code == 0
    assert cli("config", "get", "port").out == "6881\n"
    assert json.loads(cli("config", "get", "port", "--json").out) == {
        "key": "port",
        "value": 6881,
        "origin": str(config.user_file),
    }
    assert tomllib.loads(config.user_file.read_text()) == {"port": 6881}


def test_types_are_kept_in_the_file(cli: Cli, config: Config) -> None:
    cli("config", "set", "port_mapping", "off")
    cli("config", "set", "name", "7")
    assert tomllib.loads(config.user_file.read_text()) == {"port_mapping": False, "name": "7"}
    assert cli("config", "get", "port_mapping").out == "false\n"


def test_comments_and_order_survive(cli: Cli, config: Config) -> None:
    config.user_file.parent.mkdir(parents=True)
    config.user_file.write_text("# mine\nname = 'al'  # me\nport = 1\n")
    cli("config", "set", "port", "2")
    assert config.user_file.read_text() == "# mine\nname = 'al'  # me\nport = 2\n"
    assert list(config.config_dir.iterdir()) == [config.user_file]


@pytest.mark.parametrize(
    ("key", "value"),
    [("prot", "1"), ("port", "many"), ("port", "-1"), ("port_mapping", "maybe"), ("log_level", "loud")],
)
def test_a_wrong_value_changes_nothing(key: str, value: str, cli: Cli, config: Config) -> None:
    outcome = cli("config", "set", key, value)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert not config.user_file.exists()


def test_a_broken_file_is_named_and_left_alone(cli: Cli, config: Config) -> None:
    config.user_file.parent.mkdir(parents=True)
    config.user_file.write_text("port = = 1\n")
    outcome = cli("config", "set", "port", "2")
    assert outcome.code == 2
    assert str(config.user_file) in outcome.err
    assert config.user_file.read_text() == "port = = 1\n"


def test_show_tells_where_each_value_comes_from(
    cli: Cli, config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli("config", "set", "name", "alice")
    (tmp_path / PROJECT_FILE).write_text("port = 7000\n")
    monkeypatch.setenv("P2PCKPT_WORKERS", "3")
    rows = {row["key"]: row for row in json.loads(cli("config", "show", "--json").out)}
    assert set(rows) == {setting.key for setting in SETTINGS}
    assert rows["name"] == {"key": "name", "value": "alice", "origin": str(config.user_file)}
    assert rows["port"] == {"key": "port", "value": 7000, "origin": str(tmp_path / PROJECT_FILE)}
    assert rows["workers"] == {"key": "workers", "value": 3, "origin": "environment P2PCKPT_WORKERS"}
    assert rows["listen"]["origin"] == "default"
    text = cli("config", "show", "--origin").out
    assert "environment P2PCKPT_WORKERS" in text
    assert "FROM" not in cli("config", "show").out


def test_set_warns_when_something_stronger_wins(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PCKPT_PORT", "9")
    assert "environment P2PCKPT_PORT still says 9" in cli("config", "set", "port", "2").err


def test_home_may_be_given_before_or_after_the_command(cli: Cli, tmp_path: Path) -> None:
    cli("--home", str(tmp_path / "other"), "config", "set", "port", "5")
    assert cli("config", "get", "port", "--home", str(tmp_path / "other")).out == "5\n"
    assert cli("config", "get", "port").out == "0\n"


def test_an_unknown_setting_is_not_found(cli: Cli) -> None:
    assert cli("config", "get", "prot").code == 5
