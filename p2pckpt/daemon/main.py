"""Where the daemon is put together and run: ``python -m p2pckpt.daemon.main``. Real parts are made only here."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import fcntl
import getpass
import itertools
import logging
import os
import shutil
import signal
import sys
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from p2pckpt import atomic, config
from p2pckpt.access.addresses import endpoints, listening_addresses
from p2pckpt.access.pool import BESIDE, Trackers
from p2pckpt.config import Config
from p2pckpt.control.client import PASSPHRASE_STDIN
from p2pckpt.control.messages import SettingsChanged
from p2pckpt.daemon.feed import Feed
from p2pckpt.daemon.live_settings import LiveSettings
from p2pckpt.daemon.log import LogRing, configure
from p2pckpt.daemon.niceness import stand_back
from p2pckpt.daemon.operations import Operations
from p2pckpt.daemon.rate_limits import RateLimits
from p2pckpt.daemon.server import ControlServer
from p2pckpt.daemon.stalls import StallMeter
from p2pckpt.daemon.tracker_beside import TrackerBeside
from p2pckpt.daemon.upkeep import upkeep
from p2pckpt.errors import P2pckptError
from p2pckpt.jobs.entrance import Entrance
from p2pckpt.jobs.key_book import KeyBook
from p2pckpt.jobs.link_book import LinkBook
from p2pckpt.jobs.members import Members
from p2pckpt.jobs.owners import Owners
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import Shares
from p2pckpt.jobs.swarms import Swarms
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.known_keys import KnownKeys
from p2pckpt.store.layout import StoreLayout
from p2pckpt.store.objects import ObjectReader
from p2pckpt.swarm.libtorrent_engine import Discovery, LibtorrentEngine
from p2pckpt.tracker_protocol import Endpoint, Visibility
from p2pckpt.trust import identity_file, passphrases

_log = structlog.get_logger("p2pckpt.daemon.main")  # it runs as __main__
_TICK: Final = 1.0
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Options of mallopt(3), glibc's malloc.h."""
_THREADS: Final = 64
"""For what waits: disks, name servers, and metadata that is judged while the loop fetches more of it. Python's default
is six on two cores, and once those wait for each other nothing goes on."""
_TRACKER_PATIENCE: Final = 5.0
_ADDRESS_TICKS: Final = 30
"""Ticks between two looks at this machine's addresses: laptops change networks."""


class _Remembered(msgspec.Struct):
    """What a daemon remembers for the next one."""

    port: int = 0
    tls_port: int = 0


def main() -> int:
    """Run until told to stop. Exit code 0 also when another daemon of this home runs already."""
    faulthandler.enable()
    passphrases.stay_out_of_core_dumps()
    _bound_allocator()
    given = passphrases.clean(sys.stdin.buffer.read()) if PASSPHRASE_STDIN in sys.argv else ""
    settings = config.load()
    for directory in (settings.state_dir, settings.data_dir, settings.config_dir):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = LogRing()
    configure(settings.text("log_level"), log)
    lock = os.open(settings.state_dir / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    stand_back(settings.number("nice"))
    try:
        stalls = StallMeter()
        with asyncio.Runner(loop_factory=stalls.loop) as runner:
            runner.run(_run(settings, given, log, stalls))
    except P2pckptError as exc:
        # plain, as the last line of the log: front ends show it
        logging.getLogger("p2pckpt").error(f"{exc.fact}; next: {exc.next_step}" if exc.next_step else exc.fact)
        return exc.exit_code
    return 0


async def _run(settings: Config, passphrase: str, log: LogRing, stalls: StallMeter) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="asyncio"))
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        operations, beside = await _build(settings, passphrase, log, stalls, stack)
        operations.bans.load()
        await operations.load()
        await operations.keys.note_all()
        beside_us = [share for share in operations.services.shares.known() if share.tracker == BESIDE]
        if beside_us:
            # requests may need it; a tracker that does not come up must not keep the daemon from answering
            with contextlib.suppress(P2pckptError, TimeoutError):
                async with asyncio.timeout(_TRACKER_PATIENCE):
                    await beside.ensure(public=any(s.visibility == Visibility.PUBLIC for s in beside_us))
        stack.push_async_callback(operations.reading.close)
        server = ControlServer(operations, log, settings.socket_path, stop.set)
        await server.start()
        stack.push_async_callback(server.close)
        stack.push_async_callback(operations.gateway.stop)
        works = (
            _tick(operations),
            upkeep(operations.services, operations.feed),
            operations.retaining.delete_for_ever(),
            beside.watch(),
            operations.gateway.watch(),
        )
        background = [asyncio.create_task(_watched(work)) for work in works]
        _log.info("daemon ready", port=operations.services.swarms.port, home=str(settings.home or ""))
        for share in operations.services.shares.known():
            operations.services.swarms.follow(share.tracker)
        operations.jobs.go_on()
        stack.push_async_callback(operations.jobs.stop)
        operations.runs.go_on()
        stack.push_async_callback(operations.runs.stop)
        stalls.reset()
        await stop.wait()
        _log.info("daemon stops")
        operations.feed.close()
        log.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


async def _watched(work: Coroutine[Any, Any, None]) -> None:
    """``work``, which is to go on as long as the daemon; the log tells what ended it."""
    try:
        await work
    except Exception:
        _log.exception("a background work of the daemon ended")


