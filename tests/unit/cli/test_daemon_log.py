"""``daemon logs``: the file as it is, what weighs enough of it, and the same as JSON."""

from __future__ import annotations

import json

import pytest

from p2pckpt.cli.daemon_log import parse, records
from p2pckpt.config import Config
from tests.unit.cli.conftest import Cli

LINES = """timestamp='2026-01-01T10:00:00Z' level='info' source='daemon.main' event='daemon ready' port=6881
timestamp='2026-01-01T10:00:01Z' level='warning' source='jobs.swarms' event="a peer's data is false" peer='192.0.2.1:1'
timestamp='2026-01-01T10:00:02Z' level='error' source='daemon.job_table' event='a job stumbled' job='j1'
Traceback (most recent call last):
ValueError: boom
timestamp='2026-01-01T10:00:03Z' level='info' source='daemon.bans' event='banned 192.0.2.1' note=''
"""


@pytest.fixture
def written(config: Config) -> None:
    config.state_dir.mkdir(parents=True)
    config.daemon_log.write_text(LINES)


def test_the_file_is_printed_as_it_is(written: None, cli: Cli) -> None:
    assert cli("daemon", "logs").out == LINES


def test_lines_are_counted_by_records(written: None, cli: Cli) -> None:
    assert cli("daemon", "logs", "-n", "2").out == "".join(LINES.splitlines(keepends=True)[2:])


def test_a_level_leaves_out_what_weighs_less_but_no_traceback(written: None, cli: Cli) -> None:
    out = cli("daemon", "logs", "--level", "warning").out.splitlines()
    assert [line[:9] for line in out] == ["timestamp", "timestamp", "Traceback", "ValueErro"]
    assert cli("daemon", "logs", "--level", "loud").code == 2


def test_json_has_the_records(written: None, cli: Cli) -> None:
    found = json.loads(cli("daemon", "logs", "--json", "--level", "warning").out)
    assert found[0] == {
        "time": "2026-01-01T10:00:01Z",
        "level": "warning",
        "source": "jobs.swarms",
        "event": "a peer's data is false",
        "fields": {"peer": "192.0.2.1:1"},
        "more": [],
    }
    assert found[1]["more"] == ["Traceback (most recent call last):", "ValueError: boom"]
    lines = cli("--format", "jsonl", "daemon", "logs").out.splitlines()
    assert [json.loads(line)["level"] for line in lines] == ["info", "warning", "error", "info"]


def test_a_log_that_is_not_there_is_no_crash(cli: Cli) -> None:
    assert cli("daemon", "logs", "--level", "error").code == 5


def test_what_is_no_record_is_kept_as_it_is() -> None:
    (plain,) = records(["Segmentation fault"])
    assert (plain.pairs, plain.level, plain.weighs("error")) == ({}, "error", True)
    assert plain.as_json()["event"] == "Segmentation fault"
    odd = parse("timestamp='x' level=info event='unclosed job=__import__('os')")
    assert odd.pairs["level"] == "info"
