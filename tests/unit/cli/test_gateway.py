"""``gateway``: what is printed, and what is asked of the daemon."""

from __future__ import annotations

import json

from p2pckpt.control.gateway_messages import GatewayState
from tests.support.canned_daemon import CannedDaemon
from tests.unit.cli.conftest import Cli

STATE = ("GET", "/v1/gateway")
SWITCH = ("POST", "/v1/gateway")
RUNNING = GatewayState(on=True, running=True, port=4000, endpoint="http://127.0.0.1:4000/s3cret")


def test_it_is_turned_on_and_its_address_is_told_by_env_alone(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[SWITCH] = daemon.replies[STATE] = RUNNING
    started = cli("gateway", "start")
    assert started.out == "gateway  running\nport     4000 on 127.0.0.1\n"
    assert 'eval "$(p2pckpt gateway env)"' in started.err
    told = started.out + started.err + cli("gateway", "status").out + cli("gateway", "status", "--json").out
    assert "s3cret" not in told
    assert cli("gateway", "env").out == "export HF_ENDPOINT=http://127.0.0.1:4000/s3cret\n"
    assert json.loads(cli("gateway", "env", "--json").out) == {"HF_ENDPOINT": "http://127.0.0.1:4000/s3cret"}


def test_a_new_token_and_the_end_are_asked_for(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[SWITCH] = RUNNING
    assert cli("gateway", "start", "--new-token").code == 0
    assert cli("gateway", "stop").code == 0
    assert daemon.asked(*SWITCH) == [{"on": True, "new_token": True}, {"on": False, "new_token": False}]


def test_why_it_does_not_run_is_told(cli: Cli, daemon: CannedDaemon) -> None:
    for state, text in (
        (GatewayState(on=False, running=False), "gateway  off\n"),
        (GatewayState(on=True, running=False), "gateway  starting\n"),
        (GatewayState(on=True, running=False, failure="port 1 is taken"), "gateway  does not run: port 1 is taken\n"),
    ):
        daemon.replies[STATE] = state
        assert cli("gateway", "status").out == text
        outcome = cli("gateway", "env")
        assert outcome.code == 1 and outcome.out == "" and "p2pckpt gateway start" in outcome.err


def test_a_new_address_is_told(cli: Cli, daemon: CannedDaemon) -> None:
    daemon.replies[STATE] = GatewayState(on=True, running=True, port=4001, notice="port 4000 was taken")
    assert "port 4000 was taken" in cli("gateway", "status").err
    assert json.loads(cli("gateway", "status", "--json").out)["notice"] == "port 4000 was taken"
