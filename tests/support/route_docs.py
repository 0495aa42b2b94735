"""The table of routes in docs/tracker-protocol.md, made from the code: ``python -m tests.support.route_docs``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

from p2pckpt.tracker_protocol import API
from p2pckpt_tracker.api.dispatch import operation_of
from p2pckpt_tracker.route_table import ROUTES, Route, Who

PAGE: Final = Path(__file__).parents[2] / "docs" / "tracker-protocol.md"
BEGIN: Final = "<!-- routes: made by tests/support/route_docs.py -->\n"
END: Final = "<!-- end of routes -->\n"


def rendered() -> str:
    """The table as Markdown: one line a route, in the order of the code."""
    lines = [f"| route (below `{API}`) | needs | does |", "|---|---|---|"]
    return "\n".join(lines + [_line(route) for route in ROUTES]) + "\n"


def _line(route: Route) -> str:
    needs = "–" if route.need is Who.ANYONE else route.need.value
    if route.licence:
        needs += ", licence accepted"
    summary = (inspect.getdoc(operation_of(route)) or "").partition("\n")[0]
    assert summary, f"{route.name} has no docstring"
    path = route.path.removeprefix(API).replace("{share}", "{id}")
    return f"| `{route.method} {path}` | {needs} | {summary} |"


def in_page(page: str) -> str:
    """What stands between the markers of the page."""
    return page.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Bring the page in step."""
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    PAGE.write_text(head + BEGIN + rendered() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
