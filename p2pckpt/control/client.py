"""The daemon's client: one method a request, errors as the exceptions they were on the other side.

``ControlClient`` talks to a running daemon; ``connect`` starts one when none answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from p2pckpt.config import Config
from p2pckpt.control import access_messages as am
from p2pckpt.control import gateway_messages as gm
from p2pckpt.control import health_messages as hm
from p2pckpt.control import key_messages as km
from p2pckpt.control import messages as m
from p2pckpt.control import pin_messages as pn
from p2pckpt.control import publish_messages as pm
from p2pckpt.control import read_messages as rd
from p2pckpt.control import run_messages as rm
from p2pckpt.control import settings_messages as sm
from p2pckpt.errors import DaemonUnavailable, P2pckptError, by_code

_T = TypeVar("_T")
PASSPHRASE_STDIN: Final = "--passphrase-stdin"  # noqa: S105 - the name of an option
"""The daemon's one argument: the identity's passphrase comes through a pipe on stdin."""
_START_DEADLINE = 20.0
"""Seconds a daemon gets to answer after it was started."""
_CONTACT = 60.0
"""Seconds that finding out what a name stands for may take, besides waiting for bytes."""
_MAX_LINE = 64 << 20
"""Bytes of one line of the event stream: a snapshot of a large daemon is one line."""


class ControlClient:
    """Requests to the daemon behind ``socket_path``. Use as an async context manager."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ControlClient:
        connector = aiohttp.UnixConnector(path=str(self._socket_path))
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=1 << 20)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # -- daemon

    async def status(self) -> m.DaemonStatus:
        return await self._call("GET", "/v1/status", m.DaemonStatus)

    async def stop(self) -> None:
        await self._call("POST", "/v1/stop", None)

    async def events(self) -> AsyncIterator[m.Event]:
        """The event stream; the first event is a ``Snapshot``. Ends with ``DaemonUnavailable``."""
        async with contextlib.aclosing(self._lines("/v1/events", m.Event)) as events:
            async for event in events:
                yield event

    async def daemon_log(self, since: int = 0, level: str = "", limit: int = 1000) -> list[hm.LogRecord]:
        """The newest records of the log after number ``since`` that weigh at least ``level``, oldest first."""
        path = f"/v1/log?since={since}&level={quote(level, safe='')}&limit={limit}"
        return await self._call("GET", path, list[hm.LogRecord])

    async def follow_log(self, since: int = 0, level: str = "") -> AsyncIterator[hm.LogRecord]:
        """Those, and then new ones as they come. Ends with ``DaemonUnavailable``."""
        path = f"/v1/log/follow?since={since}&level={quote(level, safe='')}"
        async with contextlib.aclosing(self._lines(path, hm.LogRecord)) as records:
            async for record in records:
                yield record

    # -- jobs

    async def publish(self, request: pm.PublishRequest) -> m.Job:
        return await self._call("POST", "/v1/publish", m.Job, request)

    async def publish_plan(self, request: pm.PublishRequest) -> pm.PublishPlan:
        return await self._call("POST", "/v1/publish/plan", pm.PublishPlan, request)

    async def look(self, request: pm.LookRequest) -> pm.FolderReport:
        return await self._call("POST", "/v1/publish/look", pm.FolderReport, request)

    async def fetch(self, request: m.FetchRequest) -> m.Job:
        return await self._call("POST", "/v1/fetch", m.Job, request)

    async def fetch_plan(self, request: m.FetchRequest) -> m.FetchPreview:
        return await self._call("POST", "/v1/fetch/plan", m.FetchPreview, request)

    async def verify(self, request: m.VerifyRequest) -> m.Job:
        return await self._call("POST", "/v1/verify", m.Job, request)

    # -- training runs

    async def runs(self) -> list[rm.RunRow]:
        return await self._call("GET", "/v1/runs", list[rm.RunRow])

    async def run_detail(self, name: str) -> rm.RunDetail:
        return await self._call("GET", f"/v1/runs/{quote(name, safe='')}", rm.RunDetail)

    async def watch_run(self, request: rm.WatchRequest) -> rm.RunRow:
        """Publish every save in a directory from now on, or change how that is done."""
        return await self._call("POST", "/v1/runs", rm.RunRow, request)

    async def unwatch_run(self, name: str) -> rm.RunRow:
        """Look at a run's directory no more; its versions stay."""
        return await self._call("DELETE", f"/v1/runs/{quote(name, safe='')}", rm.RunRow)

    async def flush_run(self, name: str) -> rm.RunDetail:
        """Wait until every save of a run is published or refused."""
        return await self._call("POST", f"/v1/runs/{quote(name, safe='')}/flush", rm.RunDetail)

    async def save(self, request: rm.SaveRequest) -> rm.SaveRow:
        """Hand over a finished save; it may be deleted once this returns, and is published afterwards."""
        return await self._call("POST", "/v1/saves", rm.SaveRow, request)

    async def restore(self, request: rm.RestoreRequest) -> m.Job:
        """Put the newest version that verifies on the disk; ``restored`` of the job that ended says which."""
        return await self._call("POST", "/v1/restore", m.Job, request)

    # -- jobs, every kind

    async def jobs(self) -> list[m.Job]:
        return await self._call("GET", "/v1/jobs", list[m.Job])

    async def job(self, job_id: str) -> m.Job:
        return await self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}", m.Job)

    async def job_detail(self, job_id: str) -> m.JobDetail:
        return await self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}/detail", m.JobDetail)

    async def pause(self, job_id: str) -> m.Job:
        return await self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/pause", m.Job)

    async def resume(self, job_id: str) -> m.Job:
        return await self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/resume", m.Job)

    async def limit_job(self, job_id: str, request: sm.JobLimitRequest) -> m.Job:
        return await self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/limit", m.Job, request)

    async def remove(self, job_id: str, *, data: bool = False) -> None:
        """Forget a job; with ``data`` also drop its objects that nothing else needs. A checkout is never touched."""
        await self._call("DELETE", f"/v1/jobs/{quote(job_id, safe='')}?data={int(data)}", None)

    async def verify_report(self, job_id: str) -> hm.VerifyReport:
        """What a verify found, or the last verify of the version that ``job_id`` is about."""
        return await self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}/report", hm.VerifyReport)

    async def announce(self, job_id: str) -> hm.AnnounceReply:
        """Tell the tracker of a job's torrents now, and look for peers of public ones elsewhere, too."""
        return await self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/announce", hm.AnnounceReply)

    # -- peers

    async def peers(self) -> hm.PeersReply:
        return await self._call("GET", "/v1/peers", hm.PeersReply)

    async def bans(self) -> list[hm.BanRow]:
        return await self._call("GET", "/v1/bans", list[hm.BanRow])

    async def ban(self, request: hm.BanRequest) -> hm.BanRow:
        return await self._call("POST", "/v1/bans", hm.BanRow, request)

    async def unban(self, network: str) -> None:
        """Take a ban back; ``network`` as ``bans`` gives it."""
        await self._call("DELETE", f"/v1/bans?network={quote(network, safe='')}", None)

    # -- shares

    async def shares(self) -> list[m.ShareRow]:
        return await self._call("GET", "/v1/shares", list[m.ShareRow])

    async def share_detail(self, name: str) -> m.ShareDetail:
        return await self._call("GET", f"/v1/shares/{quote(name, safe='')}", m.ShareDetail)

    async def version_detail(self, name: str) -> m.VersionDetail:
        """``name`` is NAME[@VERSION|@TAG]."""
        return await self._call("GET", f"/v1/versions/{quote(name, safe='')}", m.VersionDetail)

    async def drop_version(self, name: str) -> am.Freed:
        """Delete what a version has here and nothing else needs; its jobs end. No checkout is touched."""
        return await self._call("DELETE", f"/v1/versions/{quote(name, safe='')}", am.Freed)

    async def manifest(self, name: str) -> dict[str, Any]:
        """The whole manifest as JSON, chunk table included."""
        return await self._call("GET", f"/v1/versions/{quote(name, safe='')}/manifest", dict[str, Any])

    async def diff(self, a: str, b: str) -> m.DiffReply:
        return await self._call("GET", f"/v1/diff?a={quote(a, safe='')}&b={quote(b, safe='')}", m.DiffReply)

    async def contents(self, name: str) -> rd.Contents:
        """What is in a version; ``name`` is NAME[@VERSION|@TAG], the id of a share, or a link. Fetches no content."""
        return await self._call("GET", f"/v1/contents/{quote(name, safe='')}", rd.Contents)

    async def read(
        self,
        name: str,
        path: str,
        start: int = 0,
        end: int | None = None,
        *,
        patience: float = 60.0,
        ahead: int = 0,
        allow_unsafe_pickle: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Bytes ``[start, end)`` of a file of a version, verified, fetched from the swarm if they are not here.

        See ``ReadRequest``. Close what is not read to its end (``contextlib.aclosing``): the daemon goes on for nobody.
        Raises ``NotFound``, ``BadUsage``, ``NotAllowed``, ``UnsafeContent``, ``NoSeeds``, ``VerificationFailed`` and
        others; ``DaemonUnavailable`` when it breaks off later.
        """
        wanted = rd.ReadRequest(name, path, start, end, patience, ahead, allow_unsafe_pickle)
        query = {key: str(value) for key, value in msgspec.structs.asdict(wanted).items() if value is not None}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=patience + _CONTACT if patience else None)
        assert self._session is not None
        try:
            async with self._session.get("http://daemon/v1/bytes", params=query, timeout=timeout) as response:
                if response.status != 200:
                    raise _failure(await response.read())
                async for block in response.content.iter_any():
                    yield block
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise _gone(exc) from exc

    async def read_all(self, name: str, path: str, start: int = 0, end: int | None = None, **options: Any) -> bytes:
        """As ``read``, all of it at once."""
        async with contextlib.aclosing(self.read(name, path, start, end, **options)) as blocks:
            return b"".join([block async for block in blocks])

    async def tag(self, request: m.TagRequest) -> m.ShareDetail:
        return await self._call("POST", "/v1/tags", m.ShareDetail, request)

    async def pins(self) -> list[pn.PinRow]:
        """Versions that stay on this machine, the last one pinned first."""
        return await self._call("GET", "/v1/pins", list[pn.PinRow])

    async def pin(self, request: pn.PinRequest) -> pn.PinRow:
        """Keep a version that is whole here, or let it go again."""
        return await self._call("POST", "/v1/pins", pn.PinRow, request)

    async def prune(self, request: rm.PruneRequest) -> rm.PruneReply:
        """Retire the versions of a run that a policy does not keep, or only tell which."""
        return await self._call("POST", "/v1/prune", rm.PruneReply, request)

    async def undo_prune(self, name: str) -> rm.PruneReply:
        """Offer again what was retired here and is still to be had; the rows are those versions."""
        return await self._call("POST", f"/v1/prune/undo?name={quote(name, safe='')}", rm.PruneReply)

    async def leave_plan(self, share: str) -> am.LeavePlan:
        """What leaving a share would mean."""
        return await self._call("GET", f"/v1/leave?share={quote(share, safe='')}", am.LeavePlan)

    async def leave(self, share: str, *, unpin: bool = False) -> am.LeaveReply:
        """Forget a share, end its jobs and delete its data, pinned versions only with ``unpin``. No checkout and no
        published folder is touched."""
        path = f"/v1/leave?share={quote(share, safe='')}" + ("&unpin=1" if unpin else "")
        return await self._call("POST", path, am.LeaveReply)

    async def members(self, share: str) -> list[am.MemberRow]:
        return await self._call("GET", f"/v1/members?share={quote(share, safe='')}", list[am.MemberRow])

    async def set_member(self, request: am.SetMemberRequest) -> am.MembersReply:
        return await self._call("POST", "/v1/members", am.MembersReply, request)

    async def access(self, share: str) -> am.Access:
        return await self._call("GET", f"/v1/access?share={quote(share, safe='')}", am.Access)

    async def set_terms(self, request: am.TermsRequest) -> am.Access:
        return await self._call("POST", "/v1/access", am.Access, request)

    async def sign(self, share: str, digest: str) -> am.SignReply:
        """Sign the change of keys that waits at a share, if it is the one that ``digest`` names."""
        path = f"/v1/access/sign?share={quote(share, safe='')}&digest={quote(digest, safe='')}"
        return await self._call("POST", path, am.SignReply)

    async def withdraw(self, share: str) -> None:
        """Take that change back."""
        await self._call("POST", f"/v1/access/withdraw?share={quote(share, safe='')}", None)

    async def ask(self, request: am.AskRequest) -> am.AskReply:
        return await self._call("POST", "/v1/asks", am.AskReply, request)

    async def requests(self, share: str) -> list[am.RequestRow]:
        return await self._call("GET", f"/v1/requests?share={quote(share, safe='')}", list[am.RequestRow])

    async def decide(self, request: am.DecideRequest) -> None:
        await self._call("POST", "/v1/requests", None, request)

    async def invite(self, request: am.InviteRequest) -> am.InviteReply:
        return await self._call("POST", "/v1/invites", am.InviteReply, request)

    async def log(self, request: am.LogRequest) -> am.LogReply:
        return await self._call("POST", "/v1/log", am.LogReply, request)

    async def links(self, share: str) -> list[am.LinkRow]:
        return await self._call("GET", f"/v1/links?share={quote(share, safe='')}", list[am.LinkRow])

    async def create_link(self, request: am.CreateLinkRequest) -> am.LinkReply:
        return await self._call("POST", "/v1/links", am.LinkReply, request)

    async def link(self, share: str, link_id: str = "") -> am.LinkReply:
        """A link made before, secret and all, for owners; without ``link_id`` one that lets nobody in."""
        path = f"/v1/link?share={quote(share, safe='')}&id={quote(link_id, safe='')}"
        return await self._call("GET", path, am.LinkReply)

    async def revoke_link(self, share: str, link_id: str) -> None:
        await self._call("DELETE", f"/v1/links/{quote(link_id, safe='')}?share={quote(share, safe='')}", None)

    async def key(self) -> m.KeyInfo:
        return await self._call("GET", "/v1/key", m.KeyInfo)

    # -- settings and limits

    async def settings(self) -> sm.Settings:
        return await self._call("GET", "/v1/settings", sm.Settings)

    async def set_setting(self, request: sm.SetRequest) -> sm.SettingRow:
        return await self._call("POST", "/v1/settings", sm.SettingRow, request)

    async def reload_settings(self) -> sm.Settings:
        """Have the daemon read files again that somebody else has written."""
        return await self._call("POST", "/v1/settings/reload", sm.Settings)

    async def gateway(self) -> gm.GatewayState:
        return await self._call("GET", "/v1/gateway", gm.GatewayState)

    async def set_gateway(self, request: gm.GatewayRequest) -> gm.GatewayState:
        return await self._call("POST", "/v1/gateway", gm.GatewayState, request)

    async def limits(self) -> sm.Limits:
        return await self._call("GET", "/v1/limits", sm.Limits)

    async def turtle(self, request: sm.TurtleRequest) -> sm.Limits:
        return await self._call("POST", "/v1/limits/turtle", sm.Limits, request)

    async def keys(self) -> list[km.KeyRow]:
        """Everybody else whose key is known, by the time they were first seen."""
        return await self._call("GET", "/v1/keys", list[km.KeyRow])

    async def decide_key(self, request: km.DecideKeyRequest) -> list[km.KeyRow]:
        return await self._call("POST", "/v1/keys", list[km.KeyRow], request)

    # -- plumbing

    async def _lines(self, path: str, kind: Any) -> AsyncGenerator[Any, None]:
        """A stream of JSON objects, one a line. Ends with ``DaemonUnavailable``."""
        decoder = msgspec.json.Decoder(kind)
        assert self._session is not None
        try:
            timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
            async with self._session.get(f"http://daemon{path}", timeout=timeout) as response:
                if response.status != 200:
                    raise _failure(await response.read())
                buffered = bytearray()
                async for block in response.content.iter_any():
                    whole, newline, rest = block.rpartition(b"\n")
                    if newline:
                        buffered += whole
                        lines, buffered = buffered.split(b"\n"), bytearray()
                        for line in lines:
                            if line:
                                yield decoder.decode(line)
                    buffered += rest
                    if len(buffered) > _MAX_LINE:
                        raise DaemonUnavailable("the daemon sent an event of more than 64 MiB")
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError, ValueError) as exc:
            raise _gone(exc) from exc
        raise DaemonUnavailable("the daemon closed the event stream", next_step="p2pckpt daemon start")

    async def _call(self, method: str, path: str, reply: type[_T] | None, body: object = None) -> _T:
        assert self._session is not None
        data = None if body is None else msgspec.json.encode(body)
        try:
            timeout = aiohttp.ClientTimeout(total=300)
            async with self._session.request(method, f"http://daemon{path}", data=data, timeout=timeout) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise _gone(exc) from exc
        if response.status >= 400:
            raise _failure(content)
        if reply is None:
            return None  # type: ignore[return-value]
        try:
            return msgspec.json.decode(content, type=reply)
        except (msgspec.MsgspecError, ValueError) as exc:
            raise DaemonUnavailable(
                "the daemon is of another version than this program",
                kept="its transfers",
                next_step="p2pckpt daemon stop, then try again",
            ) from exc


def error_of(failure: m.Failure) -> P2pckptError:
    """The exception that a ``Failure`` stands for."""
    return by_code(failure.code)(failure.fact, kept=failure.kept, next_step=failure.next_step)


def failure_of(error: P2pckptError) -> m.Failure:
    """What of an exception crosses the socket."""
    return m.Failure(code=error.code, fact=error.fact, kept=error.kept, next_step=error.next_step)


async def connect(config: Config, *, start: bool = True, passphrase: Callable[[], str] | None = None) -> ControlClient:
    """A client of this home's daemon, to be closed by the caller; the daemon is started if none answers and ``start``.

    ``passphrase`` is asked for what the new daemon opens its identity with; empty for nothing.
    Raises ``DaemonUnavailable`` with the last lines of its log when it does not come up in 20 s.
    """
    client = ControlClient(config.socket_path)
    await client.__aenter__()
    try:
        await client.status()
    except DaemonUnavailable:
        if not start:
            await client.close()
            raise
        try:
            await _start(config, client, passphrase() if passphrase is not None else "")
        except BaseException:
            await client.close()
            raise
    return client


async def _start(config: Config, client: ControlClient, passphrase: str) -> None:
    config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = config.daemon_log
    with log.open("ab") as sink:
        process = subprocess.Popen(  # noqa: ASYNC220 - it must outlive this loop, and starting it takes a millisecond
            [sys.executable, "-m", "p2pckpt.daemon.main", *([PASSPHRASE_STDIN] if passphrase else [])],
            stdin=subprocess.PIPE if passphrase else subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            cwd="/",  # the settings of whatever project this was called from are not the daemon's
            env={**os.environ, **config.environment()},
        )
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # another daemon was first, and this one is gone
            process.stdin.write(passphrase.encode())  # a few bytes: they fit into the pipe
            process.stdin.close()
    deadline = asyncio.get_running_loop().time() + _START_DEADLINE
    while asyncio.get_running_loop().time() < deadline:
        try:
            await client.status()
            return
        except DaemonUnavailable:
            # exit 0 of a second daemon means that another one won the race and will answer
            if process.poll() not in (None, 0):
                break
            await asyncio.sleep(0.05)
    tail = await asyncio.to_thread(last_line, log) or "no output"
    raise DaemonUnavailable(f"the daemon did not start: {tail}", next_step="p2pckpt daemon logs")


def last_line(log: Path) -> str:
    """The end of a log, as far as a person reads it; empty without one."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line[:300] for line in reversed(lines) if line.strip()), "")


def _gone(exc: BaseException) -> DaemonUnavailable:
    if isinstance(exc, aiohttp.ClientConnectorError):
        reason = "it does not run"
    elif isinstance(exc, TimeoutError):
        reason = "no answer in time"
    else:
        reason = str(exc) or type(exc).__name__
    return DaemonUnavailable(f"the daemon does not answer: {reason}", next_step="p2pckpt daemon start")


def _failure(content: bytes) -> P2pckptError:
    try:
        return error_of(msgspec.json.decode(content, type=m.Failure))
    except (msgspec.MsgspecError, ValueError):
        return P2pckptError("the daemon answered something unreadable", next_step="p2pckpt daemon logs")
