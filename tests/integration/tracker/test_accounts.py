"""Logging in."""

from __future__ import annotations

import secrets

import pytest

from p2pckpt.tracker_protocol import PROBLEM_BAD_SIGNATURE, TOKEN_PREFIX, login_message

from .conftest import Login


async def test_a_login_gives_a_token_that_works(person: Login) -> None:
    someone = await person()
    assert someone.token.startswith(TOKEN_PREFIX)
    assert (await someone.good("GET", "/shares")) == {"shares": [], "next": None}


async def test_a_challenge_works_once(person: Login) -> None:
    someone = await person()
    body = await someone.login_body()
    assert (await someone.call("POST", "/tokens", body)).status == 201
    again = await someone.call("POST", "/tokens", body)
    assert (again.status, again.json()["type"]) == (401, PROBLEM_BAD_SIGNATURE)
    assert again.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("identity", "ab" * 32),
        ("identity", "AB" * 32),
        ("receive_key", "cd" * 32),
        ("receive_key", "short"),
        ("signature", "00" * 64),
        ("receive_key_signature", "00" * 64),
        ("challenge", "ef" * 32),
        ("name", "x" * 65),
        ("name", "red \x1b[31m"),
    ],
)
async def test_a_spoilt_login_is_refused(person: Login, field: str, value: str) -> None:
    someone = await person()
    body = await someone.login_body() | {field: value}
    assert (await someone.call("POST", "/tokens", body)).status == 401


async def test_a_login_signed_for_another_tracker_is_refused(person: Login) -> None:
    someone = await person()
    body = await someone.login_body()
    signed = login_message(secrets.token_hex(16), body["challenge"], "")
    body["signature"] = someone.key.sign(signed).hex()
    assert (await someone.call("POST", "/tokens", body)).status == 401


async def test_guessing_is_slowed_down_for_that_address_only(person: Login) -> None:
    guesser, other = await person("203.0.113.7"), await person("203.0.113.8")
    statuses = set()
    for _ in range(40):
        body = await other.login_body() | {"signature": "00" * 64}
        statuses.add((await guesser.call("POST", "/tokens", body)).status)
    assert statuses == {401, 429}
    await other.login()


@pytest.mark.parametrize("token", ["", "p2pt_", "p2pt_" + "0" * 72, "x" * 77, "é"])
async def test_a_token_that_was_never_issued_is_refused(person: Login, token: str) -> None:
    someone = await person()
    someone.token = ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = await someone.call("GET", "/shares", headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_body_that_is_no_login_is_refused(person: Login) -> None:
    someone = await person()
    for body in (b"", b"{", b"[]", b"[" * 100_000, b'{"identity": 5}', b"\xff"):
        assert (await someone.call("POST", "/tokens", body)).status == 400
    assert (await someone.call("POST", "/tokens", b" " * ((1 << 20) + 1))).status == 413
