"""The tracker's client against a server that answers whatever a test wants."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.client import TrackerClient
from p2pckpt.errors import (
    BadUsage,
    Conflict,
    NotAllowed,
    NotFound,
    P2pckptError,
    TrackerUnreachable,
    UntrustedKey,
    VerificationFailed,
)
from p2pckpt.trust.identity import verify
from p2pckpt.trust.links import TrackerAddress
from tests.unit.trust.people import OWNER

INFO = tp.TrackerInfo("ab" * 16, "1", "cd" * 32, "", "open")
SHARE = "ef" * 32
Answer = tuple[int, bytes]


class Tracker:
    """Answers ``METHOD /path`` with what ``answers`` says; knows how to log people in."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[], Answer]] = {
            "GET /tracker": (200, msgspec.json.encode(INFO)),
            "POST /challenges": (200, msgspec.json.encode(tp.ChallengeReply("11" * 32))),
            "POST /tokens": self._login,
        }
        self.asked: list[str] = []
        self.tokens: list[str] = []
        self.lines: list[bytes] = []
        """The event stream, which ends behind them."""
        self.last_body = b""
        self.url = ""
        self.certificate = ""
        """SHA-256 of what it shows, hex."""
        self.lifetime = tp.TOKEN_LIFETIME

    def _login(self) -> Answer:
        request = msgspec.json.decode(self.last_body, type=tp.LoginRequest)
        identity = bytes.fromhex(request.identity)
        assert request.certificate == self.certificate
        signed = tp.login_message(INFO.tracker_id, request.challenge, self.certificate)
        assert verify(identity, bytes.fromhex(request.signature), signed)
        key = bytes.fromhex(request.receive_key)
        assert verify(identity, bytes.fromhex(request.receive_key_signature), tp.RECEIVE_KEY_CONTEXT + key)
        token = f"{tp.TOKEN_PREFIX}{len(self.tokens)}"
        self.tokens.append(token)
        return 200, msgspec.json.encode(tp.TokenReply(token, int(time.time()) + self.lifetime))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.last_body = await request.read()
        name = f"{request.method} {request.path.removeprefix(tp.API)}"
        self.asked.append(name)
        if name == "GET /events":
            return await self._events(request)
        answer = self.answers.get(name, (404, b"{}"))
        status, body = answer() if callable(answer) else answer
        if name not in ("GET /tracker", "POST /challenges", "POST /tokens"):
            expected = f"Bearer {self.tokens[-1]}" if self.tokens else ""
            if request.headers.get("Authorization") != expected:
                status, body = 401, b"{}"
        return web.Response(status=status, body=body)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in self.lines:
            await response.write(line)
        return response

    async def start(self, context: ssl.SSLContext | None = None) -> web.AppRunner:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}" if context is None else f"127.0.0.1:{port}"
        return runner


@pytest_asyncio.fixture
async def tracker() -> AsyncIterator[Tracker]:
    made = Tracker()
    runner = await made.start()
    yield made
    await runner.cleanup()


@pytest_asyncio.fixture
async def client(tracker: Tracker) -> AsyncIterator[TrackerClient]:
    made = TrackerClient(TrackerAddress((tracker.url,)), OWNER, "owner")
    yield made
    await made.close()


def dead_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# -- finding it


async def test_one_of_several_addresses_that_answers_is_enough(tracker: Tracker) -> None:
    client = TrackerClient(TrackerAddress((dead_url(), tracker.url, dead_url())), OWNER, "")
    assert await client.connect() == INFO
    await client.close()


async def test_a_tracker_that_nobody_answers_for_is_named_with_every_reason() -> None:
    client = TrackerClient(TrackerAddress((dead_url(), dead_url())), OWNER, "")
    with pytest.raises(TrackerUnreachable) as lost:
        await client.share(SHARE)
    assert all(host in lost.value.fact for host in client.address.hosts)
    assert lost.value.kept
    await client.close()


