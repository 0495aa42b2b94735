"""Grants, tokens and passes in memory."""

from __future__ import annotations

import pytest

from p2pckpt.tracker_protocol import PASS_PREFIX, TOKEN_PREFIX, Role, Visibility
from p2pckpt_tracker.access_rules import AccessRules, Pass, ShareGrants, Token, digest, new_secret, well_formed

SHARE, ANN, BOB = "aa" * 32, "01" * 32, "02" * 32
HASH = "cd" * 32


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def rules(visibility: Visibility = Visibility.MEMBERS, clock: Clock | None = None) -> AccessRules:
    made = AccessRules(clock or Clock())
    made.shares[SHARE] = ShareGrants(visibility, {ANN: Role.DOWNLOADER})
    made.add_torrents(SHARE, [HASH])
    return made


def test_nobody_may_do_anything_by_default() -> None:
    made = rules()
    for role in Role:
        assert not made.may(SHARE, BOB, role)
        assert not made.may("ee" * 32, ANN, role)
    assert made.pass_of(new_secret(PASS_PREFIX)) is None
    assert made.identity_of(new_secret(TOKEN_PREFIX)) is None


@pytest.mark.parametrize("held", Role)
@pytest.mark.parametrize("needed", Role)
def test_each_role_may_do_what_the_ones_before_it_may(held: Role, needed: Role) -> None:
    made = rules()
    made.set_role(SHARE, BOB, held)
    assert made.may(SHARE, BOB, needed) is (list(Role).index(held) >= list(Role).index(needed))


def test_a_public_share_lets_everybody_download_and_no_more() -> None:
    made = rules(Visibility.PUBLIC)
    assert made.role(SHARE, BOB) is Role.DOWNLOADER
    made.set_role(SHARE, BOB, Role.VIEWER)
    assert made.role(SHARE, BOB) is Role.DOWNLOADER
    made.set_role(SHARE, BOB, Role.OWNER)
    assert made.role(SHARE, BOB) is Role.OWNER
    assert rules(Visibility.LINK).role(SHARE, BOB) is None


def test_tokens_and_passes_end_on_time() -> None:
    clock = Clock()
    made = rules(clock=clock)
    token, announce_pass = new_secret(TOKEN_PREFIX), new_secret(PASS_PREFIX)
    made.tokens[digest(token)] = Token(ANN, 2000)
    made.passes[digest(announce_pass)] = Pass(SHARE, ANN, 2000)
    assert made.identity_of(token) == ANN
    assert made.pass_of(announce_pass) == Pass(SHARE, ANN, 2000)
    assert made.identity_of(announce_pass) is None
    assert made.pass_of(token) is None
    clock.now = 2000
    assert made.identity_of(token) is None
    assert made.pass_of(announce_pass) is None
    made.forget_expired()
    assert not made.tokens
    assert not made.passes


@pytest.mark.parametrize("change", [None, Role.VIEWER])
def test_a_pass_dies_with_the_right_to_download(change: Role | None) -> None:
    made = rules()
    announce_pass = new_secret(PASS_PREFIX)
    made.passes[digest(announce_pass)] = Pass(SHARE, ANN, 2000)
    made.set_role(SHARE, ANN, change)
    assert made.pass_of(announce_pass) is None
    made.set_role(SHARE, ANN, Role.OWNER)
    assert made.pass_of(announce_pass) is None


def test_a_torrent_is_matched_whole_or_truncated_and_not_half() -> None:
    made, whole = rules(), bytes.fromhex(HASH)
    assert made.torrent(SHARE, whole) == whole[:20]
    assert made.torrent(SHARE, whole[:20]) == whole[:20]
    assert made.torrent(SHARE, whole[:20] + bytes(12)) is None
    assert made.torrent(SHARE, whole[:24]) is None
    assert made.torrent(SHARE, bytes(20)) is None
    assert made.torrent("ee" * 32, whole) is None


@pytest.mark.parametrize("prefix", [TOKEN_PREFIX, PASS_PREFIX])
def test_a_secret_carries_a_checksum(prefix: str) -> None:
    secret = new_secret(prefix)
    assert well_formed(secret, prefix)
    assert secret != new_secret(prefix)
    flipped = secret[:10] + ("0" if secret[10] != "0" else "1") + secret[11:]
    for spoilt in (flipped, secret[:-1], secret + "0", secret.upper(), "", "é" * len(secret)):
        assert not well_formed(spoilt, prefix)


def test_member_numbers_are_stable_and_lead_back() -> None:
    made = rules()
    numbers = [made.member_number(each) for each in (ANN, BOB, ANN)]
    assert numbers == [0, 1, 0]
    assert made.identity_of_number(1) == BOB
