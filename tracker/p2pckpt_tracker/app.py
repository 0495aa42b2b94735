"""The composition root: the only place that builds real stores, rules, swarms and listeners, and joins them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from .access_rules import AccessRules
from .accounts import ShownCertificates
from .announce import AnnounceDesk, announce_app
from .api.dispatch import api_app
from .api.services import Services
from .data_dir import DataDir, fingerprint, server_context
from .dial_back import DialBack
from .events import EventHub
from .fetch_log import FetchLog
from .freshness import Freshness
from .held_shares import HeldShares
from .listeners import Listener, listen, sweep_for_ever
from .load_rules import load_rules
from .metadata import OnlineSigner
from .ops import LoopLag, ops_app
from .proposals import Proposals
from .settings import Settings
from .share_files import ShareFiles
from .shares import Shares
from .store import account_rows
from .store.blobs import Blobs
from .store.database import Database
from .store.migrate import migrate
from .swarms import Swarms
from .uploads import Uploads

_SIGNING_ROUND = 60.0
"""Seconds between looks for timestamps that run out, or do not name the end of their share's log."""
_FETCHES_ROUND = 5.0
"""Seconds in which new fetches become one transaction."""
_AGEING_ROUND = 30.0
_UPLOADS_ROUND = 600
"""Seconds between looks for uploads that nothing names."""

_log = structlog.get_logger(__name__)


class Tracker:
    """One running tracker. ``start`` opens everything, ``stop`` closes it; each is called once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._data = DataDir(settings.data)

    @property
    def api_port(self) -> int:
        """Where the API listens, once started."""
        return self._api.port

    @property
    def announce_port(self) -> int:
        """Where BEP 3 announces are taken, once started; 0 when that is off."""
        return self._announce.port if self._announce is not None else 0

    @property
    def ops_port(self) -> int:
        """Where health and metrics are, once started; 0 when that is off."""
        return self._ops.port if self._ops is not None else 0

    async def start(self) -> None:
        """Lock, migrate, load, listen, then write the ready file. Raises DataDirInUse, OSError, ValueError."""
        settings = self._settings
        self._data.lock()
        self._database = Database(self._data.create_database())
        migrate(self._database.engine)
        self._tracker_id = self._database.run_now(account_rows.tracker_id)
        for identity in settings.owners:
            self._database.run_now(lambda connection, each=identity: account_rows.add_listed(connection, each))  # type: ignore[misc]
        self._rules = self._database.run_now(load_rules)
        self._build()
        await self._open()
        self._write_ready_file()

    async def stop(self) -> None:
        """End streams, let requests finish for a few seconds, close. Safe after a failed start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_hub"):
            self._hub.close()
            await self._dial_back.close()
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        if hasattr(self, "_fetches"):
            await self._fetches.flush()
        if hasattr(self, "_database"):
            self._database.close()
        if self._settings.ready_file is not None and self._listeners:
            self._settings.ready_file.unlink(missing_ok=True)
        self._data.unlock()

    def _build(self) -> None:
        settings = self._settings
        self._context, self._fingerprint = self._tls()
        certificates = ShownCertificates(self._fingerprint, settings.proxy_certificates)
        certificates.read()  # better no start than no login
        signer = OnlineSigner(self._data.load_online_key())
        blobs = Blobs(self._data.blobs)
        self._hub = EventHub()
        self._dial_back = DialBack()
        self._swarms = Swarms(self._hub, self._rules.identity_of_number, settings.peer_lifetime)
        self._fetches = FetchLog(self._database)
        self._desk = AnnounceDesk(
            self._rules, self._swarms, self._dial_back, settings.interval, settings.trusted_proxies, self._fetches
        )
        held, files = HeldShares(self._database), ShareFiles(blobs, signer)
        freshness = Freshness(self._database, held, files)
        proposals = Proposals(self._database, held, files, blobs, self._rules, self._hub)
        shares = Shares(self._database, held, files, proposals, self._rules, self._hub)
        uploads = Uploads(self._database, blobs, held)
        self._lag = LoopLag()
        self._services = Services(
            tracker_id=self._tracker_id,
            online_key=signer.public,
            announce_url=settings.announce_url,
            only_listed=settings.only_listed,
            database=self._database,
            blobs=blobs,
            rules=self._rules,
            shares=shares,
            proposals=proposals,
            freshness=freshness,
            uploads=uploads,
            desk=self._desk,
            hub=self._hub,
            fetches=self._fetches,
            certificate_lifetime=settings.certificate_lifetime,
            certificates=certificates,
        )

    def _tls(self) -> tuple[ssl.SSLContext | None, str]:
        """What the API is served with, and the SHA-256 of its certificate; nothing for plain HTTP."""
        settings = self._settings
        if settings.plain_http:
            return None, ""
        certificate, key = settings.tls_certificate, settings.tls_key
        if certificate is None or key is None:
            certificate, key = self._data.own_certificate()
        return server_context(certificate, key), fingerprint(certificate)

    async def _open(self) -> None:
        settings = self._settings
        self._announce = self._ops = None
        if settings.announce_listen is not None:
            self._announce = await listen(announce_app(self._desk), settings.announce_listen)
            self._listeners.append(self._announce)
            self._services.announce_listen = replace(settings.announce_listen, port=self._announce.port)
        if settings.ops_listen is not None:
            self._ops = await listen(ops_app(self._database, self._numbers), settings.ops_listen)
            self._listeners.append(self._ops)
        self._api = await listen(api_app(self._services), settings.listen, self._context)
        self._listeners.append(self._api)
        for work in (
            self._lag.watch(),
            self._swarms.age(_AGEING_ROUND),
            self._services.freshness.keep(_SIGNING_ROUND),
            self._fetches.keep(_FETCHES_ROUND),
            self._services.uploads.keep(_UPLOADS_ROUND),
            sweep_for_ever(self._listeners),
            _forget_expired(self._rules),
        ):
            self._tasks.append(asyncio.create_task(work))
        _log.info(
            "listening",
            api=self._api.port,
            tracker_id=self._tracker_id,
            tls=self._context is not None,
            setting=f"HOST:{self._api.port}#{_base32(self._fingerprint)}" if self._fingerprint else "",
        )

    def _write_ready_file(self) -> None:
        path = self._settings.ready_file
        if path is None:
            return
        facts: dict[str, Any] = {
            "api_port": self.api_port,
            "announce_port": self.announce_port,
            "ops_port": self.ops_port,
            "certificate_sha256": self._fingerprint,
            "pid": os.getpid(),
            "tracker_id": self._tracker_id,
        }
        temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            temp.unlink()
        temp.write_text(json.dumps(facts))
        temp.replace(path)

    def _numbers(self) -> Mapping[str, float]:
        swarms, seeds, leechers = self._swarms.counts()
        return {
            "swarms": swarms,
            "seeds": seeds,
            "leechers": leechers,
            "shares": len(self._rules.shares),
            "event_streams": len(self._hub),
            "uploads_deleted_total": self._services.uploads.deleted,
            "announces_answered_total": self._desk.answered,
            "announces_refused_total": self._desk.refused,
            "loop_longest_stall_seconds": self._lag.longest,
        }


async def _forget_expired(rules: AccessRules) -> None:
    while True:
        await asyncio.sleep(3600)
        rules.forget_expired()


def _base32(fingerprint: str) -> str:
    """A certificate's hash as clients write it in their ``tracker`` setting and in links."""
    return base64.b32encode(bytes.fromhex(fingerprint)).decode().rstrip("=").lower()
