"""``config get|set|show``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
import pytest

from p2pckpt.config import PROJECT_FILE, SETTINGS, Config
from tests.support import replay_feed as replay
from tests.support.canned_daemon import CannedDaemon
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


def test_unset_takes_a_setting_out_of_the_file(cli: Cli, config: Config) -> None:
    cli("config", "set", "port", "2")
    cli("config", "set", "upload_limit", "5M")
    assert cli("config", "get", "upload_limit").out == f"{5 << 20}\n"
    assert cli("config", "unset", "port").code == 0
    assert config.user_file.read_text() == 'upload_limit = "5M"\n'
    assert cli("config", "get", "port").out == "0\n"
    assert cli("config", "unset", "prot").code == 2


def test_show_writes_sizes_as_people_do(cli: Cli) -> None:
    cli("config", "set", "upload_limit", "5M")
    cli("config", "set", "download_limit", "2000000")
    lines = [line.split() for line in cli("config", "show").out.splitlines()]
    assert ["upload_limit", "5M"] in lines
    assert ["download_limit", "2MB"] in lines


RELOAD = ("POST", "/v1/settings/reload")


def test_a_running_daemon_goes_by_a_live_setting_at_once(cli: Cli, daemon: CannedDaemon, config: Config) -> None:
    file = str(config.user_file)
    daemon.replies[RELOAD] = replay.settings(file, upload_limit=5 << 20)
    assert cli("config", "set", "upload_limit", "5M").err == f"written to {file}; in force\n"
    daemon.replies[RELOAD] = replay.settings(file)
    assert cli("config", "unset", "upload_limit").err == f"written to {file}; in force\n"
    assert daemon.asked(*RELOAD) == [None, None]


def test_what_waits_for_the_next_start_is_said_so(cli: Cli, daemon: CannedDaemon, config: Config) -> None:
    daemon.replies[RELOAD] = replay.settings(str(config.user_file), port=2)
    assert "the running daemon goes by it when it starts next" in cli("config", "set", "port", "2").err


def test_a_daemon_that_goes_by_its_environment_is_said_so(cli: Cli, daemon: CannedDaemon, config: Config) -> None:
    told = replay.settings(str(config.user_file), port=2)
    rows = [
        msgspec.structs.replace(row, origin="environment P2PCKPT_PORT") if row.key == "port" else row
        for row in told.rows
    ]
    daemon.replies[RELOAD] = msgspec.structs.replace(told, rows=tuple(rows))
    outcome = cli("config", "set", "port", "2")
    assert "warning: the daemon goes by its environment P2PCKPT_PORT" in outcome.err
    assert config.user_file.read_text() == "port = 2\n"
