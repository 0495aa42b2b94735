"""``link new|ls|show|qr|revoke``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import QR, Command, Group, Invocation, password_options, read_secret
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.access_messages import CreateLinkRequest, LinkRow
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage
from p2pckpt.tracker_protocol import Role
from p2pckpt.trust.links import is_link

_SHARE = click.argument("share", shell_complete=complete_share)


@click.group(cls=Group)
def link() -> None:
    """Make, list, show and revoke the links of a share."""


@link.command("new", cls=Command)
@_SHARE
@click.option(
    "--role",
    type=click.Choice([str(Role.VIEWER), str(Role.DOWNLOADER)]),
    default="downloader",
    show_default=True,
    help="What those who join may do.",
)
@click.option("--expires", type=text.Duration(), default=0, help="Time until the link dies: 12h, 7d.")
@click.option("--max-uses", type=click.IntRange(min=1), help="How many people may join through it.")
@password_options("password")
@QR
@click.pass_obj
def new(
    invocation: Invocation,
    share: str,
    role: str,
    expires: int,
    max_uses: int | None,
    secret_file: Path | None,
    secret_stdin: bool,
    qr: bool,
) -> None:
    """Make another link to SHARE and print it."""
    request = CreateLinkRequest(
        share=share,
        role=Role(role),
        expires_at=int(time.time()) + expires if expires else 0,
        max_uses=max_uses or 0,
        password=read_secret(invocation, secret_file, secret_stdin),
    )
    reply = talk(invocation, lambda client: client.create_link(request))
    report = invocation.report
    if not report.as_text:
        report.json(reply)
        return
    report.line(reply.link)
    if qr:
        report.qr(reply.link)
    for magnet in reply.magnets:
        report.narrate(f"for stock BitTorrent clients: {magnet}")
    if reply.web_link:
        report.narrate(f"for a browser: {reply.web_link}")
    if reply.reach:
        report.narrate(reply.reach)


@link.command("ls", cls=Command)
@_SHARE
@click.pass_obj
def ls_(invocation: Invocation, share: str) -> None:
    """List the links made for SHARE and how often each was used."""
    links = talk(invocation, lambda client: client.links(share))
    invocation.report.items(links, ids=(row.link_id for row in links), text=lambda: link_lines(links, terminal_width()))
    if not links:
        invocation.report.narrate(f"no links; make one with: p2pckpt link new {share}")


@link.command("show", cls=Command)
@_SHARE
@click.argument("link_id", metavar="[LINK_ID]", default="")
@click.pass_obj
def show(invocation: Invocation, share: str, link_id: str) -> None:
    """Print a link of SHARE again, for its owners; without LINK_ID one that says where the share is, for its members.

    A password that belongs to it is kept nowhere.
    """
    reply = talk(invocation, lambda client: client.link(share, link_id))
    if invocation.report.as_text:
        invocation.report.line(reply.link)
    else:
        invocation.report.json(reply)


@link.command("qr", cls=Command)
@click.argument("share", metavar="SHARE|-", shell_complete=complete_share)
@click.argument("link_id", metavar="[LINK_ID]", default="")
@click.pass_obj
def qr_(invocation: Invocation, share: str, link_id: str) -> None:
    """Draw a link as a QR code: what "link show" prints, or with "-" the link on stdin."""
    if share == "-":
        text = invocation.report.read_stdin().strip()
        if link_id or not is_link(text):
            raise BadUsage("there is no link on stdin")
    else:
        text = talk(invocation, lambda client: client.link(share, link_id)).link
    invocation.report.qr(text)


@link.command("revoke", cls=Command)
@_SHARE
@click.argument("link_ids", metavar="LINK_ID...", nargs=-1, required=True)
@click.pass_obj
def revoke(invocation: Invocation, share: str, link_ids: tuple[str, ...]) -> None:
    """Let nobody join through these links any more; who joined before stays a member."""

    async def revoke_all(client: ControlClient) -> None:
        for link_id in link_ids:
            await client.revoke_link(share, link_id)

    talk(invocation, revoke_all)
    rows = [{"link_id": link_id, "revoked": True} for link_id in link_ids]
    invocation.report.items(rows, ids=link_ids, text=lambda: (f"{link_id} revoked" for link_id in link_ids))


def link_lines(links: Sequence[LinkRow], width: int | None, now: float | None = None) -> list[str]:
    """One line a link; STATE says why a dead one is dead."""
    moment = time.time() if now is None else now
    columns = [
        Column("LINK"),
        Column("ROLE"),
        Column("STATE"),
        Column("USES", right=True),
        Column("EXPIRES"),
        Column("MADE"),
    ]
    rows = []
    for row in links:
        uses = f"{row.uses} of {row.max_uses}" if row.max_uses else str(row.uses)
        expires = text.ago(row.expires_at, moment)
        rows.append([row.link_id, str(row.role), row.state(moment), uses, expires, text.ago(row.created_at, moment)])
    return table(columns, rows, width=width)
