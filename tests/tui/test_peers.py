"""Peers: what is known of them, banning and taking it back, and what happens when the daemon refuses."""

from __future__ import annotations

from functools import partial

import msgspec
from textual.widgets import Input

from p2pckpt.control.health_messages import BanRequest
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotFound, P2pckptError
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.job import JobScreen
from p2pckpt.tui.screens.peers import BansScreen, PeerScreen, PeersScreen
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, digit, stage

PEERS = digit("peers")


def addresses(st: Stage) -> list[str]:
    screen = st.app.screen
    assert isinstance(screen, PeersScreen)
    return [peer.address for peer in screen.table.rows]


async def test_nobody_is_called_more_than_is_known() -> None:
    async with stage() as st:
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        lines = st.lines[5:8]
        assert "9f3a-c21d" in lines[0]
        assert "a member" in lines[1]
        assert "unknown" in lines[2]
        assert "The tracker says that 9f3a-c21d announced this address." in st.text
        await st.press("j")
        await st.shows("A member of the share: it showed a certificate. Nobody says which.")
        await st.press("j")
        await st.shows("Nobody says who this is.")
        assert "uTP over internet, found by dht" in st.text


async def test_the_line_above_says_how_others_find_this_machine() -> None:
    async with stage() as st:
        await st.press(PEERS)
        await st.shows("3 peers · 1 ban · ports 6881 6882 · mapped to 203.0.113.5:6881 · DHT and LAN discovery on")
        st.client.replies["peers"] = replay.peers_reply(
            peers=replay.PEERS[:1], count=1, mapped=(), dht=False, lan=False, bans=0
        )
        await st.shows("1 peer · ports 6881 6882 · not mapped · DHT and LAN discovery off")
        st.client.replies["peers"] = replay.peers_reply(mapped=(), port_mapping=False, count=9000)
        await st.shows("9,000 peers · the busiest 3 listed · 1 ban · ports 6881 6882 · mapping off")


async def test_filter_and_sort() -> None:
    async with stage() as st:
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        await st.press("slash")
        box = st.app.screen.query_one("#filter", Input)
        for text, found in (
            ("who:unknown", ["[2001:db8::7]:6881"]),
            ("share:lab", ["10.4.0.17:6881", "198.51.100.7:51413"]),
            ("via:lan", ["10.4.0.17:6881"]),
            ("found:dht", ["[2001:db8::7]:6881"]),
            ("flag:t up:>0", ["198.51.100.7:51413"]),
            ("qbittorrent", ["[2001:db8::7]:6881"]),
        ):
            box.value = text
            await st.until(partial(_lists, st, found))
        await st.press("escape", "s", "s")
        assert "sort: Who" in st.static("#summary")


def _lists(st: Stage, found: list[str]) -> bool:
    return addresses(st) == found


async def test_b_bans_after_a_question_that_says_what_it_means() -> None:
    async with stage() as st:
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        await st.press("b")
        assert isinstance(st.app.screen, ConfirmDialog)
        for text in (
            "10.4.0.17: 1 connection end at once",
            "! 1 seed among them",
            "It holds for everybody behind the address",
            "= p2pckpt peers ban 10.4.0.17",
        ):
            assert text in st.text
        await st.press("escape")
        assert not st.client.called("ban")
        await st.press("b", "right", "enter")
        await st.toast("10.4.0.17 is banned")
        assert st.client.called("ban") == [(BanRequest("10.4.0.17"),)]


async def test_a_ban_that_is_refused_is_told() -> None:
    async with stage() as st:
        st.client.failures["ban"] = BadUsage("there are 10,000 bans already", next_step="p2pckpt peers unban ADDRESS")
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        await st.press("A", "b")
        assert "p2pckpt peers ban 10.4.0.17 198.51.100.7 2001:db8::7" in st.text
        await st.press("right", "enter")
        await st.toast("there are 10,000 bans already\nNext: p2pckpt peers unban ADDRESS")
        assert len(st.client.called("ban")) == 3


