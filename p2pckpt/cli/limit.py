"""``limit``: how fast transfers may go, all together, and the slow mode."""

from __future__ import annotations

import time

import click

from p2pckpt.cli import text
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import facts
from p2pckpt.control.client import ControlClient
from p2pckpt.control.settings_messages import Limits, SetRequest, TurtleRequest
from p2pckpt.units import exact_size


@click.command(cls=Command)
@click.option("--down", type=text.Size(), metavar="SIZE", help="Bytes per second received: 500K, 5M, none.")
@click.option("--up", type=text.Size(), metavar="SIZE", help="Bytes per second sent.")
@click.option(
    "--turtle", type=click.Choice(["on", "off", "auto", "toggle"]), help="Slow mode; auto: within turtle_hours."
)
@click.pass_obj
def limit(invocation: Invocation, down: int | None, up: int | None, turtle: str | None) -> None:
    """Show the limits over all transfers, or set them; they are settings and stay."""

    async def change(client: ControlClient) -> Limits:
        for key, value in (("download_limit", down), ("upload_limit", up)):
            if value is not None:
                await client.set_setting(SetRequest(key, value))
        if turtle is not None:
            return await client.turtle(TurtleRequest(turtle))
        return await client.limits()

    limits = talk(invocation, change)
    if invocation.report.as_text:
        for row in lines(limits):
            invocation.report.line(row)
    else:
        invocation.report.json(limits)


def lines(limits: Limits, now: float | None = None) -> list[str]:
    """The limits in force as ``name  value`` lines."""
    mode = "on" if limits.slow else "off"
    if limits.turtle == "auto":
        mode += f", by turtle_hours {text.clean(limits.hours)}" if limits.hours else ""
        if limits.changes_at:
            at = time.strftime("%a %H:%M", time.localtime(limits.changes_at))
            mode += f", until {at}, {text.ago(limits.changes_at, now)}"
    return facts([("down", _rate(limits.down)), ("up", _rate(limits.up)), ("slow mode", mode)])


def _rate(count: int) -> str:
    return f"{exact_size(count)}/s" if count else "no limit"
