"""Options that every command takes, before or after its name, and the classes that add them.

What they were set to is collected in one ``Invocation``, which a command receives with ``@click.pass_obj``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from p2pckpt.cli.report import Report
    from p2pckpt.config import Config


class Invocation:
    """One run of the program: the common options, and what is made from them when it is first needed."""

    def __init__(self) -> None:
        self.home: Path | None = None
        self.format = "text"
        self.quiet = False
        self.no_input = False
        self.no_color = bool(os.environ.get("NO_COLOR"))
        self.verbose = False
        self._report: Report | None = None
        self._config: Config | None = None

    @property
    def report(self) -> Report:
        if self._report is None:
            from p2pckpt.cli.report import Report

            self._report = Report(self)
        return self._report

    @property
    def config(self) -> Config:
        if self._config is None:
            from p2pckpt.config import load

            self._config = load(home=self.home)
        return self._config


def _store(attribute: str, constant: object = None) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
        invocation = ctx.find_root().obj
        # an option left out must not undo the same option given before the command's name
        if value not in (None, False) and isinstance(invocation, Invocation):
            setattr(invocation, attribute, value if constant is None else constant)

    return callback


def _store_home(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    _store("home")(ctx, param, Path(value).expanduser().absolute() if value else None)


def common_options(*, hidden: bool) -> list[click.Parameter]:
    """The options of every command; hidden where listing them again would bury the command's own."""

    def flag(names: list[str], attribute: str, text: str, constant: object = None) -> click.Option:
        callback = _store(attribute, constant)
        return click.Option(names, is_flag=True, expose_value=False, hidden=hidden, help=text, callback=callback)

    return [
        click.Option(
            ["--home"],
            metavar="DIR",
            expose_value=False,
            hidden=hidden,
            callback=_store_home,
            help="Keep settings, keys, store and daemon under DIR.",
        ),
        flag(["--json"], "format", "Write JSON to stdout; the same as --format json.", "json"),
        click.Option(
            ["--format"],
            type=click.Choice(["text", "json", "jsonl"]),
            expose_value=False,
            hidden=hidden,
            callback=_store("format"),
            help="How stdout is written.",
        ),
        flag(["-q", "--quiet"], "quiet", "Only ids on stdout, one a line, and no narration."),
        flag(["--no-input"], "no_input", "Fail where a question would be asked."),
        flag(["--no-color"], "no_color", "No colours; so does NO_COLOR in the environment."),
        flag(["-v", "--verbose"], "verbose", "Say more; show the traceback of a bug."),
    ]


class Command(click.Command):
    """A command that also takes the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(common_options(hidden=True))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text("Options that every command takes are listed by: p2pckpt --help")


class Group(click.Group):
    """A group of such commands: ``member``, ``link``, ``key``, …"""

    command_class = Command


QR = click.option("--qr", is_flag=True, help="Also draw the link as a QR code on the terminal.")
"""For commands that print a link."""


def password_options(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--WHAT-file`` and ``--WHAT-stdin``: arguments are visible to every user of the machine, these are not."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        with_file = click.option(
            f"--{what}-file",
            "secret_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help=f"Read the {what} from a file.",
        )
        from_stdin = click.option(f"--{what}-stdin", "secret_stdin", is_flag=True, help=f"Read the {what} from stdin.")
        return with_file(from_stdin(function))

    return decorate


def read_secret(invocation: Invocation, secret_file: Path | None, secret_stdin: bool) -> str:
    """The secret that the options of ``password_options`` point at, without its newline; empty when not given."""
    if secret_file is not None and secret_stdin:
        raise click.UsageError("the secret comes from a file or from stdin, not both")
    if secret_file is None and not secret_stdin:
        return ""
    try:
        text = secret_file.read_text("utf-8") if secret_file is not None else invocation.report.read_stdin()
    except (OSError, UnicodeDecodeError) as exc:
        raise click.UsageError(f"the secret cannot be read: {exc}") from exc
    secret = text.rstrip("\r\n")
    if not secret:
        raise click.UsageError("the secret is empty")
    return secret
