"""``peers ls|bans|ban|unban|announce``: who is connected, who must not be, and finding more of them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from p2pckpt.cli import text
from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.session import find_jobs, label, talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.control.client import ControlClient
from p2pckpt.control.health_messages import AnnounceReply, BanRequest, BanRow, PeersReply
from p2pckpt.control.messages import Job, PeerRow
from p2pckpt.errors import Cancelled


@click.group(cls=Group)
def peers() -> None:
    """Who is connected, over all transfers; keep somebody out; look for more."""


@peers.command("ls", cls=Command)
@click.pass_obj
def ls_(invocation: Invocation) -> None:
    """List the peers that are connected now, the busiest first."""
    report = invocation.report
    reply = talk(invocation, lambda client: client.peers())
    if not report.as_text:
        report.json(reply)
        return
    for line in [row.address for row in reply.peers] if report.quiet else peer_lines(reply.peers, terminal_width()):
        report.line(line)
    report.narrate(reach(reply))


@peers.command("bans", cls=Command)
@click.pass_obj
def bans(invocation: Invocation) -> None:
    """List whom this machine has nothing to do with."""
    rows = talk(invocation, lambda client: client.bans())
    invocation.report.items(rows, ids=(row.network for row in rows), text=lambda: ban_lines(rows, terminal_width()))
    if not rows:
        invocation.report.narrate("nobody is banned")


@peers.command("ban", cls=Command)
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option("--note", default="", help="Why, or whom it is meant for.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def ban(invocation: Invocation, addresses: tuple[str, ...], note: str, yes: bool) -> None:
    """Have nothing to do with these addresses or networks (10.0.0.0/24) in any swarm, until it is taken back.

    BitTorrent knows peers by address alone: it holds for everybody behind it, and for nobody who moves to another.
    """
    report = invocation.report
    if not yes:
        report.narrate("connections end at once, for everybody behind these addresses; members stay members")
        if not report.ask(f"Ban {', '.join(addresses)}?", otherwise="-y"):
            raise Cancelled("nobody was banned")

    async def all_of_them(client: ControlClient) -> list[BanRow]:
        return [await client.ban(BanRequest(address, note)) for address in addresses]

    rows = talk(invocation, all_of_them)
    report.items(rows, ids=(row.network for row in rows), text=lambda: (f"{row.network} banned" for row in rows))


@peers.command("unban", cls=Command)
@click.argument("networks", metavar="ADDRESS...", nargs=-1, required=True)
@click.pass_obj
def unban(invocation: Invocation, networks: tuple[str, ...]) -> None:
    """Take bans back."""

    async def all_of_them(client: ControlClient) -> None:
        for network in networks:
            await client.unban(network)

    talk(invocation, all_of_them)
    rows = [{"network": network, "banned": False} for network in networks]
    invocation.report.items(rows, ids=networks, text=lambda: (f"{network} no longer banned" for network in networks))


@peers.command("announce", cls=Command)
@click.argument("name", metavar="JOB|NAME[@VERSION]")
@click.pass_obj
def announce(invocation: Invocation, name: str) -> None:
    """Tell the tracker of a job now and look for more peers; of public shares in the DHT and on the LAN, too."""

    async def each(client: ControlClient) -> list[tuple[Job, AnnounceReply]]:
        return [(job, await client.announce(job.id)) for job in await find_jobs(client, name) if job.kind != "verify"]

    done = talk(invocation, each)
    rows = [{"job": job.id, "torrents": reply.torrents, "sought": reply.sought} for job, reply in done]
    invocation.report.items(
        rows,
        ids=(job.id for job, _ in done),
        text=lambda: (f"{job.id} {label(job)} {said(reply)}" for job, reply in done),
    )


def said(reply: AnnounceReply) -> str:
    """What a re-announce set off."""
    elsewhere = f", {text.count(reply.sought, 'of them')} sought in DHT and LAN" if reply.sought else ""
    return f"announced {text.count(reply.torrents, 'torrent')}{elsewhere}"


def peer_lines(rows: Sequence[PeerRow], width: int | None, now: float | None = None) -> list[str]:
    """One line a connection."""
    columns = [
        Column("PEER"), Column("WHO"), Column("SHARES"), Column("DOWN", right=True), Column("UP", right=True),
        Column("RECEIVED", right=True), Column("SENT", right=True), Column("FLAGS"), Column("VIA"), Column("CLIENT"),
        Column("SINCE"),
    ]  # fmt: skip
    cells = [
        [
            row.address,
            who(row),
            ", ".join(row.shares),
            text.rate(row.rate_down),
            text.rate(row.rate_up),
            text.size(row.total_down),
            text.size(row.total_up),
            row.flags,
            f"{row.transport} {row.place}",
            row.client,
            text.ago(row.since, now) if row.since else "",
        ]
        for row in rows
    ]
    return table(columns, cells, width=width)


def who(row: PeerRow) -> str:
    """Who it is, as far as that is known."""
    if row.who:
        return row.who[:8]
    return "a member" if row.member else "unknown"


def reach(reply: PeersReply) -> str:
    """How many there are, and how others find this machine."""
    if reply.mapped:
        mapped = f"mapped to {' and '.join(reply.mapped)}"
    else:
        mapped = "no router mapped them" if reply.port_mapping else "port mapping is off"
    found = [name for name, on in (("DHT", reply.dht), ("LAN discovery", reply.lan)) if on]
    elsewhere = f"{' and '.join(found)} on, for public shares" if found else "DHT and LAN discovery off"
    ports = " and ".join(map(str, reply.listening))
    return f"{text.count(reply.count, 'peer')}; ports {ports}, {mapped}; {elsewhere}; {text.count(reply.bans, 'ban')}"


def ban_lines(rows: Sequence[BanRow], width: int | None, now: float | None = None) -> list[str]:
    """One line a ban, newest first."""
    columns = [Column("ADDRESS"), Column("SINCE"), Column("NOTE")]
    return table(columns, [[row.network, text.ago(row.since, now), row.note] for row in rows], width=width)
