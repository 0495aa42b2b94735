"""``invite``: let one person in, by their key or by a link for one use."""

from __future__ import annotations

import time

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import QR, Command, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.control.access_messages import CreateLinkRequest, InviteRequest
from p2pckpt.tracker_protocol import Role

_WEEK = 7 * 86400


@click.command(cls=Command)
@click.argument("share", shell_complete=complete_share)
@click.argument("identity", required=False)
@click.option(
    "--role",
    type=click.Choice([str(Role.VIEWER), str(Role.DOWNLOADER), str(Role.PUBLISHER)]),
    default="downloader",
    show_default=True,
    help="What they may do; publisher only with IDENTITY.",
)
@click.option("--expires", type=text.Duration(), help="Without IDENTITY: time until the link dies; default 7d.")
@click.option(
    "--max-uses", type=click.IntRange(min=1), help="Without IDENTITY: how many people may join through it; default 1."
)
@QR
@click.pass_obj
def invite(
    invocation: Invocation,
    share: str,
    identity: str | None,
    role: str,
    expires: int | None,
    max_uses: int | None,
    qr: bool,
) -> None:
    """Let somebody into SHARE and print the link to send them.

    With IDENTITY, what their "p2pckpt key show -q" prints, that person is added, and the link is of use to nobody else.
    Without it, the link carries a secret: whoever uses it first is let in.
    """
    if identity is None:
        if role == Role.PUBLISHER:
            raise click.UsageError("a publisher is invited by key: ask for the output of p2pckpt key show -q")
        _by_link(invocation, share, Role(role), expires or _WEEK, max_uses or 1, qr=qr)
    elif expires or max_uses:
        raise click.UsageError("--expires and --max-uses are for links; who is added by key stays until removed")
    else:
        _by_key(invocation, InviteRequest(share, identity, Role(role)), qr=qr)


def _by_key(invocation: Invocation, request: InviteRequest, *, qr: bool) -> None:
    report = invocation.report
    reply = talk(invocation, lambda client: client.invite(request))
    if not report.as_text:
        report.json(reply)
        return
    report.line(reply.link)
    if qr:
        report.qr(reply.link)
    report.narrate(f"{request.role} now: {reply.words}")
    report.narrate('send them the link; it is no secret. They run: p2pckpt get "LINK"')
    report.narrate(f"take it back: p2pckpt member rm {request.share} {reply.identity[:12]}")


def _by_link(invocation: Invocation, share: str, role: Role, expires: int, max_uses: int, *, qr: bool) -> None:
    report = invocation.report
    request = CreateLinkRequest(share=share, role=role, expires_at=int(time.time()) + expires, max_uses=max_uses)
    reply = talk(invocation, lambda client: client.create_link(request))
    if not report.as_text:
        report.json(reply)
        return
    report.line(reply.link)
    if qr:
        report.qr(reply.link)
    people = "one person" if max_uses == 1 else f"{max_uses} people"
    report.narrate(f"lets {people} in as {role}, for {text.span(expires)}. Send it by a way you trust: it is a secret")
    report.narrate('they run: p2pckpt get "LINK"')
    if reply.reach:
        report.narrate(reply.reach)
    report.narrate(f"take it back: p2pckpt link revoke {share} LINK_ID, after p2pckpt link ls {share}")
