"""``daemon start|stop|status|logs|install``."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections import deque
from pathlib import Path

import click

from p2pckpt.atomic import write_whole
from p2pckpt.cli import text
from p2pckpt.cli.daemon_log import LEVELS, Record, records
from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import facts
from p2pckpt.cli.unit import UNIT_NAME, unit_directory, unit_text
from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import DaemonStatus
from p2pckpt.control.settings_messages import Limits
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotFound, P2pckptError
from p2pckpt.units import exact_size

_STOP_DEADLINE = 30.0
"""Seconds a daemon gets to save its state and go."""
_POLL = 0.1
"""Seconds between two looks at a daemon that is stopping, or a log that is being followed."""


@click.group(cls=Group)
def daemon() -> None:
    """Start, stop, inspect and install the daemon that does the work."""


@daemon.command("start", cls=Command)
@click.pass_obj
def start(invocation: Invocation) -> None:
    """Start the daemon unless it runs already. Every command that needs it does this by itself."""
    _print_status(invocation, talk(invocation, lambda client: client.status()))


@daemon.command("stop", cls=Command)
@click.pass_obj
def stop(invocation: Invocation) -> None:
    """Stop the daemon and wait until it is gone. Its jobs go on when it starts again."""

    try:
        talk(invocation, stop_and_wait, start=False)
    except DaemonUnavailable:
        invocation.report.narrate("no daemon is running")
    else:
        invocation.report.narrate("stopped; transfers go on at the next start")


async def stop_and_wait(client: ControlClient) -> None:
    """Returns once the daemon's process has ended: one that only closed its socket keeps the next from starting."""
    pid = (await client.status()).pid
    await client.stop()
    deadline = time.monotonic() + _STOP_DEADLINE
    while time.monotonic() < deadline:
        if not _is_alive(pid):
            return
        await asyncio.sleep(_POLL)
    raise P2pckptError("the daemon still runs after 30 s", next_step="p2pckpt daemon logs")


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@daemon.command("status", cls=Command)
@click.pass_obj
def status(invocation: Invocation) -> None:
    """Show what the daemon is doing; exit code 8 when it is not running."""
    _print_status(invocation, talk(invocation, lambda client: client.status(), start=False))


@daemon.command("logs", cls=Command)
@click.option("-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many records.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is added.")
@click.option("--level", type=click.Choice(LEVELS), help="Only what weighs at least this much.")
@click.pass_obj
def logs(invocation: Invocation, lines: int, follow: bool, level: str | None) -> None:
    """Print the end of the daemon's log, which is there also when no daemon runs."""
    log = invocation.config.daemon_log
    try:
        source = log.open(encoding="utf-8", errors="replace")
    except FileNotFoundError as exc:
        raise NotFound(f"there is no log at {log} yet", next_step="p2pckpt daemon start") from exc
    with source:
        found = deque((record for record in records(source) if record.weighs(level or "")), maxlen=lines)
        if invocation.format == "json" and not follow:
            invocation.report.json([record.as_json() for record in found])
            return
        for record in found:
            _print_record(invocation, record)
        half = ""
        while follow:
            *added, half = (half + source.read()).split("\n")
            for record in records(added):
                if record.weighs(level or ""):
                    _print_record(invocation, record)
            time.sleep(_POLL)


def _print_record(invocation: Invocation, record: Record) -> None:
    if not invocation.report.as_text:
        invocation.report.event(record.as_json())
        return
    for row in record.lines:
        invocation.report.line(row)


@daemon.command("install", cls=Command)
@click.option("--now", is_flag=True, help="Also enable and start it.")
@click.option("--print", "only_print", is_flag=True, help="Print the unit, write nothing.")
@click.pass_obj
def install(invocation: Invocation, now: bool, only_print: bool) -> None:
    """Write a systemd user unit, so that the daemon starts with your session."""
    report = invocation.report
    unit = unit_text(invocation.config)
    if only_print:
        report.text(unit)
        return
    path = unit_directory() / UNIT_NAME
    write_whole(path, unit.encode(), mode=0o644)
    if report.as_text:
        report.line(str(path))
    else:
        report.json({"path": str(path)})
    if now:
        _enable(path)
        report.narrate("enabled and started; to run without a session: loginctl enable-linger")
    else:
        report.narrate(f"start it with: systemctl --user enable --now {UNIT_NAME}")


def _enable(path: Path) -> None:
    if shutil.which("systemctl") is None:
        raise BadUsage("there is no systemctl here", kept=str(path), next_step="p2pckpt daemon start")
    for arguments in (["daemon-reload"], ["enable", "--now", UNIT_NAME]):
        done = subprocess.run(["systemctl", "--user", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            fact = f"systemctl --user {arguments[0]} failed: {done.stderr.strip()[:300]}"
            raise P2pckptError(fact, kept=str(path), next_step="p2pckpt daemon start")


def _print_status(invocation: Invocation, state: DaemonStatus) -> None:
    report = invocation.report
    if not report.as_text:
        report.json(state)
    elif report.quiet:
        report.line(str(state.pid))
    else:
        for row in status_lines(state):
            report.line(row)


def _limits(limits: Limits) -> str:
    """Empty where there are none."""
    rates = [f"{arrow} {exact_size(rate)}/s" for arrow, rate in (("↓", limits.down), ("↑", limits.up)) if rate]
    return "  ".join(rates + ["(slow mode)"] * limits.slow)


def status_lines(state: DaemonStatus, now: float | None = None) -> list[str]:
    """The status as ``name  value`` lines."""
    beside = ", runs beside the daemon" if state.embedded_tracker else ""
    return facts(
        [
            ("daemon", f"p2pckpt {state.version}, process {state.pid}, started {text.ago(state.started_at, now)}"),
            ("home", state.home),
            ("you", f"{state.name} {state.identity}"),
            ("tracker", f"{state.tracker or 'none'} ({state.tracker_state}{beside})"),
            ("ports", ", ".join(map(str, state.listen_ports))),
            ("jobs", str(state.jobs)),
            ("moving", f"↓ {text.rate(state.rate_down)}  ↑ {text.rate(state.rate_up)}"),
            ("limits", _limits(state.limits)),
            ("store", f"{text.size(state.stored_bytes)}, {text.size(state.free_bytes)} free on its disk"),
            ("memory", f"{text.size(state.rss_bytes)}, at most {text.size(state.peak_rss_bytes)} so far"),
        ]
    )
