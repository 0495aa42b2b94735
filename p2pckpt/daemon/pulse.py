"""How the daemon is: what moves in every job, and its own state, both measured once a second."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from p2pckpt import __version__
from p2pckpt.access.pool import BESIDE
from p2pckpt.control import messages as m
from p2pckpt.daemon.job_table import JobTable
from p2pckpt.daemon.live_settings import LiveSettings
from p2pckpt.daemon.rate_limits import RateLimits
from p2pckpt.daemon.stalls import StallMeter
from p2pckpt.jobs.services import Services
from p2pckpt.store.checkout import free_bytes
from p2pckpt.swarm.engine import TorrentStats


class Pulse:
    """``measure`` once a second; ``status`` at any time."""

    def __init__(
        self,
        services: Services,
        jobs: JobTable,
        settings: LiveSettings,
        limits: RateLimits,
        stalls: StallMeter,
        beside_runs: Callable[[], bool],
    ) -> None:
        """``beside_runs``: whether a tracker runs beside the daemon."""
        self._services = services
        self._jobs = jobs
        self._settings = settings
        self._limits = limits
        self._stalls = stalls
        self._beside_runs = beside_runs
        self._started_at = int(time.time())
        self._process = psutil.Process()
        self._rates = (0, 0)
        self._stored = 0

    def status(self) -> m.DaemonStatus:
        services, rss = self._services, self._process.memory_info().rss
        config, swarms, embedded = services.config, services.swarms, self._beside_runs()
        tracker = self._settings.config.text("tracker") or (BESIDE if embedded else "")
        return m.DaemonStatus(
            version=__version__,
            pid=self._process.pid,
            started_at=self._started_at,
            home=str(config.home or config.data_dir),
            identity=services.identity.hex,
            name=services.identity.name,
            listen_ports=swarms.ports,
            tracker=tracker,
            tracker_state=swarms.tracker_state.get(tracker, "none"),
            embedded_tracker=embedded,
            rate_down=self._rates[0],
            rate_up=self._rates[1],
            free_bytes=free_bytes(services.layout.root),
            stored_bytes=self._stored,
            max_loop_stall_ms=round(self._stalls.longest * 1000, 1),
            rss_bytes=rss,
            peak_rss_bytes=max(_peak_rss(), rss),  # the kernel counts them apart, and not to the page
            jobs=len(self._jobs.jobs()),
            limits=self._limits.state,
            keys_to_review=services.key_book.to_review,
        )

    async def measure(self) -> None:
        """Rates, peers and times of every job, and the daemon's own."""
        swarms = self._services.swarms
        stats = await swarms.refresh_stats()
        self._rates = (sum(s.rate_down for s in stats.values()), sum(s.rate_up for s in stats.values()))
        joined = swarms.torrents_by_job()
        for job in self._jobs.jobs():
            of_job = joined.get(job.id, [])
            torrents = [stats[h] for h in of_job if h in stats]
            is_running = job.state is m.JobState.RUNNING
            if torrents or is_running or job.rate_down or job.rate_up or job.peers or job.eta >= 0:
                fields = _live_fields(job, torrents)
                if is_running and fields["eta"] < 0:  # no matter of the network, or not now
                    pace = self._jobs.progress(job.id).pace
                    fields["eta"] = pace.left(time.monotonic(), job.done, job.size, str(job.phase))
                fields["seeds"] = max(map(swarms.known_seeds, of_job), default=0)
                if any(getattr(job, name) != value for name, value in fields.items()):
                    self._jobs.progress(job.id).update(**fields)
        self._stored = await asyncio.to_thread(self._services.catalogue.stored_bytes)


def _live_fields(job: m.Job, torrents: Sequence[TorrentStats]) -> dict[str, Any]:
    down, up = sum(t.rate_down for t in torrents), sum(t.rate_up for t in torrents)
    left = max(0, job.wire_size - job.wire_done)
    running = job.state is m.JobState.RUNNING and job.kind.receives
    return {
        "rate_down": down,
        "rate_up": up,
        "uploaded": sum(t.uploaded for t in torrents),
        "peers": max((t.peers for t in torrents), default=0),
        "eta": left // down if running and down else -1,
    }


def _peak_rss() -> int:
    """Bytes. Linux begins ``ru_maxrss`` with what the process that started this one held, so it is asked last."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
