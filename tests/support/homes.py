"""One person's p2pckpt in a directory of its own: a real daemon as a process, with its tracker beside it.

    async with Home(tmp_path / "alice") as alice:
        job = await alice.share(directory, name="cars/sd15")

Whatever was started is stopped at the end, and a daemon that logged a traceback fails the test that used it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec

from p2pckpt import config
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control import settings_messages as sm
from p2pckpt.control.client import ControlClient, error_of
from p2pckpt.errors import DaemonUnavailable, P2pckptError
from p2pckpt.trust import oms

T = TypeVar("T")

DEADLINE: Final = 60.0
"""Seconds in which anything waited for must have happened: far beyond what any of it takes."""
_WITHOUT_PRIVILEGE: Final = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
_POLL: Final = 0.02
_COMPLAINTS: Final = re.compile(
    r"Traceback|event='[^']* broke'|Fatal Python error|never retrieved|never awaited|was destroyed but it is pending"
)
_SETTLED: Final = (m.JobState.SEEDING, m.JobState.DONE)


class Home:
    """A daemon's home directory and the daemon in it. ``settings`` become ``P2PCKPT_…`` variables.

    ``obeys_permissions`` takes away what root may do more than others, so that a file's mode counts for it, too.
    """

    def __init__(self, path: Path, *, obeys_permissions: bool = False, **settings: object) -> None:
        self.path = path
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("P2PCKPT_")}
        self._prefix = _WITHOUT_PRIVILEGE if obeys_permissions and os.geteuid() == 0 else ()
        self.set(port_mapping=0, dht=0, local_discovery=0)  # no packet leaves this machine
        self.set(key_store="file")  # nor does a key get into the keyring of whoever runs the tests
        self.set(listen="127.0.0.1", tracker_listen="127.0.0.1", name=path.name, **settings)
        self.env["P2PCKPT_HOME"] = str(path)
        self.process: subprocess.Popen[bytes] | None = None
        self._client: ControlClient | None = None
        self._reserved: dict[int, socket.socket] = {}

    # -- the daemon's life

    def set(self, **settings: object) -> None:
        """Settings from the next start on."""
        self.env |= {f"P2PCKPT_{key.upper()}": str(value) for key, value in settings.items()}

    async def start(self) -> Home:
        """Start the daemon and return once it answers."""
        assert self.process is None, "it runs already"
        for directory in (self.path, self.log_file.parent):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [*self._prefix, sys.executable, "-m", "p2pckpt.daemon.main"]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, start_new_session=True
            )
        self._client = await ControlClient(self.config.socket_path).__aenter__()
        await until(self._answers, "the daemon answers")
        return self

    async def stop(self) -> None:
        """Ask the daemon to stop and wait until it and its tracker are gone."""
        if self.process is None:
            return
        tracker = self.tracker_pid
        await self.client.stop()
        await self._gone()
        if tracker:
            assert not is_alive(tracker), "the tracker outlived a daemon that was asked to stop"

    async def take_over(self) -> None:
        """A command has replaced the daemon: stop its one, and start one that is a child of this process."""
        await self._gone()
        stopped = await self.cli("daemon", "stop")
        assert stopped.returncode == 0, stopped.stderr
        await self.start()

    async def kill(self, *, tracker: bool = False) -> None:
        """SIGKILL the daemon, and with ``tracker`` the tracker beside it."""
        assert self.process is not None
        self.process.kill()
        if tracker:
            await self.kill_tracker()
        await self._gone()

    async def kill_tracker(self) -> None:
        """SIGKILL the tracker beside the daemon."""
        pid = self.tracker_pid
        assert pid, "no tracker runs beside this daemon"
        os.kill(pid, signal.SIGKILL)
        await until(lambda: _answer(not is_alive(pid)), "the tracker is gone")
        self._reserve_ports()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def __aenter__(self) -> Home:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                await self.stop()
        finally:
            await self._end_everything()
        if exc is not None:
            exc.add_note(self.report())
        else:
            self.check_log()

    async def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            await self._gone()
            raise AssertionError(f"the daemon did not start\n{self.report()}")
        try:
            await self.client.status()
        except DaemonUnavailable:
            return False
        return True

    async def _gone(self) -> None:
        """Wait for the end of the process and put the client away."""
        process, self.process = self.process, None
        assert process is not None
        try:
            await asyncio.to_thread(process.wait, DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the daemon did not end\n{self.report()}") from None
        finally:
            if self._client is not None:
                await self._client.__aexit__()
                self._client = None
        self._reserve_ports()

    def _reserve_ports(self) -> None:
        """Until the home's end nobody who asks for any port gets those that links and peers know it by.

        They are bound and not listened on, which is in nobody's way who asks for this very port.
        """
        ports: set[int] = set()
        with contextlib.suppress(FileNotFoundError):
            ports |= set(json.loads((self.config.state_dir / "daemon.json").read_bytes()).values())
        for name in ("port", "announce_port"):
            with contextlib.suppress(FileNotFoundError):
                ports.add(int((self.config.tracker_dir / name).read_text()))
        for port in ports - self._reserved.keys():
            reserved = socket.socket()
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reserved.bind(("127.0.0.1", port))
                self._reserved[port] = reserved
            except OSError:  # somebody listens there
                reserved.close()

    async def _end_everything(self) -> None:
        """What a failed test leaves behind: both processes, whatever state they are in."""
        if self.process is not None:
            self.process.kill()
            await self._gone()
        pid = self.tracker_pid
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for reserved in self._reserved.values():
            reserved.close()
        self._reserved.clear()

    # -- looking at it

    @property
    def client(self) -> ControlClient:
        assert self._client is not None, "no daemon runs in this home"
        return self._client

    @property
    def config(self) -> config.Config:
        return config.load(environ=self.env, directory=Path("/"))

    @property
    def store(self) -> Path:
        return self.config.store_dir

    @property
    def log_file(self) -> Path:
        return self.config.daemon_log

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    @property
    def tracker_pid(self) -> int:
        """Process of the tracker beside the daemon; 0 when none runs."""
        try:
            pid = int(self.tracker_ready["pid"])
        except (OSError, KeyError, msgspec.MsgspecError):
            return 0
        return pid if is_alive(pid) and b"p2pckpt_tracker" in _command_line(pid) else 0

    async def has_tracker(self) -> bool:
        """Whether the tracker beside the daemon runs; to be waited for."""
        return self.tracker_pid != 0

    @property
    def tracker_ready(self) -> dict[str, Any]:
        """What the tracker beside the daemon wrote when it was ready."""
        return msgspec.json.decode((self.config.tracker_dir / "ready.json").read_bytes(), type=dict[str, Any])

    def report(self) -> str:
        """What a failed test wants to see of this home."""
        tracker_log = self.config.state_dir / "tracker.log"
        tracker = tracker_log.read_text("utf-8", "replace") if tracker_log.exists() else ""
        return f"--- log of {self.path.name}\n{self.log[-6000:]}--- its tracker\n{tracker[-2000:]}"

    def check_log(self) -> None:
        """Fail if daemon, tracker or gateway logged an error of their own."""
        for log in (self.log_file, *(self.config.state_dir / f"{name}.log" for name in ("tracker", "gateway"))):
            text = log.read_text("utf-8", "replace") if log.exists() else ""
            assert not _COMPLAINTS.search(text), f"{log}:\n{text[-6000:]}"

    # -- using it

    async def cli(self, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``p2pckpt`` on this home, as somebody in a script does."""
        command = [*self._prefix, sys.executable, "-m", "p2pckpt", "--home", str(self.path), *map(str, arguments)]
        return await asyncio.to_thread(
            subprocess.run,
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.env,
            cwd=self.path,
            timeout=DEADLINE,
            check=False,
        )

    async def share(self, directory: Path, **fields: Any) -> m.Job:
        """Publish a directory to the end and return the job, which seeds it now."""
        fields = {"allow_no_licence": True, **fields}
        job = await self.client.publish(pm.PublishRequest(path=str(directory), **fields))
        return await self.wait_job(job.id)

    async def get(self, source: str, to: Path, **fields: Any) -> m.Job:
        """Fetch to the end and return the job."""
        job = await self.client.fetch(m.FetchRequest(source=source, to=str(to), **fields))
        return await self.wait_job(job.id)

    async def limit(self, rate: int) -> None:
        """Bytes a second that are downloaded from now on; 0 for as many as there are."""
        await self.client.set_setting(sm.SetRequest("download_limit", rate))

    async def verify(self, name: str, **fields: Any) -> m.Job:
        """Verify to the end; raises what the job failed with."""
        job = await self.client.verify(m.VerifyRequest(name=name, **fields))
        return await self.wait_job(job.id)

    async def wait_job(self, job_id: str, *states: m.JobState, deadline: float = DEADLINE) -> m.Job:
        """The job once it is in one of ``states``; without any, once it has ended well.

        Raises the error of a job that failed when that was not waited for.
        """

        def reached(job: m.Job) -> bool:
            if job.state is m.JobState.FAILED and m.JobState.FAILED not in states:
                assert job.failure is not None
                raise error_of(job.failure)
            return job.state in (states or _SETTLED)

        return await self.wait_until(job_id, reached, deadline=deadline)

    async def wait_until(self, job_id: str, condition: Callable[[m.Job], bool], *, deadline: float = DEADLINE) -> m.Job:
        """The job as it was when an event first showed that ``condition`` held."""
        job: m.Job | None = None
        try:
            async with asyncio.timeout(deadline), contextlib.aclosing(self.job_events(job_id)) as events:
                async for job in events:
                    if condition(job):
                        return job
        except TimeoutError:
            raise AssertionError(f"waited in vain; last seen: {job}\n{self.report()}") from None
        raise AssertionError("the event stream ends with an exception")

    async def job_events(self, job_id: str) -> AsyncGenerator[m.Job, None]:
        """Every state of a job that the event stream tells, from its present one on."""
        async with contextlib.aclosing(self.client.events()) as events:  # type: ignore[type-var]
            async for event in events:
                match event:
                    case m.Snapshot():
                        for job in event.jobs:
                            if job.id == job_id:
                                yield job
                    case m.JobChanged() if event.job.id == job_id:
                        yield event.job
                    case m.JobRemoved() if event.id == job_id:
                        raise AssertionError(f"job {job_id} was removed")