async def _build(
    settings: Config, passphrase: str, log: LogRing, stalls: StallMeter, stack: contextlib.AsyncExitStack
) -> tuple[Operations, TrackerBeside]:
    """Every real part, torn down in reverse order when ``stack`` closes."""
    name = settings.text("name") or _login_name()
    identity = await asyncio.to_thread(
        identity_file.load_or_create,
        settings.keys_dir,
        name,
        store=settings.text("key_store"),
        ask=lambda: passphrase or passphrases.find(settings),
    )
    layout = StoreLayout(settings.store_dir)
    await asyncio.to_thread(layout.create)
    await asyncio.to_thread(_clear_packing, layout)
    catalogue = Catalogue(layout.catalogue)
    stack.callback(catalogue.close)
    known_keys = KnownKeys(settings.known_keys)
    stack.callback(known_keys.close)
    objects = ObjectReader(layout)
    stack.callback(objects.close)
    pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="worker")
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    trackers = Trackers(identity, name)
    stack.push_async_callback(trackers.close)
    beside = TrackerBeside(settings, identity, trackers)
    stack.push_async_callback(beside.stop)
    swarms, engine = await _start_swarms(settings, layout, catalogue, trackers)
    stack.push_async_callback(swarms.stop)
    limits = RateLimits(settings, engine.limit)

    def changed(config: Config) -> None:
        configure(config.text("log_level"), log)
        limits.configure(config)
        engine.discover(_discovery(config))

    feed = Feed()
    live = LiveSettings(settings, config.load, changed, lambda: feed.send(SettingsChanged()))
    shares = Shares(identity, catalogue, layout, trackers)
    key_book = KeyBook(identity.public_bytes, known_keys, waits=lambda: live.config.text("new_keys") == "wait")
    shares.on_refresh(key_book.note)
    owners, link_book = Owners(identity, shares), LinkBook(identity, shares)
    members = Members(identity, catalogue, shares, owners, link_book)
    members.on_list(key_book.note_members)
    services = Services(
        config=settings,
        identity=identity,
        layout=layout,
        catalogue=catalogue,
        objects=objects,
        key_book=key_book,
        shares=shares,
        entrance=Entrance(identity, catalogue, trackers, shares),
        owners=owners,
        link_book=link_book,
        members=members,
        swarms=swarms,
        pool=pool,
        workers=settings.workers,
    )
    operations = Operations(services, beside, feed, stalls, live, limits)
    swarms.on_tracker_event(operations.news.on_tracker_event)
    return operations, beside


async def _start_swarms(
    settings: Config, layout: StoreLayout, catalogue: Catalogue, trackers: Trackers
) -> tuple[Swarms, LibtorrentEngine]:
    """The engine on its ports: the configured ones, else those of last time, else any."""
    memory = settings.state_dir / "daemon.json"
    configured = settings.number("port"), settings.number("tls_port")
    last = _recall(memory)
    choices = [
        dict.fromkeys([port or before, port])
        for port, before in zip(configured, (last.port, last.tls_port), strict=True)
    ]
    listen = settings.text("listen")
    for ports in itertools.product(*choices):
        engine = LibtorrentEngine(
            listening_addresses(listen),
            *ports,
            map_ports=settings.flag("port_mapping"),
            discovery=_discovery(settings),
            scratch=layout.packing,
        )

        def stated(tls: bool, engine: LibtorrentEngine = engine) -> list[Endpoint]:
            public, mapped = settings.text("public_address"), engine.mapped(tls=tls)
            if not tls:
                return endpoints(listen, engine.port, public, mapped)
            outside = settings.number("public_tls_port") or engine.tls_port
            return endpoints(listen, engine.tls_port, public, mapped, public_port=outside)

        swarms = Swarms(engine, trackers, catalogue, layout, stated)
        try:
            await swarms.start()
        except P2pckptError:
            await engine.stop()
            if ports == configured:
                raise
            continue
        atomic.write(memory, msgspec.json.encode(_Remembered(engine.port, engine.tls_port)))
        return swarms, engine
    raise P2pckptError("no port to listen on")


def _discovery(settings: Config) -> Discovery:
    return Discovery(settings.flag("dht"), settings.text("dht_bootstrap"), settings.flag("local_discovery"))


async def _tick(operations: Operations) -> None:
    settings, engine = operations.services.config, operations.services.swarms.engine
    for count in itertools.count(1):
        await asyncio.sleep(_TICK)
        try:
            await operations.tick()
            if count % _ADDRESS_TICKS == 0:
                engine.listen_on(await asyncio.to_thread(listening_addresses, settings.text("listen")))
        except Exception:
            _log.exception("a tick broke")


def _bound_allocator() -> None:
    """Give large buffers back to the system at once. glibc's defaults keep an arena per thread and raise the size
    from which a buffer is mapped: a receiver of 2 GB peaked at 340 MB with them, at 235 MB without."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            for option, value in ((_M_ARENA_MAX, 2), (_M_MMAP_THRESHOLD, 1 << 20), (_M_TRIM_THRESHOLD, 8 << 20)):
                libc.mallopt(option, value)


def _clear_packing(layout: StoreLayout) -> None:
    """Objects that were being written when the last daemon ended have no name yet and no row: drop them."""
    for path in layout.packing.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)  # what a repair needed for a while
        else:
            path.unlink()


def _recall(path: Path) -> _Remembered:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Remembered)
    except (OSError, msgspec.MsgspecError):
        return _Remembered()


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


if __name__ == "__main__":
    sys.exit(main())
