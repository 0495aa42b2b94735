"""``peers`` against a daemon that answers from a script."""

from __future__ import annotations

import json

from p2pckpt.control import health_messages as hm
from p2pckpt.control import messages as m
from tests.support.canned_daemon import CannedDaemon, job
from tests.support.replay_feed import peers_reply
from tests.unit.cli.conftest import Cli


def test_ls_shows_who_it_is_only_where_that_is_known(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/peers"] = peers_reply()
    outcome = cli("peers", "ls")
    rows = outcome.out.splitlines()
    assert [("9f3ac21d" in row, "a member" in row, "unknown" in row) for row in rows[1:]] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert "ports 6881 and 6882, mapped to 203.0.113.5:6881; DHT and LAN discovery on, for public shares" in outcome.err


def test_ls_says_why_nobody_may_find_this_machine(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/peers"] = peers_reply(peers=(), count=0, mapped=(), dht=False, lan=False)
    assert cli("peers", "ls") == (
        0,
        "",
        "0 peers; ports 6881 and 6882, no router mapped them; DHT and LAN discovery off; 1 ban\n",
    )
    daemon.replies["GET", "/v1/peers"] = peers_reply(peers=(), count=0, mapped=(), port_mapping=False)
    assert "port mapping is off" in cli("peers", "ls").err


def test_text_of_peers_cannot_act_on_a_terminal(daemon: CannedDaemon, cli: Cli) -> None:
    row = m.PeerRow("192.0.2.1:1", "\x1b[2Jevil\nclient", 0, 0, 0, "")
    daemon.replies["GET", "/v1/peers"] = peers_reply(peers=(row,))
    outcome = cli("peers", "ls")
    assert "\x1b" not in outcome.out
    assert len(outcome.out.splitlines()) == 2


def test_a_ban_is_asked_about_first(daemon: CannedDaemon, cli: Cli) -> None:
    outcome = cli("peers", "ban", "192.0.2.44", "--no-input")
    assert (outcome.code, daemon.requests) == (2, [])
    daemon.replies["POST", "/v1/bans"] = hm.BanRow("192.0.2.44", 1_000_000, "noise")
    assert cli("peers", "ban", "192.0.2.44:6881", "-y", "--note", "noise").out == "192.0.2.44 banned\n"
    assert daemon.asked("POST", "/v1/bans") == [{"address": "192.0.2.44:6881", "note": "noise"}]


def test_bans_are_listed_and_taken_back(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/bans"] = [hm.BanRow("192.0.2.44", 1_000_000, "noise")]
    assert "192.0.2.44" in cli("peers", "bans").out
    assert cli("peers", "bans", "-q").out == "192.0.2.44\n"
    daemon.replies["DELETE", "/v1/bans?network=10.0.0.0/8"] = None
    assert json.loads(cli("peers", "unban", "10.0.0.0/8", "--json").out) == [{"network": "10.0.0.0/8", "banned": False}]
    daemon.replies["DELETE", "/v1/bans?network=10.0.0.1"] = m.Failure("not_found", "10.0.0.1 is not banned")
    assert cli("peers", "unban", "10.0.0.1").code == 5


def test_announce_goes_to_every_job_of_a_share_that_moves_bytes(daemon: CannedDaemon, cli: Cli) -> None:
    daemon.replies["GET", "/v1/jobs"] = [job(), job(id="j13", kind=m.JobKind.VERIFY)]
    daemon.replies["POST", "/v1/jobs/j12/announce"] = hm.AnnounceReply(2, 1)
    outcome = cli("peers", "announce", "cars/sd15")
    assert outcome.out == "j12 cars/sd15@v3 announced 2 torrents, 1 of them sought in DHT and LAN\n"
