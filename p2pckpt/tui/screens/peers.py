"""Peers: who is connected, over all transfers, and whom this machine has nothing to do with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from p2pckpt.control.health_messages import BanRequest, BanRow, PeersReply
from p2pckpt.control.messages import PeerRow
from p2pckpt.tui import format as f
from p2pckpt.tui import peer_columns
from p2pckpt.tui.asking import Asking
from p2pckpt.tui.commands import Request
from p2pckpt.tui.filters import Fields
from p2pckpt.tui.screens.base import ListScreen, StateScreen
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.job import JobScreen
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.columns import Column
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import TopBar
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_NAMED: Final = 5
"""Addresses that a dialog spells out."""


class PeersScreen(ListScreen[PeerRow]):
    """The list, fresh every second while it is looked at; its pane hides below 100 columns."""

    NAME = "Peers"
    EMPTY = (
        "Nobody is connected right now.\n"
        "1  Transfers: r on one of them announces it again and looks for peers\n"
        "B  Whom this machine has nothing to do with\n"
        "?  See all keys; p2pckpt doctor looks at ports and tracker"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "ban", "Ban", id="peers.ban", tooltip="p2pckpt peers ban ADDRESS"),
        Binding("B", "bans", "Bans", id="peers.bans", tooltip="p2pckpt peers bans"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._reply: PeersReply | None = None
        self._table: VirtualTable[PeerRow] = VirtualTable(
            peer_columns.columns(lambda: self.hub.now()), lambda peer: peer.address, id="list"
        )
        self._pane = Static("", id="pane", classes="facts-pane", markup=False)

    @property
    def fields(self) -> Fields[PeerRow]:
        return peer_columns.FIELDS

    @property
    def table(self) -> VirtualTable[PeerRow]:
        return self._table

    def all_rows(self) -> Sequence[PeerRow]:
        return self._reply.peers if self._reply is not None else ()

    def summary(self, rows: Sequence[PeerRow]) -> str:
        return "" if self._reply is None else reach(self._reply, short=not self.wide)

    def body(self) -> Iterable[Widget]:
        yield self._table
        yield self._pane

    def on_mount(self) -> None:
        self._asking = Asking(self.hub, self, lambda client, key: client.peers(), self._show)
        self.set_interval(1.0, self.refresh_peers)
        self._look()

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        if changes.everything:
            self._look()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self.refresh_peers()

    def refresh_peers(self) -> None:
        """Ask again while this screen is on top."""
        if self.is_current and hasattr(self, "_asking"):
            self._asking.refresh()

    def _look(self) -> None:
        if hasattr(self, "_asking"):
            self._asking.look_at("peers", self.state.connected)

    def _show(self, reply: PeersReply | None) -> None:
        if reply is not None:
            self._reply = reply
            self.list_rows()
            self._draw()

    def _draw(self) -> None:
        peer = self.table.cursor
        self._pane.update(Content("" if peer is None else described(peer, self.hub.now())))

    # -- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "ban":
            return self.state.down is None and self.table.cursor is not None
        return super().check_action(action, parameters)

    def action_ban(self) -> None:
        """Ask, with what it would mean; then have nothing to do with the selected addresses."""
        hosts = list(dict.fromkeys(host_of(peer) for peer in self.table.targets))
        if not hosts:
            return
        peers = [peer for peer in self.all_rows() if host_of(peer) in hosts]

        def answered(yes: bool | None) -> None:
            for host in hosts if yes else ():
                self.hub.commands.run(_ban(host), self._banned)

        self.app.push_screen(ban_dialog(hosts, peers), answered)

    def action_bans(self) -> None:
        """Show who is banned."""
        self.app.push_screen(BansScreen())

    def _banned(self, row: BanRow) -> None:
        self.hub.commands.say(f"{f.safe(row.network, 60)} is banned. B takes it back.")
        self._asking.refresh()

    @on(VirtualTable.Moved, "#list")
    def _moved(self) -> None:
        self._draw()
        self.refresh_bindings()

    @on(VirtualTable.Chosen, "#list")
    def _chosen(self) -> None:
        if self.table.cursor is not None:
            self.app.push_screen(PeerScreen(self.table.cursor))


class PeerScreen(StateScreen):
    """One peer as it was when it was chosen, for narrow terminals; on to its transfer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="detail.back"),
        Binding("enter", "open_job", "Open its transfer", id="peer.open-transfer"),
    ]

    def __init__(self, peer: PeerRow) -> None:
        super().__init__()
        self._peer = peer

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DownBanner(markup=False)
        yield Static(Content(described(self._peer, self.hub.now())), id="pane-full", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.state_changed(Changes(everything=True))

    def action_open_job(self) -> None:
        """Show the first transfer that the peer takes part in."""
        job = next((job for job in self._peer.jobs if job in self.state.jobs), None)
        if job is None:
            self.hub.commands.say("None of its transfers is here any more.", warning=True)
        else:
            self.app.push_screen(JobScreen(job))


class BansScreen(StateScreen):
    """The list of bans; each can be taken back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="detail.back"),
        Binding("u", "unban", "Take back", id="bans.unban", tooltip="p2pckpt peers unban ADDRESS"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.table: VirtualTable[BanRow] = VirtualTable(
            (
                Column("network", "Banned", 20, lambda r, w: (f.safe(r.network, 60), "strong"), grow=1),
                Column("since", "Since", 12, lambda r, w: (f.ago(r.since, self.hub.now()), "dim")),
                Column("note", "Note", 20, lambda r, w: (f.safe(r.note, 200), ""), grow=2),
            ),
            lambda row: row.network,
            id="bans",
        )

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DownBanner(markup=False)
        yield Static("", id="bans-title", markup=False)
        yield self.table
        yield KeyBar()

    def on_mount(self) -> None:
        self._asking = Asking(self.hub, self, lambda client, key: client.bans(), self._show)
        self.table.focus()
        self.state_changed(Changes(everything=True))

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        if changes.everything:
            self._asking.look_at("bans", self.state.connected)

    def _show(self, rows: list[BanRow] | None) -> None:
        if rows is not None:
            self.table.set_rows(rows)
            said = f"{f.plural(len(rows), 'address')} banned, in every swarm and over restarts"
            self.query_one("#bans-title", Static).update(Content(said if rows else "Nobody is banned."))

    def action_unban(self) -> None:
        """Let the selected addresses come back."""
        for row in self.table.targets:
            self.hub.commands.run(_unban(row.network), lambda _: self._asking.refresh())


def host_of(peer: PeerRow) -> str:
    """The address without its port."""
    return peer.address.rpartition(":")[0].strip("[]")


def ban_dialog(hosts: Sequence[str], peers: Sequence[PeerRow]) -> ConfirmDialog:
    """What it means to ban ``hosts``, which ``peers`` are connected from."""
    lines = []
    for host in hosts[:_NAMED]:
        here = [peer for peer in peers if host_of(peer) == host]
        lines.append(f"{f.safe(host, 60)}: {f.plural(len(here), 'connection')} end at once")
        lines += [f"  {peer_columns.who(peer)}, {f.safe(peer.client, 40)}" for peer in here[:_NAMED]]
    if len(hosts) > _NAMED:
        lines.append(f"… and {f.plural(len(hosts) - _NAMED, 'more address')}")
    if seeds := sum("S" in peer.flags for peer in peers):
        lines.append(f"! {f.plural(seeds, 'seed')} among them: what only they have does not arrive.")
    if any(_is_shared(host) for host in hosts):
        lines.append("! This machine's own address: every program here is meant.")
    lines += [
        "",
        "It holds for everybody behind the address, in every swarm, until it is taken back.",
        "Nobody loses a role: who must not read any more is removed from the share's members.",
    ]
    return ConfirmDialog("Ban", lines, yes="Ban", no="No", command=" ".join(["p2pckpt peers ban", *hosts[:_NAMED]]))


def _is_shared(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def described(peer: PeerRow, now: float) -> str:
    """A peer in full."""
    return "\n".join([f.safe(peer.address, 80), *peer_columns.facts(peer, now)])


def reach(reply: PeersReply, *, short: bool = False) -> str:
    """How many there are, and how others find this machine; ``short`` leaves the latter out."""
    parts = [f.plural(reply.count, "peer")]
    if reply.count > len(reply.peers):
        parts.append(f"the busiest {len(reply.peers):,} listed")
    if reply.bans:
        parts.append(f"{f.plural(reply.bans, 'ban')}")
    parts.append("ports " + " ".join(map(str, reply.listening)))
    if reply.mapped:
        parts.append("mapped" if short else f"mapped to {f.safe(reply.mapped[0], 60)}")
    else:
        parts.append("not mapped" if reply.port_mapping else "mapping off")
    if not short:
        on = [name for name, is_on in (("DHT", reply.dht), ("LAN discovery", reply.lan)) if is_on]
        parts.append(f"{' and '.join(on)} on for public shares" if on else "DHT and LAN discovery off")
    return " · ".join(parts)


def _ban(host: str) -> Request[BanRow]:
    return lambda client: client.ban(BanRequest(host))


def _unban(network: str) -> Request[None]:
    return lambda client: client.unban(network)
