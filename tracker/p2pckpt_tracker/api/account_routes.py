"""The tracker itself, challenges and logins."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from sqlalchemy import Connection

from p2pckpt.tracker_protocol import (
    PROBLEM_BAD_SIGNATURE,
    TOKEN_LIFETIME,
    TOKEN_PREFIX,
    ChallengeReply,
    LoginRequest,
    TokenReply,
    TrackerInfo,
)

from .. import __version__
from ..access_rules import Token, digest, new_secret
from ..accounts import LoginRefused, check_login
from ..store import account_rows
from .call import Call, Refusal, reply


async def tracker_info(call: Call) -> web.Response:
    """Who this tracker is; a client pins the key."""
    services = call.services
    return reply(
        TrackerInfo(
            tracker_id=services.tracker_id,
            version=__version__,
            online_key=services.online_key,
            announce_url=_announce_url(call),
            new_shares="listed" if services.only_listed else "open",
        )
    )


def _announce_url(call: Call) -> str:
    """Where stock clients announce. A wildcard listener is reached by the name that this client used."""
    listen = call.services.announce_listen
    if call.services.announce_url or listen is None:
        return call.services.announce_url
    host = listen.host
    if host in ("0.0.0.0", "::"):
        host = call.request.url.host or host
    return f"http://{f'[{host}]' if ':' in host else host}:{listen.port}/announce"


async def make_challenge(call: Call) -> web.Response:
    """A nonce for one login."""
    if not call.services.newcomers.take("challenge " + call.seen.text):
        raise Refusal(429, "too many logins from this address")
    return reply(ChallengeReply(call.services.challenges.new()), 201)


async def log_in(call: Call) -> web.Response:
    """A token for whoever proves an identity; the account is made on the way."""
    services = call.services
    if services.failures.spent(call.seen.text):
        raise Refusal(429, "too many wrong logins from this address")
    login = await call.body(LoginRequest)
    fresh = services.challenges.use(login.challenge)
    try:
        certificates = await asyncio.to_thread(services.certificates.read)
    except ValueError as exc:
        raise Refusal(503, "store unavailable", "a proxy's certificate can't be read") from exc
    try:
        if not fresh:
            raise LoginRefused("the challenge is unknown, used or too old")
        check_login(login, services.tracker_id, certificates)
    except LoginRefused as refusal:
        services.failures.take(call.seen.text)
        raise Refusal(401, "login refused", str(refusal), PROBLEM_BAD_SIGNATURE) from None
    known = await services.database.read(lambda connection: account_rows.is_account(connection, login.identity))
    if not known and not services.newcomers.take("account " + call.seen.text):
        raise Refusal(429, "too many new accounts from this address")
    token = new_secret(TOKEN_PREFIX)
    expires_at = int(time.time()) + TOKEN_LIFETIME

    def save(connection: Connection) -> None:
        account_rows.save_account(connection, login)
        account_rows.save_token(connection, digest(token), login.identity, expires_at)

    await services.database.write(save)
    services.rules.tokens[digest(token)] = Token(login.identity, expires_at)
    return reply(TokenReply(token, expires_at), 201)
