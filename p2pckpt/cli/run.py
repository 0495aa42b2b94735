"""``run watch|unwatch|ls|flush|restore|prune``: training runs whose every save is published, and the way back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Group, Invocation, password_options, read_secret
from p2pckpt.cli.progress import Progress
from p2pckpt.cli.prune import prune
from p2pckpt.cli.retention import retention_of, retention_options
from p2pckpt.cli.session import follow, label, talk
from p2pckpt.cli.share import detached
from p2pckpt.cli.table import Column, facts, table, terminal_width
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.control.run_messages import RestoreRequest, RunDetail, RunRow, SaveRow, SaveState, WatchRequest
from p2pckpt.errors import Partial
from p2pckpt.tracker_protocol import Visibility

_SAY_AFTER = 2.0
"""Seconds after which whoever waits is told why."""
_RUN_COLUMNS = [
    Column("RUN"), Column("STATE"), Column("SAVES", right=True), Column("REJECTED", right=True), Column("NEWEST"),
    Column("STEP", right=True), Column("NOTICED"), Column("DIRECTORY"),
]  # fmt: skip
_SAVE_COLUMNS = [
    Column("SAVE"), Column("STEP", right=True), Column("STATE"), Column("VERSION", right=True),
    Column("SIZE", right=True), Column("NOTICED"), Column("METRICS"), Column("WHY"),
]  # fmt: skip


@click.group(cls=Group)
def run() -> None:
    """Publish every save of a training run, and restart from the newest one that verifies."""


@run.command("watch", cls=Command)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", default="", help="Share name, such as lab/sft7.", shell_complete=complete_share)
@click.option(
    "--to",
    type=click.Choice([str(v) for v in Visibility]),
    default="members",
    show_default=True,
    help="Who may get it.",
)
@click.option("--delta/--no-delta", default=True, help="Tensors as differences to the last whole version.")
@click.option(
    "--quiet-for", default="3s", show_default=True, type=text.Duration(),
    help="A save without a mark of its end is finished when nothing changed for so long.",
)  # fmt: skip
@retention_options
@click.option("--allow-nonfinite", multiple=True, metavar="GLOB", help="Tensors that may hold NaN or infinity.")
@click.pass_obj
def watch(
    invocation: Invocation,
    directory: Path,
    name: str,
    to: str,
    delta: bool,
    quiet_for: int,
    keep_last: int | None,
    keep_every: int | None,
    keep_best: int | None,
    metric: str,
    highest: bool,
    allow_nonfinite: tuple[str, ...],
) -> None:
    """Publish every finished save in DIRECTORY, also those that are there already, from now on.

    The daemon does it, after every restart of it too. A save that is torn or not finite is never published. The
    directory may come into being later.
    """
    request = WatchRequest(
        path=str(directory.expanduser().absolute()),
        name=name,
        to=Visibility(to),
        delta=delta,
        quiet=float(quiet_for),
        retention=retention_of(keep_last, keep_every, keep_best, metric, highest=highest),
        allow_nonfinite=allow_nonfinite,
    )
    row = talk(invocation, lambda client: client.watch_run(request))
    report = invocation.report
    if report.as_text:
        report.line(row.name)
    else:
        report.json(row)
    report.narrate(f"every finished save in {row.path} becomes a version of {row.name}; see: p2pckpt run ls {row.name}")
    report.narrate(f"after a crash: p2pckpt run restore {row.name}")


@run.command("unwatch", cls=Command)
@click.argument("name")
@click.pass_obj
def unwatch(invocation: Invocation, name: str) -> None:
    """Look at the run's directory no more. Its versions stay, and are seeded."""
    row = talk(invocation, lambda client: client.unwatch_run(name))
    if not invocation.report.as_text:
        invocation.report.json(row)
    invocation.report.narrate(f"{row.name} is not watched any more")


@run.command("ls", cls=Command)
@click.argument("name", required=False)
@click.pass_obj
def ls_(invocation: Invocation, name: str | None) -> None:
    """List the runs published from this machine, or the saves of the run NAME and what became of each."""
    report = invocation.report
    if name is None:
        rows = talk(invocation, lambda client: client.runs())
        report.items(rows, ids=(row.name for row in rows), text=lambda: run_lines(rows, terminal_width()))
        if not rows:
            report.narrate("no runs yet; publish one with: p2pckpt run watch DIR")
        return
    detail = talk(invocation, lambda client: client.run_detail(name))
    if not report.as_text:
        report.json(detail)
        return
    if report.quiet:
        for save in detail.saves:
            report.line(save.name)
        return
    for line in detail_lines(detail, terminal_width()):
        report.line(line)


