"""One share in full: who it is for, its tags and seeds, and its versions."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from p2pckpt.control.messages import ShareDetail, ShareRow, VersionRow
from p2pckpt.tui import format as f
from p2pckpt.tui import share_columns
from p2pckpt.tui.widgets.virtual_table import VirtualTable


class SharePane(Vertical):
    """Draws the share and the versions it was last given."""

    def __init__(self, now: Callable[[], float], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.versions: VirtualTable[VersionRow] = VirtualTable(
            share_columns.version_columns(now), lambda version: str(version.version), id="versions"
        )

    def compose(self) -> ComposeResult:
        yield Static("", id="share-title", markup=False)
        yield Static("", id="share-facts", markup=False)
        yield self.versions

    def show_share(self, share: ShareRow | None) -> None:
        """Draw what the list knows already."""
        if share is None:
            self.query_one("#share-title", Static).update("")
            self.query_one("#share-facts", Static).update("")
            return
        self.query_one("#share-title", Static).update(_title(share))
        self.query_one("#share-facts", Static).update(_facts(share))

    def show_detail(self, detail: ShareDetail | None) -> None:
        """Draw the versions; None empties the list until they are here."""
        self.versions.set_rows(() if detail is None else detail.versions)


def _title(share: ShareRow) -> Content:
    who = {"members": "for its members", "link": "for whoever has a link", "public": "public"}[share.visibility.value]
    return Content.assemble((f.safe(share.name, 120), "bold $text-primary"), f"   {who} · you are {share.role.value}")


def _facts(share: ShareRow) -> Content:
    first = (
        f"{f.plural(share.versions, 'version')} · {f.plural(share.members, 'member')} · "
        f"{f.plural(share.seeds, 'seed')} of the newest · {f.size(share.stored)} stored here"
    )
    lines: list[str | tuple[str, str]] = [first, f"\nTags  {share_columns.tags(share)}"]
    lines.append((f"\nOwner {f.identity(share.owner)} · tracker {f.safe(share.tracker, 80) or 'none'}", "$text-muted"))
    if share.latest and share.seeds == 0:
        lines.append(("\n! Nobody else is known to seed the newest version.", "$text-warning"))
    return Content.assemble(*lines)
