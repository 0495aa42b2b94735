"""The options that say which versions of a run are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from p2pckpt.control.run_messages import Retention

_OPTIONS = (
    click.option("--keep-last", type=click.IntRange(min=1), metavar="N", help="Keep the newest N."),
    click.option("--keep-every", type=click.IntRange(min=1), metavar="K", help="Keep those at multiples of K steps."),
    click.option("--keep-best", type=click.IntRange(min=1), metavar="N", help="Keep the N best."),
    click.option("--metric", default="", help="What --keep-best goes by, such as eval_loss; the lowest is best."),
    click.option("--highest", is_flag=True, help="The highest --metric is best."),
)


def retention_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--keep-last``, ``--keep-every``, ``--keep-best``, ``--metric`` and ``--highest``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def retention_of(last: int | None, every: int | None, best: int | None, metric: str, *, highest: bool) -> Retention:
    """What was given on the command line. Raises ``UsageError`` for what makes no sense."""
    if best and not metric:
        raise click.UsageError("--keep-best needs --metric, such as eval_loss")
    if (metric or highest) and not best:
        raise click.UsageError("--metric and --highest go with --keep-best")
    return Retention(last=last or 0, every=every or 0, best=best or 0, metric=metric, highest=highest)
