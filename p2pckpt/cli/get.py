"""``get``: show what a link or name offers, receive it, print where the checkout is."""

from __future__ import annotations

from pathlib import Path

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation, password_options, read_secret
from p2pckpt.cli.progress import Progress, summary
from p2pckpt.cli.session import follow, talk
from p2pckpt.cli.share import detached, print_started
from p2pckpt.cli.table import facts
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient

_CONFLICTS_SHOWN = 10


@click.command(cls=Command)
@click.argument("source", metavar="LINK|NAME[@VERSION]", shell_complete=complete_share)
@click.option("--only", multiple=True, metavar="weights|GLOB", help="Only these files; may be repeated.")
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="Directory of the checkout.")
@click.option("--seed/--no-seed", default=None, help="Offer what was received to others.")
@password_options("password")
@click.option("--allow-unsafe-pickle", is_flag=True, help="Hand it over even if its pickles may run commands.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would happen, fetch nothing but metadata.")
@click.option(
    "--patience",
    default="60s",
    type=text.Duration(),
    help="Stop waiting (exit code 9) when nobody seeds for so long; the daemon goes on.",
)
@click.option("--detach", is_flag=True, help="Return at once and print the job's id.")
@click.pass_obj
def get(
    invocation: Invocation,
    source: str,
    only: tuple[str, ...],
    to: Path | None,
    seed: bool | None,
    secret_file: Path | None,
    secret_stdin: bool,
    allow_unsafe_pickle: bool,
    dry_run: bool,
    patience: int,
    detach: bool,
) -> None:
    """Receive a version, verify it and check it out; prints the checkout's path.

    A LINK of "-" is read from stdin, which keeps its secret out of the list of processes.
    """
    report = invocation.report
    if source == "-" and secret_stdin:
        raise click.UsageError("stdin cannot hold both the link and the password")
    request = m.FetchRequest(
        source=report.read_stdin().strip() if source == "-" else source,
        to=str(to.expanduser().absolute()) if to else "",
        base=str(Path.cwd()),
        only=only,
        seed=invocation.config.flag("seed_after_get") if seed is None else seed,
        password=read_secret(invocation, secret_file, secret_stdin),
        allow_unsafe_pickle=allow_unsafe_pickle,
    )
    progress = Progress(report, stream=invocation.format == "jsonl")

    async def receive(client: ControlClient) -> m.Job | None:
        preview = await client.fetch_plan(request)
        _show_preview(invocation, preview, as_data=dry_run)
        if dry_run:
            return None
        job = await client.fetch(request)
        progress.latest = job
        return job if detach else await follow(client, job.id, progress.update, progress.notice, patience=patience)

    try:
        job = talk(invocation, receive)
    except KeyboardInterrupt:
        raise detached(invocation, progress.latest) from None
    if job is None:
        return
    if detach:
        print_started(invocation, job)
        return
    report.narrate(summary(job))
    if report.as_text:
        report.line(job.path)
    elif invocation.format == "json":
        report.json(job)
    if job.state is m.JobState.SEEDING:
        report.narrate("the daemon offers it to others now; stop that with: p2pckpt pause " + job.id)


def preview_lines(preview: m.FetchPreview) -> list[str]:
    """What a person wants to know before the first byte is fetched."""
    name = f" ({preview.version_name})" if preview.version_name else ""
    lines = facts(
        [
            ("version", f"{preview.share}@v{preview.version}{name}"),
            ("tags", ", ".join(preview.tags)),
            ("publisher", preview.publisher),
            ("licence", preview.licence or "none stated"),
            ("size", f"{text.size(preview.size)} in {text.count(len(preview.files), 'file')}"),
            ("reused", f"{text.size(preview.reused)} that is here already" if preview.reused else ""),
            ("to fetch", text.size(preview.wire_size)),
            ("seeds", str(preview.seeds) if preview.seeds else "none reachable now"),
            ("disk", f"{text.size(preview.disk_needed)} needed, {text.size(preview.disk_free)} free"),
            ("checkout", preview.to),
        ]
    )
    for path in preview.conflicts[:_CONFLICTS_SHOWN]:
        lines.append(f"  differs, will be moved aside: {path}")
    if len(preview.conflicts) > _CONFLICTS_SHOWN:
        lines.append(f"  and {len(preview.conflicts) - _CONFLICTS_SHOWN:,} more")
    return lines


def _show_preview(invocation: Invocation, preview: m.FetchPreview, *, as_data: bool) -> None:
    report = invocation.report
    if as_data and not report.as_text:
        report.json(preview)
        return
    for row in preview_lines(preview):
        (report.line if as_data else report.narrate)(row)
    for warning in preview.warnings:
        report.narrate(f"warning: {warning}", colour="yellow")
