"""One version on the whole screen: what its manifest and card say."""

from __future__ import annotations

from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static, TabbedContent, TabPane, Tabs

from p2pckpt.control.messages import FileRow, ShareRow, TensorRow, VersionDetail, VersionRow
from p2pckpt.errors import P2pckptError
from p2pckpt.tui import commands
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.dialog import Line, table
from p2pckpt.tui.screens.version_actions import VersionActions
from p2pckpt.tui.state import Changes
from p2pckpt.tui.widgets.columns import Column
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import TopBar
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_TABS: Final = ("facts", "card", "files", "tensors")
_CARD: Final = 256 << 10
_FILES: Final[tuple[Column[FileRow], ...]] = (
    Column("path", "File", 30, lambda r, w: (f.safe(r.path, 400), "strong"), grow=3),
    Column("kind", "Kind", 12, lambda r, w: (f.safe(r.kind, 30), "dim"), 1),
    Column("size", "Size", 6, lambda r, w: (f.size(r.size), ""), right=True),
)
_TENSORS: Final[tuple[Column[TensorRow], ...]] = (
    Column("name", "Tensor", 30, lambda r, w: (f.safe(r.name, 400), "strong"), grow=3),
    Column("dtype", "Dtype", 7, lambda r, w: (f.safe(r.dtype, 20), "")),
    Column("shape", "Shape", 16, lambda r, w: ("×".join(map(str, r.shape)) or "scalar", ""), grow=1),
    Column("parameters", "Parameters", 14, lambda r, w: (f"{r.parameters:,}", ""), 1, right=True),
    Column("file", "File", 20, lambda r, w: (f.safe(r.file, 400), "dim"), 2, grow=1),
)


class VersionScreen(VersionActions):
    """Tabs of one version; what is not known yet is asked for once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back", id="detail.back"),
        Binding("left_square_bracket", "tab(-1)", "Previous tab", key_display="[", id="tabs.previous"),
        Binding("right_square_bracket", "tab(1)", "Next tab", key_display="]", id="tabs.next"),
    ]

    def __init__(self, share: ShareRow, version: VersionRow) -> None:
        super().__init__()
        self._share = share
        self._version = version
        self._files: VirtualTable[FileRow] = VirtualTable(_FILES, lambda row: row.path, id="version-files")
        self._tensors: VirtualTable[TensorRow] = VirtualTable(_TENSORS, lambda row: row.name, id="version-tensors")

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DownBanner(markup=False)
        with Vertical(id="pane-full"):
            yield Static("", id="version-title", markup=False)
            with TabbedContent(id="version-tabs"):
                with TabPane("Facts", id="facts"), VerticalScroll():
                    yield Static("Opening the manifest …", id="version-facts", markup=False)
                with TabPane("Card", id="card"), VerticalScroll():
                    yield Static("", id="version-card", markup=False)
                with TabPane("Files", id="files"):
                    yield self._files
                with TabPane("Tensors", id="tensors"):
                    yield self._tensors
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(Tabs).focus()
        self.state_changed(Changes(everything=True))
        wanted = f"{self._share.share_id}@v{self._version.version}"
        self.hub.commands.run(lambda client: client.version_detail(wanted), self._show, self._failed)

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        share, version = self.share(), self._version
        name = f"{f.safe(self._share.name, 100)} @ {f.version(version.version, version.name)}"
        pinned = "  ■ pinned" if share is not None and version.version in share.pinned else ""
        title = Content.assemble((name, "bold $text-primary"), (pinned, "$text-success"))
        self.query_one("#version-title", Static).update(title)

    def share(self) -> ShareRow | None:
        return self.state.shares.get(self._share.share_id)

    def targets(self) -> list[VersionRow]:
        return [self._version]

    def action_tab(self, step: int) -> None:
        """Turn the tabs."""
        tabs = self.query_one(TabbedContent)
        tabs.active = _TABS[(_TABS.index(tabs.active) + step) % len(_TABS)]

    def _show(self, detail: VersionDetail) -> None:
        if not self.is_attached:
            return
        self.query_one("#version-facts", Static).update(table(facts(detail)))
        card = "\n".join(f.safe(line, 2000) for line in detail.card[:_CARD].splitlines())
        self.query_one("#version-card", Static).update(Content(card or "This version has no card (README.md)."))
        self._files.set_rows(detail.files)
        self._tensors.set_rows(detail.tensors)
        tabs = self.query_one(TabbedContent)
        tabs.get_tab("files").label = Content(f"Files {len(detail.files):,}")
        tabs.get_tab("tensors").label = Content(f"Tensors {len(detail.tensors):,}")

    def _failed(self, error: P2pckptError) -> None:
        if self.is_attached:
            text = "✗ " + "\n  ".join(commands.lines(error))
            self.query_one("#version-facts", Static).update(Content.assemble((text, "$text-error")))


def facts(detail: VersionDetail) -> list[Line]:
    """What a person wants to know of a version, in that order."""
    row = detail.version
    measured = " ".join(f"{f.safe(name, 40)}={value:.4g}" for name, value in sorted(row.metrics.items()))
    lines: list[Line] = [
        ("Licence", f.safe(detail.licence) or "none named"),
        ("Made from", f.safe(", ".join(detail.base_model)) or "-"),
        ("Step", "-" if row.step is None else f"{row.step:,}"),
        ("Metrics", measured or "-"),
        ("Tags", f.safe(", ".join(row.tags)) or "-"),
        ("Size", f"{f.size(row.size)} in {f.plural(len(detail.files), 'file')}"),
        ("Stored", f"{f.size(detail.stored)} in {detail.objects:,} objects, {detail.chunks:,} chunks"),
        ("Added", f"{f.size(row.wire_size)} by this version"),
        ("Tensors", f"{len(detail.tensors):,}, {detail.parameters:,} parameters" if detail.tensors else "none named"),
        ("Held", "here, whole" if row.held else "not here"),
        ("Seeds", "not asked for" if row.seeds < 0 else f.plural(row.seeds, "other")),
        ("Publisher", f.fingerprint(detail.publisher)),
        ("Words", f.safe(detail.publisher_words)),
        ("Infohash", f.safe(" ".join(detail.info_hashes[:4]))),
        ("Encoder", f.safe(detail.encoder, 80)),
    ]
    return lines + [("!", f.safe(warning)) for warning in detail.warnings]
