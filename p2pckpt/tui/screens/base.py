"""What the main screens have in common: bars, the daemon-down banner, a filtered and sorted list."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Static

from p2pckpt.errors import BadUsage
from p2pckpt.tui import format as f
from p2pckpt.tui.filters import Fields, parse
from p2pckpt.tui.live_list import LiveList
from p2pckpt.tui.state import Changes, State
from p2pckpt.tui.widgets.clean_input import CleanInput
from p2pckpt.tui.widgets.down_banner import DownBanner
from p2pckpt.tui.widgets.key_bar import KeyBar
from p2pckpt.tui.widgets.top_bar import NavBar, TopBar
from p2pckpt.tui.widgets.virtual_table import VirtualTable

if TYPE_CHECKING:
    from p2pckpt.tui.app import P2pckptApp

R = TypeVar("R")


class StateScreen(Screen[Any]):
    """A screen that the app tells of every flush of the state."""

    WIDE: ClassVar[int] = 100
    """Columns from which a list has its pane beside it."""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - Textual declares it as one of the instance

    _bars: Sequence[TopBar | DownBanner] | None = None
    """Those of this screen, once they were looked for."""

    @property
    def hub(self) -> P2pckptApp:
        """The app, with its own type."""
        return cast("P2pckptApp", self.app)

    @property
    def wide(self) -> bool:
        """Whether panes are shown; true to the terminal even before the first layout."""
        return self.app.size.width >= self.WIDE

    @property
    def state(self) -> State:
        return self.hub.feed.state

    def state_changed(self, changes: Changes) -> None:
        """Draw what changed. Called only while mounted."""
        if self._bars is None:
            self._bars = [*self.query(TopBar), *self.query(DownBanner)]
        for bar in self._bars:
            bar.show(self.state)


class ListScreen(StateScreen, Generic[R]):
    """A main screen: one list of rows, a filter, an empty state, a pane of details."""

    NAME: ClassVar[str]
    EMPTY: ClassVar[str]
    """What a list without rows teaches; lines of ``key  text``."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "mark", "Mark", show=False, id="list.mark"),
        Binding("A", "mark_all", "Mark all", show=False, id="list.mark-all"),
        Binding("slash", "filter", "Filter", key_display="/", id="list.filter"),
        Binding("s", "sort", "Sort", id="list.sort"),
        Binding("S", "reverse", "Sort the other way", show=False, id="list.reverse"),
        Binding("escape", "clear_filter", "Clear filter", show=False, id="list.clear-filter"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._list: LiveList[R] = LiveList()
        self._summary = ""

    # -- what a list says about itself

    @property
    @abstractmethod
    def fields(self) -> Fields[R]: ...

    @property
    @abstractmethod
    def table(self) -> VirtualTable[R]: ...

    @abstractmethod
    def all_rows(self) -> Sequence[R]:
        """Every row, in the order of creation."""

    @abstractmethod
    def summary(self, rows: Sequence[R]) -> str:
        """The line above the list, about all rows."""

    @abstractmethod
    def body(self) -> Iterable[Widget]:
        """The list and its pane."""

    # -- drawing

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield NavBar(self.hub.titles, self.NAME)
        yield DownBanner(markup=False)
        yield Static("", id="summary", markup=False)
        yield from self.body()
        yield Static(_teach(self.EMPTY), id="empty", markup=False)
        yield CleanInput(placeholder="words, state:down, seeds:0, size:>100G", id="filter", compact=True)
        yield KeyBar()

    def on_mount(self) -> None:
        self.table.focus()
        self.state_changed(Changes(everything=True))

    def on_screen_resume(self) -> None:
        self.state_changed(Changes(everything=True))

    def on_resize(self) -> None:
        self.state_changed(Changes(everything=True))

    def state_changed(self, changes: Changes) -> None:
        super().state_changed(changes)
        down = self.state.down is not None
        if self.has_class("-down") != down:
            self.set_class(down, "-down")
            self.table.set_class(down, "-stale")
            self.refresh_bindings()
        self.list_rows()

    def list_rows(self) -> None:
        """Filter and sort what there is, as far as it changed, and hand it to the table."""
        self._list.update(self.all_rows())
        self._list.sort(self.table.sort(), descending=self.table.sort_descending)
        self.table.set_rows(self._list.rows)
        self.set_class(not self._list.everything, "-empty")
        self._show_summary()

    def _show_summary(self) -> None:
        text = self.summary(self._list.everything)
        if self._filter:
            text += f"    filter: {f.safe(self._filter, 60)} ({len(self._list.rows)} shown)"
        if self.table.sort_key:
            title = next(c.title for c in self.table.columns if c.key == self.table.sort_key)
            text += f"    sort: {title} {'↓' if self.table.sort_descending else '↑'}"
        if self.table.marks:
            text += f"    * {len(self.table.marks)} marked"
        if text != self._summary:
            self._summary = text
            self.query_one("#summary", Static).update(Content(text), layout=False)

    # -- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "sort":
            return self.state.down is None
        return super().check_action(action, parameters)

    def action_mark(self) -> None:
        self.table.mark()
        self._show_summary()

    def action_mark_all(self) -> None:
        self.table.mark_all()
        self._show_summary()

    def action_sort(self) -> None:
        self.table.next_sort()
        self.list_rows()

    def action_reverse(self) -> None:
        if self.table.sort_key:
            self.table.sort_by(self.table.sort_key)
            self.list_rows()

    def action_filter(self) -> None:
        box = self.query_one("#filter", CleanInput)
        box.add_class("-open")
        self.set_focus(box)  # at once: what is typed next belongs to it

    def action_clear_filter(self) -> None:
        box = self.query_one("#filter", CleanInput)
        box.value = ""
        box.remove_class("-open")
        self._set_filter("")
        self.set_focus(self.table)

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        try:
            self._set_filter(event.value.strip())
        except BadUsage:
            event.input.add_class("-invalid")
        else:
            event.input.remove_class("-invalid")

    @on(Input.Submitted, "#filter")
    def _filter_submitted(self, event: Input.Submitted) -> None:
        try:
            self._set_filter(event.value.strip())
        except BadUsage as error:
            self.hub.commands.tell(error)
            return
        self.set_focus(self.table)
        if not self._filter:
            event.input.remove_class("-open")

    def _set_filter(self, text: str) -> None:
        if text != self._filter:
            passes = parse(text, self.fields)
            self._list.filter(passes if text else None)
            self._filter = text
            self.list_rows()

    @on(VirtualTable.HeaderClicked)
    def _header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        if event.table is self.table:
            self.table.sort_by(event.key)
            self.list_rows()


def _teach(text: str) -> Content:
    parts: list[str | tuple[str, str]] = []
    for line in text.splitlines():
        key, gap, rest = line.partition("  ")
        if gap:
            parts += [(f"   {key}", "bold $text-primary"), f"  {rest}\n"]
        else:
            parts += [(f"{line}\n", "bold")]
    return Content.assemble(*parts)