async def test_bans_are_listed_and_taken_back() -> None:
    async with stage() as st:
        await st.press(PEERS, "B")
        assert isinstance(st.app.screen, BansScreen)
        await st.shows("sent nonsense")
        assert "1 address banned" in st.text
        st.client.replies["bans"] = []
        await st.press("u")
        await st.shows("Nobody is banned.")
        assert st.client.called("unban") == [("192.0.2.44",)]
        await st.press("escape")
        assert isinstance(st.app.screen, PeersScreen)


async def test_a_ban_that_cannot_be_taken_back_is_told() -> None:
    async with stage() as st:
        st.client.failures["unban"] = NotFound("192.0.2.44 is not banned")
        await st.press(PEERS, "B")
        await st.shows("sent nonsense")
        await st.press("u")
        await st.toast("192.0.2.44 is not banned")


async def test_enter_shows_the_peer_and_goes_on_to_its_transfer() -> None:
    async with stage(size=(80, 24)) as st:
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        await st.press("enter")
        assert isinstance(st.app.screen, PeerScreen)
        await st.shows("In lab/llama-70b-sft, whisper-de")
        await st.press("enter")
        assert isinstance(st.app.screen, JobScreen)
        await st.press("escape", "escape")
        assert isinstance(st.app.screen, PeersScreen)


async def test_a_peer_whose_transfers_are_gone_leads_nowhere() -> None:
    async with stage() as st:
        st.client.replies["peers"] = replay.peers_reply(
            peers=(msgspec.structs.replace(replay.PEERS[0], jobs=("j99",)),)
        )
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        await st.press("enter", "enter")
        await st.toast("None of its transfers is here any more.")


async def test_nobody_connected_teaches_what_to_do() -> None:
    async with stage() as st:
        st.client.replies["peers"] = replay.peers_reply(peers=(), count=0)
        await st.press(PEERS)
        await st.shows("Nobody is connected right now.")


async def test_peers_that_are_refused_are_told_once() -> None:
    async with stage() as st:
        st.client.failures["peers"] = P2pckptError("the engine does not answer")
        await st.press(PEERS)
        await st.toast("the engine does not answer")


async def test_without_a_daemon_the_list_stays_and_nothing_is_asked() -> None:
    async with stage() as st:
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        st.client.hang_up()
        await st.shows("No daemon")
        assert addresses(st)[0] == "10.4.0.17:6881"
        st.client.failures["peers"] = DaemonUnavailable("gone")
        asked = len(st.client.called("peers"))
        await st.press("b")
        assert isinstance(st.app.screen, PeersScreen)
        assert len(st.client.called("peers")) == asked


async def test_hostile_text_of_peers_draws_nothing() -> None:
    async with stage() as st:
        evil = msgspec.structs.replace(
            replay.PEERS[0], client="\x1b]0;pwned\x07[red]x[/red]\n\x1b[2J", shares=("[b]bold[/b]\x1b[1m",)
        )
        st.client.replies["peers"] = replay.peers_reply(peers=(evil,), count=1)
        await st.press(PEERS)
        await st.shows("10.4.0.17:6881")
        assert "\x1b" not in st.text
        assert "[red]x[/red]" in st.text
        await st.press("b")
        assert "\x1b" not in st.text


async def test_r_announces_a_transfer_again() -> None:
    async with stage() as st:
        await st.press("r")
        await st.toast("Announced 1 torrent.")
        assert st.client.called("announce") == [("j1",)]
        await st.press("j", "j", "r")
        await st.toast("A verify is announced nowhere.")


async def test_an_announce_that_is_refused_is_told() -> None:
    async with stage() as st:
        st.client.failures["announce"] = BadUsage("j1 is paused and in no swarm", next_step="p2pckpt resume j1")
        await st.press("r")
        await st.toast("j1 is paused and in no swarm\nNext: p2pckpt resume j1")


async def test_the_peers_of_a_job_are_told_with_the_same_columns() -> None:
    async with stage() as st:
        await st.shows("copies 333")
        assert "2.41 copies among 2 connected peers · 51G of 139G reused from this disk" in st.text
        await st.press("right_square_bracket")
        await st.shows("9f3a-c21d")
        assert "a member" in st.text
