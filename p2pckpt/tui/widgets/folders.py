"""The directory tree of the share dialog: folders only, names drawn as they are and never as markup."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.text import Text
from textual.widgets import DirectoryTree

from p2pckpt.tui import format as f


class FolderTree(DirectoryTree):
    """Folders below a place, hidden ones left out."""

    ICON_NODE = "▸ "
    ICON_NODE_EXPANDED = "▾ "

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [path for path in paths if not path.name.startswith(".") and _is_folder(path)]

    def process_label(self, label: str | Text) -> Text:
        return Text(f.safe(label if isinstance(label, str) else label.plain, 120), no_wrap=True)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