GARBAGE = [b"", b"not json", b"[]", b"{}", b'"\xff"', b'{"tracker_id": "\xff"}', b"null", b"\x00" * 5000, b"[" * 5000]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: ascii(content[:20]))
async def test_what_answers_unlike_a_tracker_is_unreachable(
    tracker: Tracker, client: TrackerClient, content: bytes
) -> None:
    tracker.answers["GET /tracker"] = (200, content)
    with pytest.raises(TrackerUnreachable):
        await client.connect()
    tracker.answers["GET /tracker"] = (503, content)
    with pytest.raises(TrackerUnreachable, match="503"):
        await client.connect()


# -- logging in


async def test_a_client_that_was_closed_asks_nobody_any_more(tracker: Tracker, client: TrackerClient) -> None:
    await client.connect()
    await client.close()
    for ask in (client.connect(), client.share(SHARE), anext(client.events())):
        with pytest.raises(TrackerUnreachable, match="is ending"):
            await ask


async def test_it_logs_in_by_itself_and_once(tracker: Tracker, client: TrackerClient) -> None:
    tracker.answers[f"GET /shares/{SHARE}/members"] = (200, b"[]")
    for _ in range(3):
        assert await client.members(SHARE) == []
    assert tracker.asked.count("POST /tokens") == 1
    assert tracker.asked[:3] == ["GET /tracker", "POST /challenges", "POST /tokens"]


async def test_a_token_that_the_tracker_forgot_is_replaced(tracker: Tracker, client: TrackerClient) -> None:
    tracker.answers[f"GET /shares/{SHARE}/members"] = (200, b"[]")
    await client.members(SHARE)
    tracker.tokens.append("another")
    assert await client.members(SHARE) == []
    assert tracker.asked.count("POST /tokens") == 2


async def test_a_token_about_to_end_is_replaced_before(tracker: Tracker, client: TrackerClient) -> None:
    tracker.answers[f"GET /shares/{SHARE}/members"] = (200, b"[]")
    tracker.lifetime = 60
    for _ in range(2):
        await client.members(SHARE)
    assert tracker.asked.count("POST /tokens") == 2


async def test_a_tracker_that_refuses_every_token_is_not_asked_for_ever(
    tracker: Tracker, client: TrackerClient
) -> None:
    tracker.answers[f"GET /shares/{SHARE}"] = (401, b"{}")
    with pytest.raises(NotAllowed):
        await client.share(SHARE)
    assert tracker.asked.count("POST /tokens") == 2


# -- answers

STATUSES: dict[int, type[P2pckptError]] = {
    400: BadUsage, 403: NotAllowed, 404: NotFound, 409: Conflict, 410: NotAllowed, 412: Conflict, 413: BadUsage,
    415: BadUsage, 418: TrackerUnreachable, 422: BadUsage, 429: TrackerUnreachable, 500: TrackerUnreachable,
    503: TrackerUnreachable,
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
async def test_each_status_is_an_error_with_what_the_tracker_says(
    tracker: Tracker, client: TrackerClient, status: int
) -> None:
    problem = tp.Problem("about:blank", "title", status, "because of this")
    tracker.answers[f"GET /shares/{SHARE}"] = (status, msgspec.json.encode(problem))
    with pytest.raises(STATUSES[status], match="because of this"):
        await client.share(SHARE)


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: ascii(content[:20]))
async def test_garbage_in_an_answer_is_an_error_of_ours(
    tracker: Tracker, client: TrackerClient, content: bytes
) -> None:
    name = f"GET /shares/{SHARE}"
    tracker.answers[name] = (200, content)
    with pytest.raises(TrackerUnreachable, match="can't be read"):
        await client.share(SHARE)
    tracker.answers[name] = (404, content)
    with pytest.raises(NotFound, match="HTTP 404"):
        await client.share(SHARE)


async def test_a_long_story_is_cut_short(tracker: Tracker, client: TrackerClient) -> None:
    problem = tp.Problem("about:blank", "title", 404, "x" * 100_000)
    tracker.answers[f"GET /shares/{SHARE}"] = (404, msgspec.json.encode(problem))
    with pytest.raises(NotFound) as refused:
        await client.share(SHARE)
    assert len(refused.value.fact) <= 300


