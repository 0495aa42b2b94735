"""One tracker, as this identity: every request of ``tracker_protocol``, errors mapped, the token renewed by itself.

The tracker's certificate is pinned by the hash that came with the link or the settings; without one the system's
authorities decide. Several addresses of a tracker are tried in order, and the one that answered is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError

from p2pckpt import __version__
from p2pckpt import tracker_protocol as tp
from p2pckpt.errors import (
    BadUsage,
    Conflict,
    LicenceNotAccepted,
    NotAllowed,
    NotFound,
    P2pckptError,
    TrackerUnreachable,
    UntrustedKey,
    VerificationFailed,
)
from p2pckpt.tracker_protocol.audit_log import AuditPage
from p2pckpt.tracker_protocol.share_peers import SharePeer
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.links import TrackerAddress

_T = TypeVar("_T")
_CONNECT: Final = 5.0
"""Seconds to reach one address of the tracker."""
_KEPT_ALIVE: Final = 5.0
"""Seconds that an idle connection is used again; trackers end them after ten, and a request must not meet that."""
_REPLY: Final = 60.0
_RENEW_BEFORE: Final = 3600
"""Seconds before its end at which a token is renewed."""


class _Response(ClientResponse):
    """Notes the certificate of its connection: small answers give the connection back before anybody could look."""

    certificate = b""

    async def start(self, connection: Connection) -> ClientResponse:
        tls = connection.transport.get_extra_info("ssl_object") if connection.transport is not None else None
        self.certificate = (tls.getpeercert(True) or b"") if tls is not None else b""
        return await super().start(connection)


class TrackerClient:
    """Requests to one tracker. Make it inside a running loop; ``close`` it."""

    def __init__(self, address: TrackerAddress, identity: Identity, name: str) -> None:
        self.address = address
        self._identity = identity
        self._name = name
        self._ssl: Any = aiohttp.Fingerprint(address.certificate) if address.certificate else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=_KEPT_ALIVE),
            headers={"User-Agent": f"p2pckpt/{__version__}"},
            timeout=aiohttp.ClientTimeout(total=_REPLY, sock_connect=_CONNECT),
            response_class=_Response,
        )
        self._base = ""
        self._token: tp.TokenReply | None = None
        self._login_lock = asyncio.Lock()
        self.info: tp.TrackerInfo | None = None

    async def close(self) -> None:
        await self._session.close()

    async def connect(self) -> tp.TrackerInfo:
        """Find an address that answers, asking all at once. Raises ``TrackerUnreachable`` with each one's reason."""
        self._require_open()
        attempts = [asyncio.create_task(self._try(url)) for url in self.address.urls]
        failures: list[P2pckptError] = []
        try:
            for attempt in asyncio.as_completed(attempts):
                try:
                    self._base, self.info = await attempt
                    return self.info
                except P2pckptError as exc:
                    failures.append(exc)
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        for failure in failures:
            if isinstance(failure, UntrustedKey):
                raise failure
        unpinned = not self.address.certificate and any("certificate" in failure.fact for failure in failures)
        raise TrackerUnreachable(
            "the tracker does not answer (" + "; ".join(failure.fact for failure in failures) + ")",
            kept="everything on this machine",
            next_step="put quotes around the whole link: a shell cuts it at '&'"
            if unpinned
            else "check that it runs and that this machine can reach it, then try again",
        )

    async def _try(self, url: str) -> tuple[str, tp.TrackerInfo]:
        try:
            async with self._session.get(f"{url}{tp.API}/tracker", ssl=self._ssl) as response:
                content = await response.read()
            if response.status != 200:
                raise TrackerUnreachable(f"{url}: HTTP {response.status}")
            return url, msgspec.json.decode(content, type=tp.TrackerInfo)
        except aiohttp.ServerFingerprintMismatch as exc:
            raise UntrustedKey(
                f"{url} shows another certificate than the link names",
                kept="nothing was sent",
                next_step="ask for a new link, by a way you trust",
            ) from exc
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError, ValueError) as exc:
            raise TrackerUnreachable(f"{url}: {_reason(exc)}") from exc

    # -- shares

    async def create_share(self, request: tp.CreateShare) -> tp.ShareRecord:
        return await self._json("POST", "/shares", tp.ShareRecord, request)

    async def share(self, share_id: str) -> tp.ShareRecord:
        return await self._json("GET", f"/shares/{share_id}", tp.ShareRecord)

    async def metadata(self, share_id: str, file: str) -> bytes:
        """One TUF file. Raises ``NotFound``."""
        return await self._raw("GET", f"/shares/{share_id}/metadata/{file}", limit=tp.MAX_METADATA)

    async def put_blob(self, share_id: str, kind: tp.BlobKind, name: str, data: bytes) -> None:
        await self._raw("PUT", f"/shares/{share_id}/blobs/{kind}/{name}", body=data)

    async def blob(self, share_id: str, kind: tp.BlobKind, name: str, limit: int) -> bytes:
        """At most ``limit`` bytes; raises ``VerificationFailed`` for more. The caller checks the hash."""
        return await self._raw("GET", f"/shares/{share_id}/blobs/{kind}/{name}", limit=limit)

    async def publish_targets(self, share_id: str, targets: bytes, earlier: int = 0) -> tp.PublishReply:
        """Raises ``Conflict`` when somebody else published first."""
        request = tp.PublishTargets(targets, earlier)
        return await self._json("POST", f"/shares/{share_id}/targets", tp.PublishReply, request)

    async def publish_keyring(self, share_id: str, keyring: bytes) -> tp.PublishReply:
        return await self._json("POST", f"/shares/{share_id}/keyring", tp.PublishReply, tp.PublishKeyring(keyring))

    async def publish_root(self, share_id: str, request: tp.PublishRoot) -> tp.PublishReply:
        return await self._json("POST", f"/shares/{share_id}/root", tp.PublishReply, request)

    async def propose_root(self, share_id: str, root: bytes) -> None:
        await self._json("PUT", f"/shares/{share_id}/proposal", None, tp.RootProposal(root))

    async def proposals(self, share_id: str) -> list[bytes]:
        """The roots that wait for signatures, at most one of each owner."""
        return (await self._json("GET", f"/shares/{share_id}/proposal", tp.RootProposals)).roots

    async def withdraw_proposal(self, share_id: str) -> None:
        """Take our own back; that of another owner stays."""
        await self._json("DELETE", f"/shares/{share_id}/proposal", None)

    # -- members and links

    async def members(self, share_id: str) -> list[tp.Member]:
        return await self._json("GET", f"/shares/{share_id}/members", list[tp.Member])

    async def share_peers(self, share_id: str) -> list[SharePeer]:
        """Which member announced which address, as far as we would be told of it."""
        return await self._json("GET", f"/shares/{share_id}/peers", list[SharePeer])

    async def set_member(self, share_id: str, identity: str, role: tp.Role | None) -> None:
        method, body = ("DELETE", None) if role is None else ("PUT", tp.SetMember(role))
        await self._json(method, f"/shares/{share_id}/members/{identity}", None, body)

    async def links(self, share_id: str) -> list[tp.LinkRecord]:
        return await self._json("GET", f"/shares/{share_id}/links", list[tp.LinkRecord])

    async def create_link(self, share_id: str, link: tp.CreateLink) -> None:
        await self._json("POST", f"/shares/{share_id}/links", None, link)

    async def rewrap_link(self, share_id: str, link_id: str, wrapped_keys: bytes) -> None:
        await self._json("PUT", f"/shares/{share_id}/links/{link_id}", None, tp.RewrapLink(wrapped_keys))

    async def revoke_link(self, share_id: str, link_id: str) -> None:
        await self._json("DELETE", f"/shares/{share_id}/links/{link_id}", None)

    async def link_info(self, link_id: str) -> tp.LinkInfo:
        return await self._json("GET", f"/links/{link_id}", tp.LinkInfo)

    async def redeem(self, link_id: str, request: tp.RedeemLink) -> tp.RedeemReply:
        return await self._json("POST", f"/links/{link_id}/redeem", tp.RedeemReply, request)

    # -- requests for access, licences, the audit log

    async def request_access(self, share_id: str, message: str) -> None:
        """Tells nothing: the answer is the same for every id."""
        await self._json("POST", f"/shares/{share_id}/requests", None, tp.RequestAccess(message))

    async def requests(self, share_id: str) -> list[tp.AccessRequest]:
        return await self._json("GET", f"/shares/{share_id}/requests", list[tp.AccessRequest])

    async def deny_request(self, share_id: str, identity: str) -> None:
        await self._json("DELETE", f"/shares/{share_id}/requests/{identity}", None)

    async def accept_licence(self, share_id: str, licence: str) -> None:
        """Sign that we accept. Raises ``Conflict`` when it is not the present licence."""
        signature = self._identity.sign(tp.ACCEPT_CONTEXT + bytes.fromhex(share_id) + licence.encode())
        body = tp.AcceptLicence(licence, signature.hex())
        await self._json("POST", f"/shares/{share_id}/acceptance", None, body)

    async def log(self, share_id: str, after: int, limit: int) -> AuditPage:
        """A page of the audit log, not judged yet."""
        return await self._json("GET", f"/shares/{share_id}/log?after={after}&limit={limit}", AuditPage)

    # -- swarms

    async def announce_pass(self, share_id: str) -> tp.PassReply:
        return await self._json("POST", f"/shares/{share_id}/pass", tp.PassReply)

    async def certificate(self, share_id: str, public_key: bytes) -> tp.CertificateReply:
        """For a P-256 key (DER). Raises ``Conflict`` for a public share."""
        return await self._json(
            "POST", f"/shares/{share_id}/certificate", tp.CertificateReply, tp.IssueCertificate(public_key)
        )

    async def announce(self, request: tp.AnnounceRequest) -> tp.AnnounceReply:
        return await self._json("POST", "/announce", tp.AnnounceReply, request)

    async def events(self) -> AsyncIterator[tp.TrackerEvent]:
        """The event stream, until it breaks: then ``TrackerUnreachable``."""
        decoder = msgspec.json.Decoder(tp.TrackerEvent)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=3 * tp.MAX_EVENT_GAP)
        token = await self._bearer()
        self._require_open()
        try:
            async with self._session.get(
                f"{self._base}{tp.API}/events",
                ssl=self._ssl,
                timeout=timeout,
                headers={"Authorization": f"Bearer {token}"},
            ) as response:
                if response.status != 200:
                    raise _problem(response.status, await response.read())
                async for line in response.content:
                    yield decoder.decode(line)
        except (aiohttp.ClientError, HttpProcessingError, OSError, msgspec.MsgspecError, ValueError) as exc:
            raise TrackerUnreachable(f"the tracker's event stream broke ({_reason(exc)})") from exc
        raise TrackerUnreachable("the tracker closed the event stream")

    # -- plumbing

    async def _bearer(self) -> str:
        async with self._login_lock:
            if self._token is None or self._token.expires_at - time.time() < _RENEW_BEFORE:
                self._token = await self._login()
            return self._token.token

    async def _login(self) -> tp.TokenReply:
        info = self.info if self._base and self.info is not None else await self.connect()
        content, certificate = await self._exchange("POST", "/challenges", None, {}, 1 << 20)
        challenge = _decode(content, tp.ChallengeReply)
        public = self._identity.public
        signed = tp.login_message(info.tracker_id, challenge.challenge, certificate)
        request = tp.LoginRequest(
            identity=self._identity.hex,
            receive_key=public.receive_key.hex(),
            receive_key_signature=public.signature.hex(),
            name=self._name[:64],
            challenge=challenge.challenge,
            signature=self._identity.sign(signed).hex(),
            certificate=certificate,
        )
        return await self._send("POST", "/tokens", tp.TokenReply, request)

    async def _json(self, method: str, path: str, reply: type[_T] | None, body: object = None) -> _T:
        content = await self._raw(method, path, body=None if body is None else msgspec.json.encode(body))
        return _decode(content, reply)

    async def _send(self, method: str, path: str, reply: type[_T], body: object = None) -> _T:
        """A request without a token."""
        data = None if body is None else msgspec.json.encode(body)
        return _decode(await self._request(method, path, data, {}, 1 << 20), reply)

    async def _raw(self, method: str, path: str, *, body: bytes | None = None, limit: int = 64 << 20) -> bytes:
        try:
            token = await self._bearer()
            return await self._request(method, path, body, {"Authorization": f"Bearer {token}"}, limit)
        except _TokenRefused:
            self._token = None  # the tracker forgot it, or it expired while we slept
            token = await self._bearer()
            return await self._request(method, path, body, {"Authorization": f"Bearer {token}"}, limit)
        except TrackerUnreachable:
            self._base = ""  # another of its addresses may answer next time
            raise

    def _require_open(self) -> None:
        """What still runs while the daemon ends gets the answer that a tracker which is gone would give."""
        if self._session.closed:
            raise TrackerUnreachable("the tracker is not asked any more: this program is ending")

    async def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str], limit: int) -> bytes:
        return (await self._exchange(method, path, body, headers, limit))[0]

    async def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], limit: int
    ) -> tuple[bytes, str]:
        """The answer, and SHA-256 (hex) of the certificate of the connection it came by; empty for plain HTTP."""
        self._require_open()
        if not self._base:
            await self.connect()
            self._require_open()
        try:
            async with self._session.request(
                method, f"{self._base}{tp.API}{path}", data=body, headers=headers, ssl=self._ssl
            ) as response:
                content = bytearray()
                async for block in response.content.iter_chunked(1 << 16):
                    content += block
                    if len(content) > limit:
                        raise VerificationFailed(f"the tracker sent more than {limit} bytes for {path}")
        except aiohttp.ServerFingerprintMismatch as exc:
            raise UntrustedKey("the tracker shows another certificate than before") from exc
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise TrackerUnreachable(
                f"the tracker does not answer ({_reason(exc)})",
                kept="everything on this machine",
                next_step="check that it runs and that this machine can reach it, then try again",
            ) from exc
        if response.status >= 400:
            raise _problem(response.status, bytes(content))
        assert isinstance(response, _Response)
        certificate = response.certificate
        return bytes(content), hashlib.sha256(certificate).hexdigest() if certificate else ""


