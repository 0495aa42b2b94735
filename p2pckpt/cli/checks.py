"""What ``doctor`` looks at: each check is one function from the configuration to one ``Check``."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from p2pckpt.cli import text
from p2pckpt.config import Config
from p2pckpt.control.client import connect
from p2pckpt.control.messages import DaemonStatus
from p2pckpt.errors import DaemonUnavailable, P2pckptError
from p2pckpt.trust import identity_file

_LOW_SPACE = 20 * 10**9
_NO_SPACE = 10**9
"""Bytes free: below the first a model may not fit, below the second not even the daemon's own records are safe."""
_CONNECT_DEADLINE = 5.0
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One line of ``doctor``."""

    name: str
    level: Level
    fact: str
    next_step: str = ""


async def run_all(config: Config) -> list[Check]:
    """Every check, in the order in which a cause comes before what it breaks."""
    status, daemon = await _daemon(config)
    checks = [python(), engine(), *home(config), space(config), keys(config), clock(), daemon, *others_keys(status)]
    checks += [await tracker(config, status), port(config, status)]
    return [*checks, *congestion(_CONGESTION)]


def python() -> Check:
    """The interpreter; one that is too old would not have come this far."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", Level.OK, f"Python {version}, {sys.executable}")


def engine() -> Check:
    """libtorrent, loaded in another process: a broken shared library must not take this one down."""
    if find_spec("libtorrent") is None:
        return Check("libtorrent", Level.FAIL, "not installed", "pip install 'libtorrent>=2.1,<2.2'")
    program = [sys.executable, "-c", "import libtorrent; print(libtorrent.version)"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Check("libtorrent", Level.FAIL, f"does not load: {last}", "pip install --force-reinstall libtorrent")
    version = done.stdout.strip()
    if not version.startswith("2.1."):
        return Check("libtorrent", Level.FAIL, f"libtorrent {version}", "pip install 'libtorrent>=2.1,<2.2'")
    return Check("libtorrent", Level.OK, f"libtorrent {version}")


def home(config: Config) -> Iterator[Check]:
    """The directories that the daemon writes to."""
    places = {config.config_dir, config.data_dir, config.state_dir, config.runtime_dir, config.store_dir}
    locked = sorted(str(p) for p in places if not os.access(_existing(p), os.W_OK | os.X_OK))
    if locked:
        yield Check("home", Level.FAIL, f"cannot be written: {', '.join(locked)}", "chown it, or use --home DIR")
    else:
        yield Check("home", Level.OK, str(config.home or config.data_dir))


def space(config: Config) -> Check:
    """Room for objects."""
    free = shutil.disk_usage(_existing(config.store_dir)).free
    fact = f"{text.size(free)} free for {config.store_dir}"
    if free < _NO_SPACE:
        return Check("space", Level.FAIL, fact, "free some, or put the store elsewhere: p2pckpt config set store DIR")
    if free < _LOW_SPACE:
        return Check("space", Level.WARN, fact, "large models will not fit: p2pckpt config set store DIR")
    return Check("space", Level.OK, fact)


def keys(config: Config) -> Check:
    """The identity can be read, and by nobody else."""
    directory = config.keys_dir
    if not directory.is_dir() or not any(directory.iterdir()):
        return Check("keys", Level.OK, "none yet; the first start makes one")
    if directory.stat().st_mode & 0o077:
        return Check("keys", Level.FAIL, f"others can read {directory}", f"chmod -R go= {directory}")
    try:
        where, backup = identity_file.describe(directory), identity_file.last_backup(directory)
    except P2pckptError as exc:
        return Check("keys", Level.FAIL, exc.fact, exc.next_step)
    copy = f"; backup made {text.ago(backup)}" if backup else ""
    hint = "" if backup else "keep a copy: p2pckpt key backup FILE"
    return Check("keys", Level.OK, f"readable only by you: {where}{copy}", hint)


def others_keys(status: DaemonStatus | None) -> Iterator[Check]:
    """Keys that turned up where others signed, or under a name that was verified."""
    if status is not None and status.keys_to_review:
        fact = f"{text.count(status.keys_to_review, 'key')} of others to be reviewed"
        yield Check("others", Level.WARN, fact, "p2pckpt trust ls --review")


def clock() -> Check:
    """Signed metadata expires, so a wrong clock refuses good versions or accepts old ones."""
    now = time.time()
    # these files cannot have been installed in the future
    if now < Path(__file__).stat().st_mtime - 86400:
        return Check("clock", Level.FAIL, f"says {time.ctime(now)}, which is in the past", "set it: timedatectl")
    if shutil.which("timedatectl"):
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "no":
            return Check("clock", Level.WARN, "is not kept by a time server", "timedatectl set-ntp true")
    return Check("clock", Level.OK, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


async def _daemon(config: Config) -> tuple[DaemonStatus | None, Check]:
    try:
        client = await connect(config, start=False)
    except DaemonUnavailable:
        return None, Check("daemon", Level.WARN, "is not running", "it starts by itself, or: p2pckpt daemon start")
    try:
        status = await client.status()
    except P2pckptError as exc:
        return None, Check("daemon", Level.FAIL, exc.fact, exc.next_step or "p2pckpt daemon logs")
    finally:
        await client.__aexit__()
    return status, Check("daemon", Level.OK, f"p2pckpt {status.version}, process {status.pid}")


async def tracker(config: Config, status: DaemonStatus | None) -> Check:
    """Whether the tracker can be reached: as the daemon sees it, else by a connection of our own."""
    name = (status.tracker if status else "") or config.text("tracker")
    if not name:
        return Check("tracker", Level.OK, "none set: one runs beside the daemon for your own shares")
    if status is not None and status.tracker_state in ("connected", "connecting"):
        level = Level.OK if status.tracker_state == "connected" else Level.WARN
        return Check("tracker", level, f"{name} is {status.tracker_state}")
    parts = urlsplit(name if "://" in name else f"https://{name}")
    try:
        host, number = parts.hostname, parts.port or 443
        async with asyncio.timeout(_CONNECT_DEADLINE):
            _, writer = await asyncio.open_connection(host, number)
    except (OSError, TimeoutError, ValueError) as exc:
        reason = str(exc) or "no answer"
        return Check("tracker", Level.FAIL, f"{name} is not reachable: {reason}", "p2pckpt config get tracker")
    writer.close()
    if status is not None:
        return Check("tracker", Level.WARN, f"{name} accepts connections, but the daemon is not connected to it")
    return Check("tracker", Level.OK, f"{name} accepts connections")


def port(config: Config, status: DaemonStatus | None) -> Check:
    """The ports that peers connect to, plain and with TLS."""
    wanted = [config.number(key) for key in ("port", "tls_port") if config.number(key)]
    if status is not None:
        if missing := [port for port in wanted if port not in status.listen_ports]:
            return Check("port", Level.FAIL, f"{missing[0]} is not listened on", "p2pckpt daemon logs")
        ports = ", ".join(map(str, status.listen_ports))
        if not ports:
            return Check("port", Level.FAIL, "the daemon listens on no port", "p2pckpt daemon logs")
        return Check("port", Level.OK, f"peers connect to {ports}")
    if not wanted:
        return Check("port", Level.OK, "any free one will be used")
    address = config.text("listen")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for key in ("port", "tls_port"):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, config.number(key)))
        except OSError as exc:
            return Check("port", Level.FAIL, f"{config.number(key)}: {exc.strerror}", f"p2pckpt config set {key} 0")
    return Check("port", Level.OK, f"{', '.join(map(str, wanted))} {'is' if len(wanted) == 1 else 'are'} free")


def congestion(source: Path) -> Iterator[Check]:
    """A hint, on systems that have the switch: BBR keeps its speed where packets get lost."""
    try:
        used = source.read_text().strip()
    except OSError:
        return
    hint = "" if used == "bbr" else "faster where packets get lost: sysctl -w net.ipv4.tcp_congestion_control=bbr"
    yield Check("tcp", Level.OK, f"congestion control is {used}", hint)


def _existing(path: Path) -> Path:
    """``path``, or the nearest directory above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
