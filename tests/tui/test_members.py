"""Members: what is shown of a share, what may be done to it by whom, and what happens when the daemon refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.widgets import Button, Checkbox, Input, Select

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.errors import NotAllowed, TrackerUnreachable
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust.identity import PublicIdentity, words
from p2pckpt.trust.identity_file import load_or_create
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.members import AccessRowScreen, MembersScreen
from p2pckpt.tui.screens.qr import QrCode, QrScreen
from tests.support import replay_feed as replay
from tests.tui.conftest import Stage, stage
from tests.unit.test_qr import read_back

MINE, THEIRS = "c1" * 16, "aa" * 16
"""A share that alice owns, and one where she may download."""
REFUSAL = NotAllowed("the tracker refused", kept="nothing was changed", next_step="ask another owner")


@pytest.fixture
def key_of_dave(tmp_path: Path) -> PublicIdentity:
    return load_or_create(tmp_path / "keys", "dave").public


async def members(st: Stage, share_id: str = MINE, **replies: Any) -> None:
    """Go to Members of a share, and wait for what the daemon says of it."""
    st.client.replies |= replies
    st.app.show_members(share_id)
    await st.until(lambda: isinstance(st.app.screen, MembersScreen) and st.app.screen.around is not None)
    await st.pilot.pause()


async def at(st: Stage, name: str) -> None:
    """Put the cursor on the row that begins with ``name``."""
    screen = st.app.screen
    assert isinstance(screen, MembersScreen)
    keys = [row.key for row in screen.table.rows]
    screen.table.move_to(next(i for i, key in enumerate(keys) if key.startswith(name)))
    await st.pilot.pause()


def offered(st: Stage) -> set[str]:
    """Actions of the screen that a key does now."""
    return {active.binding.action for active in st.app.screen.active_bindings.values() if active.enabled}


async def yes(st: Stage) -> None:
    """Agree to the question on screen."""
    await st.until(lambda: isinstance(st.app.screen, ConfirmDialog))
    st.app.screen.query_one("#yes", Button).press()
    await st.pilot.pause()


def fill(st: Stage, **fields: str) -> None:
    for name, text in fields.items():
        st.app.screen.query_one(f"#{name}", Input).value = text


async def press(st: Stage, button: str) -> None:
    st.app.screen.query_one(f"#{button}", Button).press()
    await st.pilot.pause()


# -- what is shown


async def test_members_requests_and_links_stand_in_one_list_with_the_terms_above() -> None:
    async with stage() as st:
        await members(st)
        for text in (
            "you are owner · 3 members · 1 request · 1 of 5 links open",
            "● tracker.example:7341",
            "encrypted, epoch 3 · swarms for members only (TLS) · 1 of 2 owners sign · licence to accept: apache-2.0",
            "★ alice (you)",
            "◆ bob-lab",
            "▼ carol",
        ):
            assert text in st.text
        found = [(line[2], line.split()[-1]) for line in st.lines if "link " in line[:10]]
        assert [glyph for glyph, _ in found] == ["…", "✗", "✗", "✗", "✗"]
        states = [word for word in ("open", "used up", "expired", "revoked", "burnt") if word in st.text]
        assert len(states) == 5
        await st.shows("The tracker says who asks, and it could lie")
        await at(st, f"member {replay.CAROL}")
        await st.shows("-".join(["cacacaca"] * 8))
        for text in ("words-of-carol", "accepted 20", "new keys (epoch 4)", "is revoked with them"):
            assert text in st.text


async def test_a_downloader_sees_members_and_is_offered_nothing_that_owners_decide() -> None:
    async with stage() as st:
        await members(st, THEIRS)
        assert "you are downloader · 3 members   ●" in st.text
        assert not st.client.called("requests") and not st.client.called("links")
        owners = {
            "approve",
            "sign",
            "role",
            "remove",
            "revoke",
            "deny",
            "withdraw",
            "invite",
            "new_link",
            "terms",
            "audit",
        }
        assert not offered(st) & owners
        assert {"qr", "choose"} <= offered(st)
        assert not offered(st) & {"mark", "mark_all"}, "a decision is about one row"
        await members(st, MINE)
        assert {"invite", "new_link", "terms", "audit", "approve", "deny"} <= offered(st)


async def test_a_viewer_is_not_told_who_the_members_are() -> None:
    async with stage() as st:
        theirs = replay.busy_snapshot().shares[1]
        await members(st, THEIRS, access=replay.access(theirs, role=Role.VIEWER))
        assert not st.client.called("members")
        assert "you are viewer" in st.text


async def test_nobody_is_offered_to_remove_or_demote_themselves() -> None:
    async with stage() as st:
        await members(st)
        await at(st, f"member {replay.IDENTITY}")
        assert not offered(st) & {"role", "remove"}


async def test_a_refused_answer_is_told_in_place_and_the_rows_stay_greyed() -> None:
    async with stage() as st:
        await members(st)
        st.client.failures["access"] = TrackerUnreachable("the tracker does not answer", next_step="try again later")
        st.client.play(m.AccessChanged(MINE))
        await st.shows("✗ the tracker does not answer")
        assert "Next: try again later" in st.text
        assert "✗ tracker.example:7341" in st.text
        assert "bob-lab" in st.text
        assert st.app.screen.query_one("#list").has_class("-stale")
        del st.client.failures["access"]
        st.client.play(m.AccessChanged(MINE))
        await st.shows("● tracker.example:7341")
        assert not st.app.screen.query_one("#list").has_class("-stale")


async def test_an_event_brings_the_change_and_one_about_another_share_asks_for_nothing() -> None:
    async with stage() as st:
        await members(st, requests=[])
        assert "dave" not in st.text
        asked = len(st.client.called("access"))
        st.client.play(m.AccessChanged(THEIRS))
        await st.until(lambda: st.client.played == 1 and st.app.feed._timer is None)
        await st.pilot.pause()
        assert len(st.client.called("access")) == asked
        st.client.replies["requests"] = list(replay.requests())
        st.client.play(m.AccessChanged(MINE))
        await st.shows("? dave")


async def test_the_top_bar_tells_owners_who_waits_and_a_key_goes_there() -> None:
    async with stage() as st:
        assert "waiting" not in offered(st)
        mine = replay.busy_snapshot().shares[0]
        st.client.play(m.ShareChanged(msgspec.structs.replace(mine, requests=1, proposals=1)))
        await st.until(lambda: "1 request · 1 change of keys" in st.lines[0])
        await st.press("exclamation_mark")
        await st.shows("? dave")
        st.client.play(m.ShareChanged(mine))
        await st.until(lambda: "request" not in st.lines[0])


async def test_m_in_shares_opens_the_members_of_that_share_and_c_chooses_another() -> None:
    async with stage() as st:
        await st.press("2", "j", "m")
        await st.shows("lab/llama-70b-sft · you are downloader")
        await st.press("c")
        await st.shows("Members of which share?")
        await st.press(*"zzz")
        await st.shows("Nothing fits that.")
        await st.press("enter", *["backspace"] * 3, *"whisper", "enter")
        await st.shows("whisper-de · you are publisher")
        assert "not encrypted: anyone may have it" in st.text
        await st.press("c", "down", "escape")
        await st.shows("whisper-de · you are publisher")


async def test_without_shares_the_screen_teaches() -> None:
    async with stage(replay.snapshot()) as st:
        st.app.action_go("members")
        await st.shows("No shares yet, so nobody to let in.")
        await st.press("c", "escape")


@pytest.mark.parametrize(
    ("text", "found"),
    [("kind:request", 1), ("kind:link", 5), ("state:open", 1), ("role:owner", 1), ("words-of-bob", 1), ("uses:>0", 2)],
)
async def test_the_list_can_be_filtered(text: str, found: int) -> None:
    async with stage() as st:
        await members(st)
        await st.press("slash")
        st.app.screen.query_one("#filter", Input).value = text
        screen = st.app.screen
        assert isinstance(screen, MembersScreen)
        await st.until(lambda: len(screen.table.rows) == found)


async def test_enter_shows_a_row_on_the_whole_screen_with_its_keys_until_it_is_gone() -> None:
    async with stage(size=(80, 24)) as st:
        await members(st)
        await at(st, f"member {replay.BOB}")
        await st.press("enter")
        assert isinstance(st.app.screen, AccessRowScreen)
        await st.shows("words-of-bob-lab")
        assert {"role", "remove"} <= offered(st)
        await st.press("d")
        await yes(st)
        assert st.client.called("set_member") == [(am.SetMemberRequest(MINE, replay.BOB, None),)]
        await st.until(lambda: isinstance(st.app.screen, AccessRowScreen))
        st.client.replies["members"] = [row for row in replay.members() if row.identity != replay.BOB]
        st.client.play(m.AccessChanged(MINE))
        await st.until(lambda: isinstance(st.app.screen, MembersScreen))


# -- members


async def test_removing_says_what_happens_and_no_is_at_hand() -> None:
    async with stage() as st:
        await members(st, set_member=am.MembersReply((), ("later versions are sealed with new keys (epoch 4)",)))
        await at(st, f"member {replay.CAROL}")
        await st.press("d")
        for text in ("cut within seconds", "(epoch 4)", "stays with them", "revoked with them, for everybody"):
            assert text in st.text
        assert "= p2pckpt member rm cars/flux-lora-portrait cacacacacaca" in st.text
        await st.press("enter")
        assert not st.client.called("set_member")
        await st.press("d")
        await yes(st)
        await st.toast("later versions are sealed with new keys")
        assert st.client.called("set_member") == [(am.SetMemberRequest(MINE, replay.CAROL, None),)]
        assert "▼ carol" in st.text, "a row goes when the daemon says so"


@pytest.mark.parametrize(
    ("changes", "row", "said"),
    [
        ({"swarm_tls": False}, replay.CAROL, "! Swarms are plain"),
        ({"threshold": 2}, replay.BOB, "! Their key may sign versions until 2 owners have agreed."),
        ({"visibility": Visibility.PUBLIC, "epoch": 0}, replay.CAROL, "! The share is public"),
    ],
)
async def test_the_consequences_are_those_of_this_share(changes: dict[str, Any], row: str, said: str) -> None:
    async with stage() as st:
        await members(st, access=replay.access(replay.busy_snapshot().shares[0], **changes))
        await at(st, f"member {row}")
        await st.press("d")
        await st.shows(said)


@pytest.mark.parametrize(
    ("key", "row"), [("d", "member " + replay.BOB), ("d", "link 11"), ("d", "request"), ("p", "request")]
)
async def test_a_refusal_is_told_with_what_was_kept(key: str, row: str) -> None:
    async with stage() as st:
        await members(st)
        st.client.failures |= dict.fromkeys(("set_member", "revoke_link", "decide"), REFUSAL)
        await at(st, row)
        await st.press(key)
        if key == "p":
            await st.press("enter")
        await yes(st)
        await st.toast("the tracker refused\nKept: nothing was changed\nNext: ask another owner")


async def test_another_role_is_chosen_explained_and_given() -> None:
    async with stage() as st:
        await members(st, access=replay.access(replay.busy_snapshot().shares[0], threshold=2))
        await at(st, f"member {replay.CAROL}")
        await st.press("e", *"publ", "enter")
        for text in ("downloader → publisher", "fetch, seed, publish", "! words-of-carol", "until 2 of 2 owners"):
            await st.shows(text)
        await yes(st)
        await st.until(lambda: st.client.called("set_member"))
        assert st.client.called("set_member") == [(am.SetMemberRequest(MINE, replay.CAROL, Role.PUBLISHER),)]
        await st.press("e", "enter")
        assert len(st.client.called("set_member")) == 1, "the same role is no change"


async def test_losing_the_right_to_download_is_explained_as_a_removal_is() -> None:
    async with stage() as st:
        await members(st)
        await at(st, f"member {replay.CAROL}")
        await st.press("e", *"view", "enter")
        await st.shows("cut within seconds")
        await st.press("escape")
        assert not st.client.called("set_member")


# -- requests


async def test_somebody_is_let_in_after_the_words_were_shown() -> None:
    async with stage() as st:
        await members(st)
        await at(st, "request")
        await st.press("p")
        await st.shows("Let in dave as")
        await st.press("enter")
        for text in (
            "words-of-dave",
            "it could lie",
            "Compare the words",
            "You removed them 10 d ago",
            "dave from the lab",
        ):
            await st.shows(text)
        await yes(st)
        await st.toast("They are in.")
        assert st.client.called("decide") == [(am.DecideRequest(MINE, replay.DAVE, Role.DOWNLOADER),)]


async def test_a_request_is_denied() -> None:
    async with stage() as st:
        await members(st)
        await at(st, "request")
        await st.press("d")
        await st.shows("not heard again for a day")
        await yes(st)
        await st.toast("Denied.")
        assert st.client.called("decide") == [(am.DecideRequest(MINE, replay.DAVE, None),)]


# -- links


async def test_a_link_is_revoked_and_a_dead_one_is_not() -> None:
    async with stage() as st:
        await members(st)
        await at(st, "link 44")
        assert "revoke" not in offered(st)
        await at(st, "link 11")
        await st.press("d")
        await st.shows("1 member who came by it stays.")
        await yes(st)
        await st.toast("is revoked")
        assert st.client.called("revoke_link") == [(MINE, "11" * 8)]


async def test_a_new_link_is_made_and_shown_as_a_code_beside_its_text() -> None:
    async with stage() as st:
        await members(st)
        await st.press("l")
        fill(st, expires="2w", uses="3", password="open sesame")
        st.app.screen.query_one("#role", Select).value = Role.VIEWER
        await press(st, "yes")
        await st.until(lambda: isinstance(st.app.screen, QrScreen))
        made = am.CreateLinkRequest(
            share=MINE, role=Role.VIEWER, expires_at=replay.NOW + 14 * 86400, max_uses=3, password="open sesame"
        )
        assert st.client.called("create_link") == [(made,)]
        for text in (
            "3 uses, expires in 14 d",
            "It is a secret",
            "The password by",
            "everybody on this network",
        ):
            await st.shows(text)
        await st.press("y")
        assert st.app.clipboard == f"{replay.LINK}#{'s' * 54}"
        await st.press("escape")
        assert isinstance(st.app.screen, MembersScreen)
        assert all("s" * 54 not in note.message for note in st.app._notifications), "a secret is in no notification"


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"expires": "soon"}, "Write a time such as"), ({"uses": "0"}, "Uses is a number"), ({"uses": "x"}, "Uses")],
)
async def test_a_link_that_makes_no_sense_is_not_asked_for(fields: dict[str, str], said: str) -> None:
    async with stage() as st:
        await members(st)
        await st.press("l")
        fill(st, **fields)
        await press(st, "yes")
        await st.shows(said)
        assert not st.client.called("create_link")
        await st.press("escape")


async def test_a_refused_link_leaves_the_form_as_it_was() -> None:
    async with stage() as st:
        await members(st)
        st.client.failures["create_link"] = REFUSAL
        await st.press("l", "enter")
        await st.shows("✗ the tracker refused")
        await press(st, "cancel")
        assert isinstance(st.app.screen, MembersScreen)


@pytest.mark.parametrize(("row", "link_id"), [("link 11", "11" * 8), ("link 44", ""), ("member", "")])
async def test_q_shows_an_open_link_again_and_else_the_one_that_lets_nobody_in(row: str, link_id: str) -> None:
    async with stage() as st:
        await members(st)
        await at(st, row)
        await st.press("Q")
        await st.until(lambda: isinstance(st.app.screen, QrScreen))
        assert st.client.called("link") == [(MINE, link_id)]
        await st.shows("It is a secret" if link_id else "It is no secret")
        await st.press("escape", "y")
        await st.until(lambda: len(st.client.called("link")) == 2)
        await st.toast("Link copied")
        assert st.app.clipboard.endswith(f"#{link_id}" if link_id else "&n=3")


async def test_a_link_that_cannot_be_shown_is_told() -> None:
    async with stage() as st:
        await members(st)
        st.client.failures["link"] = REFUSAL
        await st.press("Q")
        await st.toast("the tracker refused")
        await st.press("y")
        await st.until(lambda: len([n for n in st.app._notifications if "refused" in n.message]) == 2)


async def test_q_works_on_transfers_and_shares() -> None:
    async with stage() as st:
        await st.press("j", "j", "j", "Q")
        await st.shows("p2pckpt:c1c1#secret")
        assert not st.client.called("link")
        await st.press("escape", "k", "Q")
        await st.until(lambda: isinstance(st.app.screen, QrScreen))
        assert st.client.called("link") == [("5a" * 16, "")]
        await st.press("escape", "2", "Q")
        await st.shows("p2pckpt:c1c1#secret")
        await st.press("escape", "j", "Q")
        await st.until(lambda: len(st.client.called("link")) == 2)


@pytest.mark.parametrize("no_color", [False, True])
@pytest.mark.parametrize("theme", ["p2pckpt", "ansi-dark", "textual-light"])
async def test_a_code_is_whole_and_dark_on_light_in_every_theme(
    no_color: bool, theme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    async with stage(size=(80, 24)) as st:
        st.app.theme = theme
        st.app.show_qr(MINE, "cars", replay.LINK)
        await st.until(lambda: isinstance(st.app.screen, QrScreen))
        await st.pilot.pause()
        code = st.app.screen.query_one(QrCode)
        region, shown = code.region, []
        for strip in st.app.screen._compositor.render_strips()[region.y : region.bottom]:
            cut = strip.crop(region.x, region.right)
            shown.append(cut.text)
            for segment in cut:
                assert (
                    segment.style is not None and segment.style.color is not None and segment.style.bgcolor is not None
                )
                assert segment.style.color.get_truecolor() == (0, 0, 0)
                assert segment.style.bgcolor.get_truecolor() == (255, 255, 255)
        assert shown == list(code.lines)
        assert sum(map(sum, read_back(shown))) > 300


async def test_a_code_that_does_not_fit_says_what_it_needs_until_it_does() -> None:
    long = f"{replay.LINK}&pk={'b' * 52}#{'s' * 54}"
    async with stage(size=(80, 24)) as st:
        st.app.show_qr(MINE, "cars", long)
        await st.shows("make its letters smaller")
        assert not st.app.screen.query(QrCode)
        assert "p2pckpt link qr -" in st.text
        await st.press("y")
        assert st.app.clipboard == long
        await st.pilot.resize_terminal(120, 40)
        await st.until(lambda: st.app.screen.query(QrCode))
        assert "letters smaller" not in st.text


# -- by key


async def test_somebody_is_added_by_key_with_its_words_to_compare(key_of_dave: PublicIdentity) -> None:
    public = key_of_dave
    async with stage() as st:
        await members(st)
        await st.press("a")
        fill(st, key="p2pckpt-id:nonsense")
        await press(st, "yes")
        await st.shows("This is no public key")
        fill(st, key=public.text)
        await st.shows(words(public.identity))
        st.app.screen.query_one("#role", Select).value = Role.PUBLISHER
        await press(st, "yes")
        await st.until(lambda: isinstance(st.app.screen, QrScreen))
        assert st.client.called("invite") == [(am.InviteRequest(MINE, public.text, Role.PUBLISHER),)]
        await st.shows("It is no secret")


async def test_a_refused_invitation_stays_in_the_form(key_of_dave: PublicIdentity) -> None:
    async with stage() as st:
        await members(st)
        st.client.failures["invite"] = REFUSAL
        await st.press("a")
        fill(st, key=key_of_dave.text)
        await press(st, "yes")
        await st.shows("✗ the tracker refused")


# -- keys and terms


async def test_a_change_of_keys_is_shown_exactly_and_signed() -> None:
    waiting = replay.access(replay.busy_snapshot().shares[0], proposals=(replay.proposal(),))
    async with stage() as st:
        await members(st, access=waiting)
        assert "1 change of keys to sign" in st.text
        await at(st, "proposal")
        assert "withdraw" not in offered(st)
        await st.press("p")
        for text in (
            "! new owner: b0b0b0b0b0b0 (",
            "no publisher any more",
            "needs 2 signatures",
            "in force at once",
        ):
            await st.shows(text)
        assert words(bytes.fromhex(replay.BOB)) in st.text
        await yes(st)
        await st.toast("Signed, and in force.")
        assert st.client.called("sign") == [(MINE, "d1" * 32)]
        st.client.failures["sign"] = REFUSAL
        await st.press("p")
        await yes(st)
        await st.toast("the tracker refused")


async def test_ones_own_change_of_keys_is_withdrawn() -> None:
    waiting = replay.access(replay.busy_snapshot().shares[0], proposals=(replay.proposal(signed=True),))
    async with stage() as st:
        await members(st, access=waiting)
        await at(st, "proposal")
        assert "sign" not in offered(st)
        await st.press("d")
        await yes(st)
        await st.toast("Nothing of yours waits")
        assert st.client.called("withdraw") == [(MINE,)]
        st.client.failures["withdraw"] = REFUSAL
        await st.press("d")
        await yes(st)
        await st.toast("the tracker refused")


async def test_terms_are_changed_where_they_differ_and_turning_tls_off_is_explained() -> None:
    async with stage() as st:
        await members(st)
        await st.press("t")
        assert "can collect the ciphertext" not in st.text
        st.app.screen.query_one("#tls", Checkbox).value = False
        await st.shows("collect the ciphertext")
        fill(st, licence="mit", signatures="3")
        await press(st, "yes")
        await st.shows("Signing takes a number of owners from 1 to 2.")
        fill(st, signatures="2")
        await press(st, "yes")
        await st.until(lambda: isinstance(st.app.screen, MembersScreen))
        wanted = am.TermsRequest(share=MINE, swarm_tls=False, licence="mit", threshold=2)
        assert st.client.called("set_terms") == [(wanted,)]
        await st.toast("waits for another owner")
        await st.press("t")
        await press(st, "yes")
        assert len(st.client.called("set_terms")) == 1, "nothing differs"
        st.client.failures["set_terms"] = REFUSAL
        await st.press("t")
        fill(st, licence="")
        await press(st, "yes")
        await st.shows("✗ the tracker refused")
