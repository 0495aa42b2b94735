"""Reports of verifies, one file each, for as long as their jobs are known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from p2pckpt import atomic
from p2pckpt.control.health_messages import VerifyReport

_log = structlog.get_logger(__name__)


class VerifyReports:
    """Blocks on small files: for worker threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, report: VerifyReport) -> None:
        """Keep it in place of an earlier one of the same job; a disk that is full is no reason to end a verify."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            atomic.write(self._path(report.job), msgspec.json.encode(report))
        except OSError as exc:
            _log.warning("the report of a verify can't be kept", job=report.job, reason=str(exc))

    def newest(self, jobs: Iterable[str]) -> VerifyReport | None:
        """The report of the first of these jobs that has one."""
        for job in jobs:
            try:
                return msgspec.json.decode(self._path(job).read_bytes(), type=VerifyReport)
            except (OSError, msgspec.MsgspecError):
                continue
        return None

    def remove(self, job: str) -> None:
        self._path(job).unlink(missing_ok=True)

    def _path(self, job: str) -> Path:
        return self._directory / f"{job}.json"
