"""Keys: who is listed, the prompt, every decision and its refusal, our own key and its backup."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Button

from p2pckpt import config
from p2pckpt.control import key_messages as km
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotAllowed
from p2pckpt.trust import identity_file
from p2pckpt.trust.known_keys import KeyState
from p2pckpt.tui.screens.backup_dialog import BackupDialog
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.keys import FactsDialog, KeysScreen
from p2pckpt.tui.screens.trust_prompt import TrustPrompt
from p2pckpt.tui.widgets.clean_input import CleanInput
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage

ROWS = {row.name: row for row in replay.key_rows()}


def names(st: Stage) -> list[str]:
    screen = st.app.screen
    assert isinstance(screen, KeysScreen)
    return [row.name for row in screen.table.rows]


async def opened(st: Stage, name: str = "") -> None:
    """The Keys screen with the cursor on somebody."""
    await st.pilot.app.run_action("app.go('keys')")
    await st.until(lambda: isinstance(st.app.screen, KeysScreen) and st.app.screen.table.rows)
    if name:
        await st.press("g", *["j"] * names(st).index(name))


async def prompted(st: Stage, name: str) -> None:
    await opened(st, name)
    await st.press("enter")
    assert isinstance(st.app.screen, TrustPrompt)


def decided(st: Stage) -> list[km.DecideKeyRequest]:
    return [request for (request,) in st.client.called("decide_key")]


def first_word(name: str) -> str:
    return ROWS[name].words.partition("-")[0]


async def test_my_own_key_comes_first_with_what_hangs_on_it() -> None:
    async with stage() as st:
        await opened(st)
        assert names(st) == ["alice", *ROWS]
        for text in (
            replay.key_info().words,
            "made 41 d ago",
            "! Owner of  cars/flux-lora-portrait, alone",
            "lab/llama-70b-sft, with 1 other key",
        ):
            assert text in st.text
        await st.press("enter")
        assert isinstance(st.app.screen, FactsDialog)
        await st.press("escape")
        for key in ("b", "f"):
            await st.press(key)
            await st.toast("This is your own key.")
        assert isinstance(st.app.screen, KeysScreen)


async def test_the_alert_leads_to_the_key_and_goes_when_it_is_decided() -> None:
    async with stage(replay.snapshot(keys_to_review=1)) as st:
        await st.shows("! 1 key to review")
        await st.press("K")
        await st.until(lambda: isinstance(st.app.screen, KeysScreen) and st.app.screen.table.cursor)
        screen = st.app.screen
        assert isinstance(screen, KeysScreen)
        await st.until(lambda: screen.table.cursor and screen.table.cursor.name == "Chen Wei")
        asked = len(st.client.called("keys"))
        st.client.replies["keys"] = [replay.key_row(0x9F, "Chen Wei", KeyState.VERIFIED)]
        st.client.play(km.KeysChanged(0))
        await st.until(lambda: names(st) == ["alice", "Chen Wei"])
        assert len(st.client.called("keys")) == asked + 1
        assert "to review" not in st.text
        await st.press("1", "K")
        await st.toast("No key is to be reviewed.")
        assert "[1 Transfers]" in st.text


async def test_the_first_word_verifies_for_one_share() -> None:
    async with stage() as st:
        await prompted(st, "Chen Wei")
        assert isinstance(st.app.screen.focused, CleanInput)
        assert "--share whisper-de" in st.static("#command")
        for text in ("A new key", ROWS["Chen Wei"].words, "signs where others signed all versions", "first word"):
            assert text in st.text
        verify = st.app.screen.query_one("#verify", Button)
        assert verify.disabled
        await st.press(*"zzz", "enter")
        await st.shows("that is not its first word")
        assert verify.disabled
        st.app.screen.query_one("#word", CleanInput).value = first_word("Chen Wei").upper()
        await st.until(lambda: not verify.disabled)
        await st.press("enter", "enter")
        await st.until(lambda: decided(st))
        assert decided(st) == [
            km.DecideKeyRequest(
                identity=ROWS["Chen Wei"].identity,
                action=km.KeyAction.VERIFY,
                share="bb" * 16,
                first_word=first_word("Chen Wei").upper(),
            )
        ]
        assert names(st) == ["alice", *ROWS]  # rows change when the daemon says so


async def test_everywhere_is_a_choice_but_not_under_a_name_that_is_taken() -> None:
    async with stage() as st:
        await prompted(st, "carol")
        await st.press("shift+tab", "down", "space")
        await st.until(lambda: "--share" not in st.static("#command"))
        await st.press("tab", *first_word("carol"), "enter", "enter")
        await st.until(lambda: decided(st))
        assert decided(st)[0].share == ""
        await prompted(st, "B0b Lab")
        for text in ("Another key under a name you know", "was verified on", ROWS["bob-lab"].words, "alone"):
            assert text in st.text
        assert "for every share" not in st.text
        assert st.app.screen.query_one(".dialog").has_class("-changed")


async def test_esc_decides_later() -> None:
    async with stage() as st:
        await prompted(st, "Chen Wei")
        await st.press("escape")
        assert isinstance(st.app.screen, KeysScreen)
        assert decided(st) == []


async def test_block_asks_once_more_from_the_prompt_and_from_the_list() -> None:
    async with stage() as st:
        await prompted(st, "Chen Wei")
        await st.pilot.click("#block")
        assert isinstance(st.app.screen, ConfirmDialog)
        await st.press("enter")  # no is at hand
        assert isinstance(st.app.screen, TrustPrompt)
        await st.pilot.click("#block")
        await st.press("tab", "enter")
        await st.until(lambda: decided(st))
        await opened(st, "carol")
        await st.press("b")
        await st.shows("Nobody is told")
        await st.press("tab", "enter")
        await st.until(lambda: len(decided(st)) == 2)
        assert [(each.identity, each.action) for each in decided(st)] == [
            (ROWS[name].identity, km.KeyAction.BLOCK) for name in ("Chen Wei", "carol")
        ]


async def test_a_block_is_forgotten_from_the_prompt_and_a_decision_from_the_list() -> None:
    async with stage() as st:
        await prompted(st, "dave")
        assert "laptop lost" in st.text
        await st.pilot.click("#forget")
        await st.until(lambda: decided(st))
        await opened(st, "bob-lab")
        await st.press("f")
        await st.shows("not verified any more")
        await st.press("escape")
        assert len(decided(st)) == 1
        await st.press("f", "tab", "enter")
        await st.until(lambda: len(decided(st)) == 2)
        assert {each.action for each in decided(st)} == {km.KeyAction.FORGET}


async def test_dismiss_takes_the_marked_keys_that_are_asked_about() -> None:
    async with stage() as st:
        await opened(st, "carol")
        await st.press("d")
        await st.toast("Nothing is asked about this key.")
        await st.press("A", "d")
        await st.until(lambda: len(decided(st)) == 2)
        assert {each.identity for each in decided(st)} == {ROWS[name].identity for name in ("Chen Wei", "B0b Lab")}
        await prompted(st, "Chen Wei")
        await st.pilot.click("#dismiss")
        await st.until(lambda: len(decided(st)) == 3)


@pytest.mark.parametrize("keys", [("b", "tab", "enter"), ("f", "tab", "enter"), ("d",)])
async def test_a_refused_decision_is_told(keys: tuple[str, ...]) -> None:
    async with stage() as st:
        st.client.failures["decide_key"] = BadUsage("the daemon says no", kept="it is as it was")
        await opened(st, "Chen Wei")
        await st.press(*keys)
        await st.toast("the daemon says no\nKept: it is as it was")


async def test_keys_that_can_t_be_asked_for_are_told_and_a_daemon_that_is_gone_leaves_the_list() -> None:
    async with stage() as st:
        st.client.failures["keys"] = NotAllowed("not for you", next_step="p2pckpt daemon logs")
        await st.pilot.app.run_action("app.go('keys')")
        await st.toast("not for you\nNext: p2pckpt daemon logs")
        del st.client.failures["keys"]
        st.client.play(km.KeysChanged(0))
        await st.until(lambda: names(st) == ["alice", *ROWS])
        st.daemon.running = False
        st.client.failures["keys"] = DaemonUnavailable("gone")
        st.client.hang_up()
        await st.shows("No daemon")
        assert names(st) == ["alice", *ROWS]
        assert st.app.screen.query_one("#list").has_class("-stale")


async def test_y_copies_my_public_text_and_others_identities() -> None:
    async with stage() as st:
        await opened(st)
        await st.press("g", "y")
        await st.toast("Your public key")
        assert st.app.clipboard == "p2pckpt-id:2.alices-text"
        await opened(st, "carol")
        await st.press("y")
        assert st.app.clipboard == f"{ROWS['carol'].identity} {ROWS['carol'].words}"


async def test_q_draws_my_public_text() -> None:
    async with stage() as st:
        await opened(st, "carol")
        await st.press("Q")
        await st.shows("Your public key")
        assert st.app.screen.query("#code")
        assert replay.key_info().words in st.text
        await st.press("escape")
        assert isinstance(st.app.screen, KeysScreen)


async def test_filters_and_order() -> None:
    async with stage() as st:
        await opened(st)
        await st.press("slash", *"state:review", "enter")
        await st.until(lambda: names(st) == ["Chen Wei", "B0b Lab"])
        await st.press("escape", "s")
        await st.until(lambda: names(st)[:3] == ["alice", "Chen Wei", "B0b Lab"])


async def test_hostile_names_and_reasons_draw_nothing_but_text() -> None:
    evil = "[@click=app.quit]x[/]\x1b]52;c;\x07\u202e\x9b31m"
    places = (km.KeyPlace("aa" * 16, evil, evil, replay.NOW, km.How.LINK, 3),)
    row = replay.key_row(0x13, evil, KeyState.BLOCKED, blocked_at=replay.NOW, reason=evil, places=places)
    clash = replay.key_row(0x14, evil, KeyState.REVIEW, namesakes=(km.Namesake("13" * 32, evil, evil, 1),))
    async with stage() as st:
        st.client.replies["keys"] = [row, clash]
        await opened(st)
        for _ in range(2):
            await st.press("j")
            assert "[@click=app.quit]x[/]" in st.text
            await st.press("enter")
            for character in ("\x1b", "\x07", "\u202e", "\x9b"):
                assert character not in st.text
            await st.press("escape")


async def test_rotate_shows_what_it_means_and_the_command() -> None:
    async with stage() as st:
        await opened(st)
        await st.press("R")
        await st.shows("= p2pckpt key rotate")
        await st.press("tab", "enter")
        await st.toast("Run it in a shell.")
        assert st.app.clipboard == "p2pckpt key rotate"


async def test_a_backup_without_a_home_names_the_command() -> None:
    async with stage() as st:
        await opened(st)
        await st.press("B")
        await st.toast("p2pckpt key backup FILE")


@pytest.mark.parametrize("passphrase", ["", "the one it has"])
async def test_a_backup_is_written_and_opens_with_its_passphrase(tmp_path: Path, passphrase: str) -> None:
    here = config.load(home=tmp_path / "home", environ={}, directory=tmp_path)
    made = identity_file.load_or_create(here.keys_dir, "alice")
    if passphrase:
        identity_file.set_passphrase(here.keys_dir, passphrase)
    async with stage(config=here, browse_from=tmp_path) as st:
        await opened(st)
        await st.press("B")
        screen = st.app.screen
        assert isinstance(screen, BackupDialog)
        fields = {"file": "there/alice.backup", "new": "orange tram", "again": "orange trap"}
        if passphrase:
            fields["present"] = "wrong"

        async def answer() -> None:
            for name, value in fields.items():
                screen.query_one(f"#{name}", CleanInput).value = value
            screen.query_one("#yes", Button).press()

        await answer()
        await st.shows("the two passphrases differ")
        fields["again"] = "orange tram"
        if passphrase:
            await answer()
            await st.shows("the passphrase does not open")
            fields["present"] = passphrase
        await answer()
        await st.until(lambda: not isinstance(st.app.screen, BackupDialog))
        await st.toast("Backup written to")
        assert "orange tram" not in st.text
        await st.press("B")
        screen = st.app.screen
        await answer()
        await st.shows("exists; it was not changed")
        await st.press("escape")
    assert identity_file.last_backup(here.keys_dir) > 0
    data = (tmp_path / "there" / "alice.backup").read_bytes()
    identity_file.restore(tmp_path / "other", data, "orange tram")
    assert identity_file.load(tmp_path / "other").hex == made.hex


async def test_a_backup_that_can_t_be_written_is_told(tmp_path: Path) -> None:
    here = config.load(home=tmp_path / "home", environ={}, directory=tmp_path)
    identity_file.load_or_create(here.keys_dir, "alice")
    (tmp_path / "file").write_text("in the way")
    async with stage(config=here, browse_from=tmp_path) as st:
        await opened(st)
        await st.press("B")
        screen = st.app.screen
        for name, value in {"file": "file/alice", "new": "x y z", "again": "x y z"}.items():
            screen.query_one(f"#{name}", CleanInput).value = value
        await st.pilot.click("#yes")
        await st.shows("cannot be written")
    assert identity_file.last_backup(here.keys_dir) == 0
