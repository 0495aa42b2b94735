"""One share in full: who it is for, its tags, who has it, and its versions with their measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from p2pckpt.control.messages import ShareDetail, ShareRow, VersionRow
from p2pckpt.control.run_messages import RunRow
from p2pckpt.tui import format as f
from p2pckpt.tui import share_columns, version_columns
from p2pckpt.tui.widgets.virtual_table import VirtualTable

_NAMED = 8
"""Versions that a line names."""
_CURVE = 60
"""Points of a metric's curve at most."""


class SharePane(Vertical):
    """Draws the share and the versions it was last given."""

    def __init__(self, now: Callable[[], float], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._now = now
        self._metric = ""
        """The one with the curve; empty for the usual one."""
        self._detail: ShareDetail | None = None
        self.versions: VirtualTable[VersionRow] = VirtualTable(
            version_columns.columns(now), lambda version: str(version.version), id="versions"
        )

    def compose(self) -> ComposeResult:
        yield Static("", id="share-title", markup=False)
        yield Static("", id="share-facts", markup=False)
        yield Static("", id="share-run", markup=False)
        yield Static("", id="share-kept", markup=False)
        yield Static("", id="share-health", markup=False)
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
        self._detail = detail
        versions = () if detail is None else detail.versions
        metrics = version_columns.metric_names(versions, self._metric)
        steps = any(version.step is not None for version in versions)
        columns = version_columns.columns(self._now, metrics, steps=steps)
        if [column.title for column in columns] != [column.title for column in self.versions.columns]:
            self.versions.set_columns(columns)
        self.versions.set_rows(self._sorted(versions))
        _say(self.query_one("#share-health", Static), _health(versions, metrics))
        _say(self.query_one("#share-kept", Static), Content("") if detail is None else _kept(detail))
        _say(self.query_one("#share-run", Static), _run(detail.run if detail is not None else None))

    def next_metric(self) -> str:
        """Draw the curve of the next metric; its name, empty when there is none."""
        if self._detail is None:
            return ""
        names = sorted(version_columns.metric_names(self._detail.versions))
        if names:
            present = version_columns.metric_names(self._detail.versions, self._metric)[0]
            self._metric = names[(names.index(present) + 1) % len(names)]
            self.show_detail(self._detail)
        return self._metric

    def sort_by(self, key: str) -> None:
        """Sort the versions by a column; again: the other way round."""
        self.versions.sort_by(key)
        self._resort()

    def next_sort(self) -> None:
        """Sort the versions by the next column."""
        self.versions.next_sort()
        self._resort()

    def _resort(self) -> None:
        self.versions.set_rows(self._sorted(() if self._detail is None else self._detail.versions))

    def _sorted(self, versions: tuple[VersionRow, ...]) -> list[VersionRow]:
        value = self.versions.sort()
        return list(versions) if value is None else sorted(versions, key=value, reverse=self.versions.sort_descending)


def _say(line: Static, text: Content) -> None:
    """Show a line, or nothing where there is nothing to say."""
    line.display = bool(text.plain)
    line.update(text)


def _run(run: RunRow | None) -> Content:
    """How the run is published from this machine, and what became of its newest save if that is not good."""
    if run is None:
        return Content("")
    parts = [f"Run   {f.safe(run.path, 120)}" if run.watching else "Run   by the trainer's hooks", run.kind]
    parts += [f"a save every {f.duration(run.every)}"] if run.every else []
    parts += [f"{run.published:,} published"] + ([f"{run.rejected:,} rejected"] if run.rejected else [])
    lines: list[str | tuple[str, str]] = [" · ".join(filter(None, parts))]
    last = run.last
    problem = run.problem or (f"{last.name} was not published: {last.why}" if last is not None and last.why else "")
    if problem:
        lines.append((f"\n! {f.safe(problem)}", "$text-warning"))
    return Content.assemble(*lines)


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
    return Content.assemble(*lines)


def _health(versions: tuple[VersionRow, ...], metrics: list[str]) -> Content:
    """The curve of the main metric, and the versions that depend on this machine."""
    parts: list[str | tuple[str, str]] = []
    if metrics:
        parts.append((version_columns.curve(versions, metrics[0], _CURVE), "$text-primary"))
    lonely = version_columns.only_here(versions)
    if lonely:
        warning = f"! Nobody else is known to seed {_named(lonely)}: without this daemon they can't be fetched."
        parts.append((("\n" if parts else "") + warning, "$text-warning"))
    return Content.assemble(*parts)


def _kept(detail: ShareDetail) -> Content:
    """The pinned versions that are not in the list because they were retired."""
    retired = sorted(set(detail.share.pinned) - {version.version for version in detail.versions})
    if not retired:
        return Content("")
    command = f"p2pckpt pin --remove {f.safe(detail.share.name, 100)}@v{retired[0]}"
    return Content.styled(f"■ Pinned here, and retired: {_named(retired)}. To let go: {command}", "$text-muted")


def _named(numbers: Sequence[int]) -> str:
    return ", ".join(f"v{number}" for number in numbers[:_NAMED]) + (" and more" if len(numbers) > _NAMED else "")
