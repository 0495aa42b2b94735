"""The peer of the loopback row: libtorrent alone, moving the raw files from one process to another.

It has the engine's settings, which are the fastest known here, and only the alerts it needs.

    python -m bench.plain_torrent make DIRECTORY FILE        writes a v2 torrent of the directory
    python -m bench.plain_torrent seed FILE PARENT           prints its port, ends with its stdin
    python -m bench.plain_torrent receive FILE PARENT PORT   waits for a line on stdin, prints a Result
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libtorrent as lt
import msgspec

from bench.homes import Usage, usage
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.swarm.libtorrent_session import SETTINGS as ENGINE_SETTINGS

_DEADLINE = 3600.0
_ALERTS = lt.alert.category_t.status_notification | lt.alert.category_t.storage_notification


class Result(msgspec.Struct, frozen=True):
    """Seconds since the torrent was added, and what the receiver used."""

    finished: float
    """Every piece is here and verified, perhaps only in memory."""
    flushed: float
    """…and written to the files."""
    durable: float
    """…and fsynced."""
    cpu: float
    peak_rss: int


def make(directory: Path, file: Path) -> None:
    """Write a v2-only torrent of ``directory``, pieces as long as ours."""
    files = lt.file_storage()
    lt.add_files(files, str(directory))
    torrent = lt.create_torrent(files, PIECE_LENGTH, lt.create_torrent.v2_only)
    lt.set_piece_hashes(torrent, str(directory.parent))
    file.write_bytes(lt.bencode(torrent.generate()))


@contextlib.contextmanager
def seeding(file: Path, parent: Path) -> Iterator[tuple[int, Callable[[], Usage]]]:
    """A process that seeds; its port, and what it used so far."""
    with _process("seed", str(file), str(parent)) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), lambda: usage(process.pid)


def receive(file: Path, parent: Path, port: int) -> Result:
    """Receive in a process of its own; what it took before the torrent is added is not counted."""
    with _process("receive", str(file), str(parent), str(port)) as process:
        answer, _ = process.communicate(b"go\n", timeout=_DEADLINE)
    return msgspec.json.decode(answer, type=Result)


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", __spec__.name, *arguments]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(30)


def _session() -> Any:
    settings: Any = ENGINE_SETTINGS | {"listen_interfaces": "127.0.0.1:0", "alert_mask": _ALERTS}
    session = lt.session(settings)
    session.set_peer_class_filter(lt.ip_filter())
    return session


def _add(session: Any, file: Path, parent: Path, *, seed: bool) -> Any:
    params = lt.load_torrent_buffer(file.read_bytes())
    params.save_path = str(parent)
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if seed:
        params.flags |= lt.torrent_flags.seed_mode
    return session.add_torrent(params)


def _seed(file: Path, parent: Path) -> None:
    session = _session()
    _add(session, file, parent, seed=True)
    while not session.listen_port():
        time.sleep(0.01)
    print(session.listen_port(), flush=True)
    sys.stdin.buffer.read()


def _receive(file: Path, parent: Path, port: int) -> None:
    session = _session()
    sys.stdin.buffer.readline()
    begin = time.perf_counter()
    handle = _add(session, file, parent, seed=False)
    handle.connect_peer(("127.0.0.1", port))
    _await(session, lt.torrent_finished_alert)
    finished = time.perf_counter() - begin
    handle.flush_cache()
    _await(session, lt.cache_flushed_alert)
    flushed = time.perf_counter() - begin
    for path in parent.rglob("*"):
        if path.is_file():
            with path.open("rb") as written:
                os.fsync(written.fileno())
    durable = time.perf_counter() - begin
    used = usage(os.getpid())
    sys.stdout.buffer.write(msgspec.json.encode(Result(finished, flushed, durable, used.cpu, used.peak_rss)))


def _await(session: Any, kind: type) -> None:
    end = time.monotonic() + _DEADLINE
    while time.monotonic() < end:
        session.wait_for_alert(1000)
        if any(isinstance(alert, kind) for alert in session.pop_alerts()):
            return
    raise TimeoutError(kind.__name__)


def main() -> None:
    what, file, parent, *rest = sys.argv[1:]
    if what == "make":
        make(Path(file), Path(parent))
    elif what == "seed":
        _seed(Path(file), Path(parent))
    else:
        _receive(Path(file), Path(parent), int(rest[0]))


if __name__ == "__main__":
    main()
