"""A share's audit log."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy import Connection

from p2pckpt.tracker_protocol.audit_log import MAX_LOG_PAGE, AuditPage, AuditRow

from ..refusals import MetadataRefused
from ..store import audit
from .call import Call, Refusal, reply


async def read_log(call: Call) -> web.Response:
    """A page of rows. What happened until now is written and signed first, so that its reader can verify all of it."""
    after, limit = (_number(call, name, most) for name, most in (("after", 1 << 53), ("limit", MAX_LOG_PAGE)))
    services, share_id = call.services, call.share_id
    limit = limit or MAX_LOG_PAGE
    await services.fetches.flush()
    try:
        await services.freshness.sign_again(share_id)
    except MetadataRefused:
        raise Refusal(503, "the share's files are damaged at the tracker") from None

    def read(connection: Connection) -> list[AuditRow]:
        return audit.page(connection, share_id, after, limit + 1)

    rows = await services.database.read(read)
    return reply(AuditPage(rows[:limit], rows[limit - 1].seq if len(rows) > limit else None))


def _number(call: Call, name: str, most: int) -> int:
    text = call.request.query.get(name, "0")
    if not text.isdecimal() or len(text) > 16 or int(text) > most:
        raise Refusal(400, f"{name} must be a number", f"at most {most}")
    return int(text)
