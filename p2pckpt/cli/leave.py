"""``leave``: take a share off this machine."""

from __future__ import annotations

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.control.access_messages import LeaveReply
from p2pckpt.control.client import ControlClient
from p2pckpt.control.pin_messages import pinned
from p2pckpt.errors import Cancelled


@click.command(cls=Command)
@click.argument("name", metavar="SHARE", shell_complete=complete_share)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what it would mean.")
@click.option("--unpin", is_flag=True, help="Also where versions are pinned: let go of them.")
@click.pass_obj
def leave(invocation: Invocation, name: str, yes: bool, dry_run: bool, unpin: bool) -> None:
    """Forget SHARE: its jobs end and its objects here are deleted. No checkout or published folder is touched.

    Members can come back by a link to it, owners by the one that is printed.
    """
    report = invocation.report

    async def work(client: ControlClient) -> LeaveReply | None:
        plan = await client.leave_plan(name)
        if dry_run and not report.as_text:
            report.json(plan)
            return None
        for line in plan.consequences:
            report.narrate(line)
        report.narrate(f"{text.count(len(plan.jobs), 'job')}, {text.size(plan.stored)} of objects")
        if plan.link:
            report.narrate(f"to come back: p2pckpt get {plan.link}")
        if dry_run:
            return None
        if plan.pinned and not unpin:
            raise pinned(plan.share, plan.pinned, f"p2pckpt leave {plan.share} --unpin")
        if not yes and not report.ask(f"Leave {plan.share}?", otherwise="-y"):
            raise Cancelled("nothing was changed")
        return await client.leave(plan.share_id, unpin=unpin)

    reply = talk(invocation, work)
    if reply is not None:
        report.items(
            [reply], ids=[reply.share_id], text=lambda: [f"left {reply.share}, {text.size(reply.freed)} freed"]
        )
