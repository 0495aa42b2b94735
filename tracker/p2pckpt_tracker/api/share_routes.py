"""Shares: listing, making, showing, and changing their signed files."""

from __future__ import annotations

from aiohttp import web

from p2pckpt.tracker_protocol import (
    MAX_JSON_BODY,
    MAX_METADATA,
    PROBLEM_BAD_SIGNATURE,
    PROBLEM_CONFLICT,
    PROBLEM_NOT_LISTED,
    CreateShare,
    PublishKeyring,
    PublishRoot,
    PublishTargets,
    Role,
    RootProposal,
    RootProposals,
    SharePage,
    ShareRecord,
)

from ..refusals import BadSignature, MetadataRefused, VersionConflict
from ..shares import ShareExists
from ..store import account_rows, share_rows
from ..store.share_rows import Share
from .call import Call, Refusal, not_found, reply

PAGE = 50
MAX_PAGE = 200
_ONE_FILE = MAX_METADATA * 4 // 3 + MAX_JSON_BODY
"""Bytes of a JSON body that carries a TUF file of the largest size in base64."""


async def list_shares(call: Call) -> web.Response:
    """A page of the shares that the caller may view."""
    query = call.request.query
    limit_text = query.get("limit", str(PAGE))
    if not limit_text.isdecimal() or not 1 <= int(limit_text[:9]) <= MAX_PAGE:
        raise Refusal(400, "limit must be a number", f"1 to {MAX_PAGE}")
    limit = int(limit_text)
    after, part = query.get("after", ""), query.get("query", "")
    if len(after) > 64 or len(part) > 200:
        raise Refusal(400, "after or query too long")
    identity = call.identity
    found = await call.services.database.read(
        lambda connection: share_rows.visible_shares(connection, identity, after, limit + 1, part)
    )
    page = [_record(call, share) for share in found[:limit]]
    return reply(SharePage(page, page[-1].share_id if len(found) > limit else None))


async def create_share(call: Call) -> web.Response:
    """A new share; on a tracker with a list, for listed identities only."""
    services = call.services
    identity = call.identity
    if services.only_listed and not await services.database.read(
        lambda connection: account_rows.is_listed(connection, identity)
    ):
        raise Refusal(403, "not listed", "this tracker makes shares for listed accounts only", PROBLEM_NOT_LISTED)
    request = await call.body(CreateShare, 3 * _ONE_FILE)
    try:
        share = await services.shares.create(call.identity, request)
    except ShareExists:
        raise Refusal(409, "share exists", "a share with this root is here already", PROBLEM_CONFLICT) from None
    except MetadataRefused as refused:
        raise _refusal(refused) from None
    return reply(_record(call, share), 201)


async def show_share(call: Call) -> web.Response:
    """One share."""
    share_id = call.share_id
    share = await call.services.database.read(lambda connection: share_rows.get_share(connection, share_id))
    if share is None:
        raise not_found()
    return reply(_record(call, share))


async def read_metadata(call: Call) -> web.StreamResponse:
    """One TUF file as it was signed; ``If-None-Match`` saves sending it again."""
    file = call.part("file")
    try:
        found = await call.services.freshness.metadata_file(call.share_id, file)
    except MetadataRefused:
        found = None
    if found is None:
        raise not_found()
    path, tag = found
    # Numbered files never change; which timestamp is current does.
    fixed = file != "timestamp.json"
    headers = {"ETag": tag, "Cache-Control": "private, max-age=86400, immutable" if fixed else "private, no-cache"}
    wanted = call.request.headers.get("If-None-Match", "")
    if tag in (each.strip() for each in wanted.split(",")):
        return web.Response(status=304, headers=headers)
    try:
        data = await call.services.freshness.read_file(path)
    except FileNotFoundError:  # an old snapshot that has been cleaned up
        raise not_found() from None
    return web.Response(body=data, content_type="application/json", headers=headers)


async def publish_targets(call: Call) -> web.Response:
    """New versions, retired ones, moved tags."""
    request = await call.body(PublishTargets, _ONE_FILE)
    try:
        taken = await call.services.shares.publish_targets(
            call.share_id, call.identity, request.targets, request.earlier
        )
    except MetadataRefused as refused:
        raise _refusal(refused) from None
    return reply(taken)


async def publish_keyring(call: Call) -> web.Response:
    """New sealed content keys."""
    request = await call.body(PublishKeyring, _ONE_FILE)
    try:
        return reply(await call.services.shares.publish_keyring(call.share_id, call.identity, request.keyring))
    except MetadataRefused as refused:
        raise _refusal(refused) from None


async def publish_root(call: Call) -> web.Response:
    """Other keys."""
    request = await call.body(PublishRoot, 3 * _ONE_FILE)
    try:
        return reply(await call.services.shares.publish_root(call.share_id, call.identity, request))
    except MetadataRefused as refused:
        raise _refusal(refused) from None


async def propose_root(call: Call) -> web.Response:
    """A next root that other owners have to sign as well."""
    request = await call.body(RootProposal, _ONE_FILE)
    try:
        await call.services.proposals.propose(call.share_id, call.identity, request.root)
    except MetadataRefused as refused:
        raise _refusal(refused) from None
    return web.Response(status=204)


async def read_proposal(call: Call) -> web.Response:
    """The next roots that wait for signatures, at most one of each owner."""
    try:
        return reply(RootProposals(await call.services.proposals.waiting(call.share_id)))
    except MetadataRefused as refused:
        raise _refusal(refused) from None


async def withdraw_proposal(call: Call) -> web.Response:
    """Take the caller's own back; one that is gone already is fine."""
    await call.services.proposals.withdraw(call.share_id, call.identity)
    return web.Response(status=204)


def _refusal(refused: MetadataRefused) -> Refusal:
    if isinstance(refused, VersionConflict):
        return Refusal(409, "not the next version", str(refused), PROBLEM_CONFLICT)
    if isinstance(refused, BadSignature):
        return Refusal(422, "signature refused", str(refused), PROBLEM_BAD_SIGNATURE)
    return Refusal(422, "signed file refused", str(refused))


def _record(call: Call, share: Share) -> ShareRecord:
    return ShareRecord(
        share_id=share.share_id,
        name=share.name,
        visibility=share.visibility,
        owner=share.owner,
        role=call.services.rules.role(share.share_id, call.identity) or Role.VIEWER,
        targets_version=share.targets_version,
        versions=share.versions,
        created_at=share.created_at,
        updated_at=share.updated_at,
        torrent_name=share.torrent_name,
        licence_due=call.services.rules.licence_due(share.share_id, call.identity),
    )
