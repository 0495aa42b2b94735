"""``share``: publish a directory, show how it goes, print the link."""

from __future__ import annotations

import time
from pathlib import Path

import click
from msgspec.structs import replace

from p2pckpt.checkpoint.licences import COMMON
from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import QR, Command, Invocation, password_options, read_secret
from p2pckpt.cli.progress import Progress, summary
from p2pckpt.cli.report import INTERRUPTED
from p2pckpt.cli.session import follow, label, talk
from p2pckpt.cli.table import facts
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control.client import ControlClient
from p2pckpt.tracker_protocol import Visibility

_REACH = {
    Visibility.MEMBERS: "only members can get it; add them with: p2pckpt member add {name} IDENTITY",
    Visibility.LINK: "members and whoever has the link can get it; take it back: p2pckpt link revoke {name} LINK_ID",
    Visibility.PUBLIC: "anyone can get it; its content is not encrypted",
}


@click.command(cls=Command)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", default="", help="Share name, such as cars/sd15.", shell_complete=complete_share)
@click.option("--version-name", "--version", default="", help="Name of the version, such as step-42000.")
@click.option(
    "--to", type=click.Choice([str(v) for v in Visibility]), default="link", show_default=True, help="Who may get it."
)
@click.option("--tag", "tags", multiple=True, help="Tag for the version besides latest; may be repeated.")
@password_options("password")
@click.option("--expires", type=text.Duration(), default=0, help="Time until the link dies: 12h, 7d.")
@click.option("--max-uses", type=click.IntRange(min=1), help="How many people may join through the link.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME=NUMBER", help="A measurement to record.")
@click.option("--step", type=click.IntRange(min=0), help="Training step to record.")
@click.option("--licence", default="", help="Write this licence into the folder's README.md first: apache-2.0, mit, …")
@click.option("--base-model", "base_models", multiple=True, help="Likewise what it was made from; may be repeated.")
@click.option("--card-tag", "card_tags", multiple=True, help="Likewise a tag of the card; may be repeated.")
@click.option("--delta", is_flag=True, help="Tensors as differences to the last whole version, where that is smaller.")
@click.option("--allow-no-licence", is_flag=True, help="Publish although no licence is stated.")
@click.option("--allow-unsafe-pickle", is_flag=True, help="Publish pickles with unknown imports, and record them.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be new, write nothing.")
@click.option("--detach", is_flag=True, help="Return at once and print the job's id.")
@QR
@click.pass_obj
def share(
    invocation: Invocation,
    directory: Path,
    name: str,
    version_name: str,
    to: str,
    tags: tuple[str, ...],
    secret_file: Path | None,
    secret_stdin: bool,
    expires: int,
    max_uses: int | None,
    metrics: tuple[str, ...],
    step: int | None,
    licence: str,
    base_models: tuple[str, ...],
    card_tags: tuple[str, ...],
    delta: bool,
    allow_no_licence: bool,
    allow_unsafe_pickle: bool,
    dry_run: bool,
    detach: bool,
    qr: bool,
) -> None:
    """Publish DIRECTORY as a new version of a share and print the link to send.

    The daemon goes on seeding it afterwards. Sharing the same name again publishes the next version, which
    moves only what changed.
    """
    report = invocation.report
    path = str(directory.absolute())
    request = pm.PublishRequest(
        path=path,
        name=name,
        version_name=version_name,
        to=Visibility(to),
        tags=tags,
        delta=delta,
        allow_no_licence=allow_no_licence,
        allow_unsafe_pickle=allow_unsafe_pickle,
        metrics=_parse_metrics(metrics),
        step=step,
        expires_at=int(time.time()) + expires if expires else 0,
        max_uses=max_uses or 0,
        password=read_secret(invocation, secret_file, secret_stdin),
    )
    may_ask = report.can_ask and report.as_text and not (licence or allow_no_licence or dry_run or detach)
    if licence or base_models or card_tags or may_ask:
        there = talk(invocation, lambda client: client.look(pm.LookRequest(path, name)))
        if may_ask and not there.licence and there.known_as is None:
            licence = _ask_licence(invocation)
        if licence or base_models or card_tags:
            card = pm.CardFields(
                licence=licence or there.licence,
                base_model=base_models or there.base_model,
                tags=card_tags or there.tags,
            )
            request = replace(request, card=card)
    if dry_run:
        _print_plan(invocation, talk(invocation, lambda client: client.publish_plan(request)), delta=delta)
        return
    progress = Progress(report, stream=invocation.format == "jsonl")

    async def publish(client: ControlClient) -> tuple[m.Job, Visibility, tuple[str, ...]]:
        job = await client.publish(request)
        progress.latest = job
        if detach:
            return job, request.to, ()
        job = await follow(client, job.id, progress.update, progress.notice)
        # a share that existed before has kept its own visibility, whatever --to said
        visibility = (await client.share_detail(job.share)).share.visibility
        if visibility is not Visibility.PUBLIC:
            return job, visibility, ()
        return job, visibility, (await client.version_detail(f"{job.share}@v{job.version}")).magnets

    try:
        job, visibility, magnets = talk(invocation, publish)
    except KeyboardInterrupt:
        raise detached(invocation, progress.latest) from None
    if detach:
        print_started(invocation, job)
        return
    report.narrate(summary(job))
    if report.as_text:
        report.line(job.link or label(job))
        if qr and job.link:
            report.qr(job.link)
    elif invocation.format == "json":
        report.json(job)
    for magnet in magnets:
        report.narrate(f"for stock BitTorrent clients: {magnet}")
    report.narrate(_REACH[visibility].format(name=job.share))
    report.narrate("the daemon goes on seeding it; follow it with: p2pckpt watch " + job.id)


def _ask_licence(invocation: Invocation) -> str:
    """What the person types for a new share whose card names no licence; empty for none."""
    report = invocation.report
    report.narrate("its README.md names no licence; with one, others know what they may do with it")
    report.narrate(f"common ones: {', '.join(COMMON)}")
    return report.typed("licence, written into README.md (Enter for none)", otherwise="--licence NAME")


def detached(invocation: Invocation, job: m.Job | None) -> click.exceptions.Exit:
    """Says that Ctrl-C ended only the watching, and how to go on; the exception to raise."""
    report = invocation.report
    if job is None:
        report.narrate("interrupted before the daemon had taken the work on")
    else:
        report.narrate(f"detached: the daemon goes on with {label(job)}")
        report.narrate(f"watch: p2pckpt watch {job.id}; cancel: p2pckpt rm {job.id}")
    return click.exceptions.Exit(INTERRUPTED)


def print_started(invocation: Invocation, job: m.Job) -> None:
    """What ``--detach`` leaves on stdout: the job's id."""
    if invocation.report.as_text:
        invocation.report.line(job.id)
    else:
        invocation.report.json(job)
    begun = job.state is not m.JobState.PAUSED
    text = f"the daemon works on {label(job)}; follow it with: p2pckpt watch {job.id}"
    invocation.report.narrate(text if begun else f"{label(job)} waits; begin it with: p2pckpt resume {job.id}")


def _print_plan(invocation: Invocation, plan: pm.PublishPlan, *, delta: bool) -> None:
    offered = "" if delta or plan.delta_size < 0 else f"; with --delta about {text.size(plan.delta_size)}"
    report = invocation.report
    if not report.as_text:
        report.json(plan)
        return
    for row in facts(
        [
            ("version", f"{plan.share}@v{plan.version}"),
            ("files", f"{plan.files:,}, {text.size(plan.size)}"),
            ("new", f"{text.size(plan.new_size)} in {text.count(plan.new_file_count, 'file')}"),
            ("to send", f"about {text.size(plan.stored_size)}, compressed{offered}"),
            ("disk", f"at most {text.size(plan.disk_needed)} of {text.size(plan.disk_free)} free"),
        ]
    ):
        report.line(row)
    for file in plan.new_files:
        report.line(f"  {text.size(file.new_size):>9} of {text.size(file.size):<9}  {file.path}: {file.why}")
    if len(plan.new_files) < plan.new_file_count:
        report.line(f"  and {plan.new_file_count - len(plan.new_files):,} more")
    for warning in plan.warnings:
        report.narrate(f"warning: {warning}", colour="yellow")


def _parse_metrics(pairs: tuple[str, ...]) -> dict[str, float]:
    metrics = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            metrics[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise click.UsageError(f"--metric {pair}: write NAME=NUMBER, such as loss=0.31")
    return metrics