class _TokenRefused(NotAllowed):
    """401: log in again."""


def _decode(content: bytes, reply: type[_T] | None) -> _T:
    if reply is None:
        return None  # type: ignore[return-value]
    try:
        return msgspec.json.decode(content, type=reply)
    except (msgspec.MsgspecError, ValueError) as exc:  # text that is no UTF-8 is a UnicodeDecodeError
        raise TrackerUnreachable(f"the tracker's answer can't be read: {exc}") from exc


def _problem(status: int, content: bytes) -> P2pckptError:
    try:
        problem = msgspec.json.decode(content, type=tp.Problem)
        text = (problem.detail or problem.title)[:300]
        if status == 403 and problem.type == tp.PROBLEM_LICENCE:
            return licence_due(text)
    except (msgspec.MsgspecError, ValueError):
        text = f"the tracker answered HTTP {status}"
    match status:
        case 400 | 413 | 415 | 422:
            return BadUsage(text)
        case 401:
            return _TokenRefused(text)
        case 403:
            return NotAllowed(text, next_step="ask an owner of the share")
        case 404:
            return NotFound(text)
        case 409 | 412:
            return Conflict(text)
        case 410:
            return NotAllowed(text, next_step="ask for a new link")
        case _:
            return TrackerUnreachable(f"{text} (HTTP {status})")


def licence_due(licence: str) -> LicenceNotAccepted:
    """The error for whoever has to accept a licence first."""
    return LicenceNotAccepted(
        f"the owner asks you to accept this licence first: {licence}",
        kept="you are a member, and nothing was fetched",
        next_step="p2pckpt get NAME --accept-licence",
    )


def _reason(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return str(exc.os_error.strerror or exc.os_error)
    return str(exc)[:100] or type(exc).__name__