@run.command("flush", cls=Command)
@click.argument("name")
@click.pass_obj
def flush(invocation: Invocation, name: str) -> None:
    """Wait until every save of the run NAME is published or refused, as before a machine is given back.

    Exit code 3 when the newest save was refused.
    """
    report = invocation.report

    async def wait(client: ControlClient) -> RunDetail:
        waiting, said = asyncio.ensure_future(client.flush_run(name)), ""
        while not (await asyncio.wait({waiting}, timeout=_SAY_AFTER))[0]:
            problem = (await client.run_detail(name)).run.problem
            if problem not in ("", said):
                said = problem
                report.narrate(f"waiting: {problem}")
        return waiting.result()

    detail = talk(invocation, wait)
    if not report.as_text:
        report.json(detail)
    newest = detail.run.last
    if newest is None:
        report.narrate(f"{name} has no save yet")
    elif newest.state in (SaveState.REJECTED, SaveState.FAILED):
        raise Partial(f"{newest.name} was not published: {newest.why}", kept="every save before it")
    elif report.as_text:
        report.line(newest.name)


def run_lines(rows: list[RunRow], width: int | None) -> list[str]:
    """One line a run."""
    cells = [
        [
            row.name,
            row.problem or ("watched" if row.watching else "by hooks"),
            str(row.published),
            str(row.rejected),
            row.last.name if row.last else "-",
            _step(row.last),
            text.ago(row.last.noticed_at) if row.last else "never",
            row.path or "-",
        ]
        for row in rows
    ]
    return table(_RUN_COLUMNS, cells, width=width)


def detail_lines(detail: RunDetail, width: int | None) -> list[str]:
    """A run, and a line for each of its saves."""
    row = detail.run
    lines = facts(
        [
            ("run", row.name),
            ("directory", row.path),
            ("written by", row.kind),
            ("state", "watched" if row.watching else "hooks only"),
            ("problem", row.problem),
            ("a save every", text.span(row.every) if row.every else ""),
            ("keep", kept(row)),
        ]
    )
    cells = [
        [
            save.name,
            _step(save),
            str(save.state),
            f"v{save.version}" if save.version else "-",
            text.size(save.size) if save.size else "-",
            text.ago(save.noticed_at) if save.noticed_at else "restored",
            text.metrics(save.metrics),
            save.why,
        ]
        for save in detail.saves
    ]
    return [*lines, *(["", *table(_SAVE_COLUMNS, cells, width=width)] if cells else ["", "no save yet"])]


def kept(row: RunRow) -> str:
    """A retention policy in words."""
    keep = row.retention
    parts = [f"the last {keep.last}"] if keep.last else []
    parts += [f"every {keep.every:,} steps"] if keep.every else []
    parts += [f"the best {keep.best} by {keep.metric}"] if keep.best else []
    return ", ".join(parts) or "everything"


@run.command("restore", cls=Command)
@click.argument("source", metavar="NAME[@VERSION]|LINK", shell_complete=complete_share)
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="Directory to restore into.")
@click.option("--seed/--no-seed", default=True, help="Offer what was fetched to others.")
@password_options("password")
@click.option(
    "--patience", default="60s", show_default=True, type=text.Duration(),
    help="Pass over a version of which nothing arrives for so long.",
)  # fmt: skip
@click.option("--allow-nonfinite", multiple=True, metavar="GLOB", help="Tensors that may hold NaN or infinity.")
@click.pass_obj
def restore(
    invocation: Invocation,
    source: str,
    to: Path | None,
    seed: bool,
    secret_file: Path | None,
    secret_stdin: bool,
    patience: int,
    allow_nonfinite: tuple[str, ...],
) -> None:
    """Put the newest version that verifies on the disk, and print what to resume from.

    Signature and every chunk are checked, and that the save is whole and finite; a version that fails is passed over
    with its reason. Without --to it goes where the run saves on this machine, else below the working directory.
    """
    report = invocation.report
    request = RestoreRequest(
        source=source,
        to=str(to.expanduser().absolute()) if to else "",
        base=str(Path.cwd()),
        patience=float(patience),
        password=read_secret(invocation, secret_file, secret_stdin),
        seed=seed,
        allow_nonfinite=allow_nonfinite,
    )
    progress = Progress(report, stream=invocation.format == "jsonl")

    async def work(client: ControlClient) -> m.Job:
        job = await client.restore(request)
        progress.latest = job
        return await follow(client, job.id, progress.update, progress.notice)

    try:
        job = talk(invocation, work)
    except KeyboardInterrupt:
        raise detached(invocation, progress.latest) from None
    restored = job.restored
    assert restored is not None
    step = f", step {restored.step}" if restored.step is not None else ""
    fetched = f", {text.size(job.wire_done)} fetched" if job.wire_done else ""
    report.narrate(f"restored {label(job)}{step}: {text.size(job.size)} verified{fetched}")
    if report.as_text:
        report.line(restored.path)
    elif invocation.format == "json":
        report.json(restored)


run.add_command(prune)


def _step(save: SaveRow | None) -> str:
    return f"{save.step}" if save is not None and save.step is not None else "-"