# -- waiting


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, deadline: float = DEADLINE) -> None:
    """Return once ``condition`` holds; it is asked again and again, because nothing tells when it changes."""
    try:
        async with asyncio.timeout(deadline):
            while not await condition():
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}") from None


async def _answer(value: T) -> T:
    return value


async def failure(work: Awaitable[object]) -> P2pckptError:
    """The error that ``work`` ends with."""
    try:
        result = await work
    except P2pckptError as exc:
        return exc
    raise AssertionError(f"it should have failed, and returned {result}")


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# -- directories


def tree(directory: Path, *, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """All that a checkout must restore: path → kind, executable bit and SHA-256. Links count as what they lead to.

    The ``model.sig`` that a checkout gets is no part of what was published.
    """
    found: dict[str, str] = {}
    for path in _walk(directory):
        name = str(path.relative_to(directory))
        if name.split("/")[0] in leave_out or (name == oms.FILE and oms.is_ours(path)):
            continue
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            found[name] = "directory"
        else:
            mark = "x" if status.st_mode & stat.S_IXUSR else "-"
            found[name] = f"file {mark} {status.st_size} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


def _walk(directory: Path) -> Iterator[Path]:
    for entry in sorted(directory.iterdir()):
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)


def flip_bit(path: Path, offset: int) -> None:
    """Damage one bit of a file behind everybody's back; size and times stay as they were."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes at ``path``. Needs root, or sudo that asks nothing (as on CI machines)."""
    path.mkdir(parents=True)
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={size},mode=0755,uid={os.geteuid()},gid={os.getegid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run([*sudo, "umount", "--lazy", str(path)], check=True)


def seeded_bytes(length: int, seed: int | str = 0) -> bytes:
    """Bytes that no codec makes smaller, the same for the same arguments.

    What several tests publish to one home should be seeded by its share's name: equal chunks are not fetched twice.
    """
    return hashlib.shake_256(f"p2pckpt test {seed}".encode()).digest(length)


def write_files(directory: Path, files: dict[str, bytes]) -> Path:
    """``files`` below ``directory``, which is returned."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory
