"""``get``: show what a link or name offers, receive it, print where the checkout is."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import click
import msgspec

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation, password_options, read_secret
from p2pckpt.cli.progress import Progress, summary
from p2pckpt.cli.session import follow, talk
from p2pckpt.cli.share import detached, print_started
from p2pckpt.cli.table import facts
from p2pckpt.cli.trust import described
from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import LicenceNotAccepted, NotAllowed, NotFound

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
@click.option("--paused", is_flag=True, help="Only take it on; p2pckpt resume begins it. Prints the job's id.")
@click.option("--accept-licence", is_flag=True, help="Accept the licence that the owner asks you to accept.")
@click.option("--request", "ask", is_flag=True, help="If you are no member, ask the owner to let you in.")
@click.option("--message", default="", metavar="TEXT", help="With --request: who you are; at most 200 characters.")
@click.option("--wait", is_flag=True, help="With --request: wait until you are let in, then go on.")
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
    accept_licence: bool,
    ask: bool,
    message: str,
    wait: bool,
    paused: bool,
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
        paused=paused,
    )
    detach = detach or paused
    if (wait or message) and not ask:
        raise click.UsageError("--message and --wait go with --request")
    progress = Progress(report, stream=invocation.format == "jsonl")

    async def receive(client: ControlClient) -> m.Job | None:
        try:
            preview = await client.fetch_plan(request)
        except (NotAllowed, NotFound):
            if not ask:
                raise
            if not await ask_to_be_let_in(invocation, client, am.AskRequest(request.source, message), wait=wait):
                return None
            preview = await client.fetch_plan(request)
        _show_preview(invocation, preview, as_data=dry_run)
        if dry_run:
            return None
        if preview.licence_due:
            agree(invocation, preview, accept_licence)
        job = await client.fetch(msgspec.structs.replace(request, accept_licence=preview.licence_due))
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


def agree(invocation: Invocation, preview: m.FetchPreview, accepted: bool) -> None:
    """Returns if the user accepts the licence; raises ``LicenceNotAccepted`` for no, and where nobody can be asked."""
    report, name = invocation.report, f"{preview.share}@v{preview.version}"
    report.narrate(f"the owner of {preview.share} asks you to accept this licence: {preview.licence_due}")
    if accepted:
        return
    refusal = LicenceNotAccepted(
        f"the licence {preview.licence_due} was not accepted",
        kept="nothing was fetched",
        next_step=f"p2pckpt get {name} --accept-licence",
    )
    if not report.can_ask:
        raise refusal
    if not report.ask("accept it? Your signature goes to the owner", otherwise="--accept-licence"):
        raise refusal


async def ask_to_be_let_in(
    invocation: Invocation, client: ControlClient, request: am.AskRequest, *, wait: bool
) -> bool:
    """Ask the owners; whether they let us in, which only ``wait`` waits to see."""
    report = invocation.report
    # listening begins before asking: an owner may be faster than we are
    async with aclosing(client.events()) as events:  # type: ignore[type-var]
        await anext(events)
        reply = await client.ask(request)
        report.narrate("asked to be let in, if there is such a share: the tracker tells nobody")
        report.narrate(f"tell the owner these words, so that they know it is you: {reply.words}")
        if not wait:
            report.narrate('once they have approved: p2pckpt get "LINK" again')
            if not report.as_text:
                report.json(reply)
            return False
        report.narrate("waiting for the owner; Ctrl-C ends the waiting, the request stays")
        async for event in events:
            if isinstance(event, m.AccessGranted) and event.share_id == reply.share_id:
                report.narrate("you were let in")
                return True
    raise AssertionError("the event stream ends with an exception")


def preview_lines(preview: m.FetchPreview) -> list[str]:
    """What a person wants to know before the first byte is fetched."""
    name = f" ({preview.version_name})" if preview.version_name else ""
    lines = facts(
        [
            ("version", f"{preview.share}@v{preview.version}{name}"),
            ("tags", ", ".join(preview.tags)),
            ("publisher", preview.publisher),
            ("calls itself", preview.publisher_key.name if preview.publisher_key else ""),
            ("words", preview.publisher_words),
            ("its key is", described(preview.publisher_key) or "your own"),
            ("licence", preview.licence or "none stated"),
            ("to accept", preview.licence_due),
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