async def test_more_bytes_than_asked_for_are_not_taken(tracker: Tracker, client: TrackerClient) -> None:
    name = f"GET /shares/{SHARE}/blobs/card/{'00' * 32}"
    tracker.answers[name] = (200, bytes(5000))
    assert await client.blob(SHARE, tp.BlobKind.CARD, "00" * 32, 5000) == bytes(5000)
    with pytest.raises(VerificationFailed, match="more than 4999 bytes"):
        await client.blob(SHARE, tp.BlobKind.CARD, "00" * 32, 4999)


async def test_metadata_is_limited_as_signed_files_are(tracker: Tracker, client: TrackerClient) -> None:
    tracker.answers[f"GET /shares/{SHARE}/metadata/1.root.json"] = (200, bytes(tp.MAX_METADATA + 1))
    with pytest.raises(VerificationFailed):
        await client.metadata(SHARE, "1.root.json")


# -- events


async def events_until_it_breaks(client: TrackerClient) -> tuple[list[tp.TrackerEvent], TrackerUnreachable]:
    seen: list[tp.TrackerEvent] = []
    try:
        async for event in client.events():
            seen.append(event)
    except TrackerUnreachable as exc:
        return seen, exc
    raise AssertionError("the stream ended without an error")


async def test_events_are_read_until_the_stream_ends(tracker: Tracker, client: TrackerClient) -> None:
    sent: list[Any] = [tp.Hello("ab"), tp.Ping(), tp.Revoked(SHARE), tp.TargetsChanged(SHARE, 7)]
    tracker.lines = [msgspec.json.encode(event) + b"\n" for event in sent]
    seen, _ = await events_until_it_breaks(client)
    assert seen == sent


async def test_events_that_come_in_pieces_are_put_together(tracker: Tracker, client: TrackerClient) -> None:
    line = msgspec.json.encode(tp.Revoked(SHARE)) + b"\n"
    tracker.lines = [line[:10], line[10:] + line[:5], line[5:]]
    assert (await events_until_it_breaks(client))[0] == [tp.Revoked(SHARE)] * 2


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n",
        b'{"type": "dance"}\n',
        b"\n",
        b'"\xff"\n',
        b'{"type": "revoked", "share_id": "\xff"}\n',
        b"x" * (1 << 20),
    ],
    ids=lambda line: ascii(line[:20]),
)
async def test_garbage_in_the_stream_breaks_it(tracker: Tracker, client: TrackerClient, line: bytes) -> None:
    tracker.lines = [msgspec.json.encode(tp.Hello("ab")) + b"\n", line]
    seen, broken = await events_until_it_breaks(client)
    assert seen == [tp.Hello("ab")]
    assert "event stream" in broken.fact


# -- its certificate


def certificate(directory: Path) -> tuple[ssl.SSLContext, bytes]:
    """A certificate that nobody vouches for, and its hash."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tracker")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (directory / "both.pem").write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")
    return context, hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).digest()


async def test_the_certificate_must_be_the_one_that_was_pinned(tmp_path: Path) -> None:
    tracker = Tracker()
    context, fingerprint = certificate(tmp_path)
    runner = await tracker.start(context)
    right = TrackerClient(TrackerAddress((tracker.url,), fingerprint), OWNER, "")
    assert await right.connect() == INFO
    tracker.certificate = fingerprint.hex()
    tracker.answers[f"GET /shares/{SHARE}/members"] = (200, b"[]")
    assert await right.members(SHARE) == [], "its hash is what a login signs"
    await right.close()
    tracker.asked.clear()
    wrong = TrackerClient(TrackerAddress((tracker.url, dead_url()), bytes(32)), OWNER, "")
    with pytest.raises(UntrustedKey, match="another certificate"):
        await wrong.share(SHARE)
    await wrong.close()
    unpinned = TrackerClient(TrackerAddress((tracker.url,)), OWNER, "")
    with pytest.raises(TrackerUnreachable):
        await unpinned.connect()
    await unpinned.close()
    assert "POST /tokens" not in tracker.asked
    await runner.cleanup()
