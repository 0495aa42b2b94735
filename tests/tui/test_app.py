"""Connection, daemon-down, empty state, help, palette, notices: what is the same on every screen."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from textual import events
from textual.binding import Binding
from textual.screen import Screen

from p2pckpt import config
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.tui import key_map
from p2pckpt.tui.app import P2pckptApp
from p2pckpt.tui.inline import InlineApp
from p2pckpt.tui.screens.access_dialogs import InviteDialog, LinkDialog, TermsDialog
from p2pckpt.tui.screens.ask_dialog import AskDialog
from p2pckpt.tui.screens.audit import AuditScreen
from p2pckpt.tui.screens.backup_dialog import BackupDialog
from p2pckpt.tui.screens.choose import ChooseDialog
from p2pckpt.tui.screens.compare_screen import CompareScreen
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.files_dialog import FilesDialog
from p2pckpt.tui.screens.help import HelpScreen
from p2pckpt.tui.screens.job import JobScreen
from p2pckpt.tui.screens.keys import FactsDialog, KeysScreen
from p2pckpt.tui.screens.limit_dialog import LimitDialog
from p2pckpt.tui.screens.log import LogScreen, RecordDialog
from p2pckpt.tui.screens.main_screens import MAIN_SCREENS
from p2pckpt.tui.screens.members import AccessRowScreen, MembersScreen
from p2pckpt.tui.screens.peers import BansScreen, PeerScreen, PeersScreen
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.screens.qr import QrScreen
from p2pckpt.tui.screens.receive_dialog import ReceiveDialog
from p2pckpt.tui.screens.runs import RunsScreen
from p2pckpt.tui.screens.settings import SettingsScreen
from p2pckpt.tui.screens.share_detail import ShareScreen
from p2pckpt.tui.screens.share_dialog import ShareDialog
from p2pckpt.tui.screens.shares import SharesScreen
from p2pckpt.tui.screens.snippet import SnippetScreen
from p2pckpt.tui.screens.transfers import TransfersScreen
from p2pckpt.tui.screens.trust_prompt import TrustPrompt
from p2pckpt.tui.screens.version_screen import VersionScreen
from p2pckpt.tui.state import Changes, State
from p2pckpt.tui.widgets.virtual_table import VirtualTable
from tests.support import replay_feed as replay
from tests.tui.conftest import digit, stage

OWN_CLASSES = (
    P2pckptApp,
    InlineApp,
    TransfersScreen,
    SharesScreen,
    KeysScreen,
    TrustPrompt,
    FactsDialog,
    BackupDialog,
    JobScreen,
    ShareScreen,
    ShareDialog,
    MembersScreen,
    AccessRowScreen,
    AuditScreen,
    InviteDialog,
    LinkDialog,
    TermsDialog,
    AskDialog,
    ChooseDialog,
    QrScreen,
    ReceiveDialog,
    ConfirmDialog,
    PromptDialog,
    LimitDialog,
    SettingsScreen,
    HelpScreen,
    FilesDialog,
    RunsScreen,
    CompareScreen,
    SnippetScreen,
    VersionScreen,
    LogScreen,
    RecordDialog,
    PeersScreen,
    PeerScreen,
    BansScreen,
    VirtualTable,
)


def test_the_replay_plays_every_request_of_the_client() -> None:
    requests = {name for name in vars(ControlClient) if not name.startswith("_")}
    assert requests
    assert requests <= set(vars(replay.ReplayClient))


def test_every_binding_has_a_description() -> None:
    owners = {base for owner in OWN_CLASSES for base in owner.__mro__ if base.__module__.startswith("p2pckpt.")}
    bindings = [binding for owner in owners for binding in vars(owner).get("BINDINGS", ())]
    assert len(bindings) > 30
    for binding in bindings:
        assert isinstance(binding, Binding)
        assert binding.description, binding.key
        assert binding.id and binding.id.count(".") == 1, f"{binding.key} has no name for the key map"
    by_id: dict[str, set[str]] = {}
    for binding in bindings:
        by_id.setdefault(binding.id, set()).add(binding.action)
    assert {name for name, actions in by_id.items() if len(actions) > 1} == set(), "one name, one action"


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("2",),
        ("enter",),
        ("2", "enter"),
        ("n",),
        ("o",),
        ("d",),
        ("D",),
        ("question_mark",),
        (digit("peers"),),
        (digit("peers"), "B"),
        (digit("peers"), "b"),
        (digit("log"),),
        (digit("log"), "enter"),
    ],
)
async def test_every_key_that_works_somewhere_is_described(keys: tuple[str, ...]) -> None:
    async with stage() as st:
        await st.press(*keys)
        active = st.app.screen.active_bindings.values()
        assert active
        for key in active:
            assert key.binding.description, f"{type(st.app.screen).__name__}: {key.binding.key}"


async def test_a_first_connection_may_start_the_daemon_and_later_ones_may_not() -> None:
    async with stage(backoff=(0.0,)) as st:
        st.client.hang_up()
        await st.until(lambda: len(st.daemon.clients) == 2)
        assert st.daemon.starts == [True, False]


async def test_a_lost_daemon_leaves_the_lists_greyed_and_s_starts_it() -> None:
    async with stage() as st:
        st.daemon.running = False
        st.client.hang_up()
        await st.shows("No daemon: the daemon closed the event stream")
        await st.shows("lab/llama-70b-sft")
        assert "s Start daemon" in st.lines[-1]
        assert st.app.screen.query_one("#list").has_class("-stale")
        await st.press("s")
        await st.until(lambda: st.app.feed.state.connected)
        await st.until(lambda: "No daemon" not in st.text)
        assert st.daemon.starts == [True, True]
        assert not st.app.screen.query_one("#list").has_class("-stale")
        assert "s Sort" not in st.lines[-1] or "s Start" not in st.lines[-1]


async def test_r_looks_for_the_daemon_again_without_starting_it() -> None:
    async with stage(running=False) as st:
        await st.shows("No daemon: the daemon does not answer")
        await st.press("r")
        await st.until(lambda: len(st.daemon.starts) == 2)
        assert st.daemon.starts == [True, False]
        assert st.app.feed.state.down is not None


async def test_a_daemon_that_cannot_be_started_is_said_so() -> None:
    async with stage(running=False) as st:
        await st.press("s")
        await st.until(lambda: st.daemon.starts == [True, True])
        await st.shows("No daemon: the daemon does not answer")


async def test_a_request_without_a_daemon_is_an_error_message_and_no_crash() -> None:
    async with stage() as st:
        st.daemon.running = False
        st.client.hang_up()
        await st.shows("No daemon")
        await st.press("space")
        await st.toast("the daemon is not running\nNext: press s to start it")


async def test_a_reconnect_replaces_the_lists() -> None:
    async with stage() as st:
        st.daemon.snapshot = replay.snapshot((replay.job("j50", share="brand-new"),))
        st.client.hang_up()
        await st.shows("No daemon")
        await st.press("r")
        await st.shows("brand-new")
        assert "whisper-de" not in st.text


async def test_an_empty_daemon_teaches_the_first_three_actions() -> None:
    async with stage(replay.snapshot()) as st:
        await st.shows("Nothing here yet.")
        for action in ("n  Share a checkpoint folder", "o  Receive with a link", "?  See all keys"):
            assert action in st.text
        st.client.play(m.JobChanged(replay.job("j1", share="first")))
        await st.shows("first")
        assert "Nothing here yet." not in st.text


async def test_shares_teach_too_while_there_are_none() -> None:
    async with stage(replay.snapshot()) as st:
        await st.press("2")
        await st.shows("No shares yet.")


async def test_help_lists_the_keys_of_the_screen_below() -> None:
    async with stage(size=(120, 60)) as st:
        await st.press("question_mark")
        assert isinstance(st.app.screen, HelpScreen)
        for line in (
            "space  Pause",
            "= p2pckpt pause JOB",
            "v  Verify",
            "D  Remove with data",
            "?  Help",
            "state:down",
        ):
            assert line in st.text
        await st.press("escape")
        assert isinstance(st.app.screen, TransfersScreen)


@pytest.mark.parametrize("screen", ["1", "2"])
async def test_the_palette_has_every_action_of_the_screen(screen: str) -> None:
    async with stage() as st:
        await st.press(screen)
        shown: Screen[object] = st.app.screen
        offered = {command.title for command in st.app.get_system_commands(shown)}
        wanted: set[str] = set()
        for owner in (type(shown), P2pckptApp):
            for base in owner.__mro__:
                if base.__module__.startswith("p2pckpt."):
                    wanted |= {b.description for b in vars(base).get("BINDINGS", ())}
        of_a_report = {"Repair", "Export report"} if screen == "1" else set()
        of_no_daemon = {"Start daemon", "Install as a service", "Try again"}
        assert wanted - offered == of_no_daemon | {"How to quit", "Who waits"} | of_a_report


async def test_the_palette_runs_an_action() -> None:
    async with stage() as st:
        await st.press("ctrl+p")
        await st.press(*"receive")
        await st.until(lambda: "key o" in st.text)
        await st.press("enter", "enter")
        await st.until(lambda: isinstance(st.app.screen, ReceiveDialog))


async def test_notices_are_shown_once_with_their_level() -> None:
    async with stage() as st:
        st.client.play(m.Notice("warning", "the disk is nearly full"))
        await st.toast("the disk is nearly full")
        notes = [note for note in st.app._notifications if "nearly full" in note.message]
        assert [note.severity for note in notes] == ["warning"]


async def test_alerts_come_first_in_the_top_bar() -> None:
    async with stage() as st:
        assert st.lines[0].startswith(" p2pckpt  ! 1 failed")
        st.client.play(m.StatusChanged(replay.status(tracker_state="unreachable", free_bytes=1 << 20)))
        await st.until(lambda: "disk nearly full · tracker unreachable" in st.lines[0])


async def test_ten_thousand_events_reach_the_screen_in_few_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as st:
        flushes = 0
        drawn = TransfersScreen.list_rows

        def counted(screen: TransfersScreen) -> None:
            nonlocal flushes
            flushes += 1
            drawn(screen)

        monkeypatch.setattr(TransfersScreen, "list_rows", counted)
        running = replay.busy_snapshot().jobs[0]
        for rate in range(10_000):
            st.client.play(m.JobChanged(msgspec.structs.replace(running, rate_down=rate << 10)))
        await st.until(lambda: st.client.played == 10_000)
        await st.shows("9.8M")
        assert flushes < 200


async def test_the_key_map_moves_an_action_to_another_key() -> None:
    async with stage(keys={"app.receive": "f5", "job.pause": "p"}) as st:
        await st.press("o")
        assert isinstance(st.app.screen, TransfersScreen)
        await st.press("p")
        await st.until(lambda: st.client.called("pause"))
        await st.press("f5")
        await st.until(lambda: isinstance(st.app.screen, ReceiveDialog))


async def test_a_key_map_that_names_no_action_is_told_and_the_rest_of_it_works() -> None:
    async with stage(keys={"job.fly": "f", "app.help": "f1"}) as st:
        await st.toast("The key map names no action of this program: job.fly")
        await st.press("f1")
        await st.until(lambda: isinstance(st.app.screen, HelpScreen))


async def test_a_key_that_the_key_map_gives_to_two_actions_is_told() -> None:
    async with stage(keys={"job.verify": "space"}) as st:
        await st.toast("The key map gives space to job.verify and leaves job.pause without a key.")
        await st.press("space")
        await st.until(lambda: st.client.called("verify"))
        assert not st.client.called("pause")


async def test_q_leaves() -> None:
    async with stage() as st:
        await st.press("q")
        await st.until(lambda: st.app._exit)


async def test_why_a_start_failed_stays_on_screen_while_it_is_looked_for() -> None:
    async with stage(running=False, backoff=(0.0,)) as st:
        st.daemon.refusal = "port 6881 is taken"
        await st.press("s")
        await st.shows("No daemon: port 6881 is taken")
        st.daemon.refusal = "the daemon does not answer"
        seen = len(st.daemon.starts)
        await st.until(lambda: len(st.daemon.starts) > seen + 3)
        assert "port 6881 is taken" in st.text


def test_the_documentation_names_every_action_of_the_key_map() -> None:
    """``P2PCKPT_UPDATE_SNAPSHOTS=1`` writes the table anew."""
    path = Path(__file__).parents[2] / "docs" / "tui.md"
    before, head, rest = path.read_text("utf-8").partition("| name | key | action |\n|---|---|---|\n")
    lines = "".join(f"| `{name}` | `{keys}` | {text} |\n" for name, keys, text in key_map.table())
    after = "".join(line for line in rest.splitlines(keepends=True) if not line.startswith("| `"))
    if os.environ.get("P2PCKPT_UPDATE_SNAPSHOTS") == "1":
        path.write_text(before + head + lines + after, "utf-8")
    assert path.read_text("utf-8") == before + head + lines + after


def test_the_counts_of_jobs_follow_every_event() -> None:
    state, changes = State(), Changes()
    snapshot = replay.busy_snapshot()
    state.apply(snapshot, changes, 0.0)
    moves: list[m.Event] = [
        *(m.JobChanged(replay.job(f"n{n}", state=s, kind=k)) for n, s in enumerate(m.JobState) for k in m.JobKind),
        *(m.JobRemoved(job.id) for job in snapshot.jobs[::2]),
        m.JobRemoved("n1"),
        m.JobRemoved("never there"),
        m.JobChanged(replay.job("n2", state=m.JobState.DONE)),
        m.JobChanged(replay.job("n2", state=m.JobState.DONE, done=7)),
    ]
    for event in moves:
        state.apply(event, changes, 0.0)
        assert +state.job_counts == Counter((job.state, job.kind) for job in state.jobs.values())


async def test_a_click_on_a_title_goes_there_and_a_click_on_a_key_is_that_key() -> None:
    async with stage() as st:
        await st.pilot.click("NavBar", offset=(st.lines[1].index("2 Shares") + 3, 0))
        await st.shows("[2 Shares]")
        await st.pilot.click("KeyBar", offset=(st.lines[-1].index("Receive") + 1, 0))
        await st.until(lambda: isinstance(st.app.screen, ReceiveDialog))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_all_titles_fit_and_can_be_clicked(size: tuple[int, int]) -> None:
    async with stage(size=size) as st:
        for number, screen in enumerate(MAIN_SCREENS, start=1):
            at = st.lines[1].index(f"{number} {screen.title}")
            await st.pilot.click("NavBar", offset=(at + 1, 0))
            await st.shows(f"[{number} {screen.title}]")


async def test_the_end_of_a_lost_daemons_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text("level='info' event='daemon ready'\n\nlevel='error' event='no space left on the disk'\n")
    async with stage(daemon_log=log) as st:
        assert "Last in its log" not in st.text
        st.client.hang_up()
        await st.shows("Last in its log: level='error' event='no space left on the disk'")


async def test_the_daemon_is_installed_as_a_service_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pckpt.tui.app.sys.executable", "/bin/echo")
    async with stage(running=False) as st:
        await st.press("i")
        await st.shows("p2pckpt daemon install --now")
        await st.press("escape")
        assert not st.app._notifications
        await st.press("i", "tab", "enter")
        await st.toast("-m p2pckpt daemon install --now")


async def test_the_service_is_of_the_home_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "home $P2PCKPT_HOME"\n')
    script.chmod(0o700)
    monkeypatch.setattr("p2pckpt.tui.app.sys.executable", str(script))
    shown = config.load(home=tmp_path / "other", environ={}, directory=Path("/"))
    async with stage(running=False, config=shown) as st:
        await st.press("i", "tab", "enter")
        await st.toast(f"home {tmp_path / 'other'}")


async def test_keys_that_follow_the_last_one_are_nobodys() -> None:
    async with stage() as st:
        for key in ("q", "j", "q", "escape", "2"):
            st.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await st.until(lambda: st.app._exit)
