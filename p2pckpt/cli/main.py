"""Entry point: the group of all commands, and what ``p2pckpt`` does when it is given none.

``p2pckpt --help`` and shell completion run from here often, so nothing heavier than click is imported.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from p2pckpt.cli import registry
from p2pckpt.cli.options import Invocation, common_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETE_VARIABLE = "_P2PCKPT_COMPLETE"


class LazyGroup(click.Group):
    """A group that knows its commands from the registry and imports the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(registry.COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return registry.load(cmd_name) if cmd_name in registry.COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in registry.COMMANDS and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, registry.COMMANDS, n=1)
            ctx.fail(f"there is no command {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, rows in registry.sections().items():
            with formatter.section(section):
                formatter.write_dl(rows, col_max=12)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=entry.help)
            for name, entry in registry.COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from p2pckpt import __version__

        ctx.find_root().obj.report.line(f"p2pckpt {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    params=[
        *common_options(hidden=False),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Share a checkpoint with one link, verify it like a release, download it like a torrent, restore it like
    a backup.

    Without a command, on a terminal, the terminal interface opens.
    """
    if ctx.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stdout.isatty() and not ctx.obj.no_input:
            ctx.invoke(registry.load("tui"))
        else:
            ctx.obj.report.text(ctx.get_help())


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; ``argv`` defaults to the process's own."""
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction and argv is None:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {"obj": Invocation()}, "p2pckpt", COMPLETE_VARIABLE, instruction)
    invocation = Invocation()
    args = list(sys.argv[1:] if argv is None else argv)

    def work() -> None:
        with cli.make_context("p2pckpt", args, obj=invocation) as ctx:
            cli.invoke(ctx)

    from p2pckpt.cli.report import guard

    return guard(invocation, work)
