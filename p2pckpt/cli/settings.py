"""``config get|set|unset|show``: settings with their origins, and the user's file."""

from __future__ import annotations

import click

from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.config import SETTINGS, Origin, Value
from p2pckpt.errors import DaemonUnavailable, NotFound
from p2pckpt.settings_file import write_setting

_HELP = {setting.key: setting.help for setting in SETTINGS}


def _complete_key(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [key for key in _HELP if key.startswith(incomplete)]


_KEY = click.argument("key", shell_complete=_complete_key)


@click.group(cls=Group)
def config() -> None:
    """Read and change settings.

    A setting comes from the environment (P2PCKPT_KEY), else the project's .p2pckpt.toml, else your config.toml,
    else its default.
    """


@config.command("get", cls=Command)
@_KEY
@click.pass_obj
def get(invocation: Invocation, key: str) -> None:
    """Print the value of KEY that is in force."""
    origin = invocation.config.origins.get(key)
    if origin is None:
        raise NotFound(f"there is no setting {key!r}", next_step="p2pckpt config show")
    if invocation.report.as_text:
        value = origin.value
        invocation.report.line(str(value).lower() if isinstance(value, bool) else str(value))
    else:
        invocation.report.json(_fields(origin))


@config.command("set", cls=Command, context_settings={"ignore_unknown_options": True})
@_KEY
@click.argument("value")
@click.pass_obj
def set_(invocation: Invocation, key: str, value: str) -> None:
    """Write KEY = VALUE to your config.toml; comments and order in it are kept. A running daemon hears of it."""
    _write(invocation, key, value)


@config.command("unset", cls=Command)
@_KEY
@click.pass_obj
def unset(invocation: Invocation, key: str) -> None:
    """Take KEY out of your config.toml: its default is in force again."""
    _write(invocation, key, None)


def _write(invocation: Invocation, key: str, value: str | None) -> None:
    report, path, before = invocation.report, invocation.config.user_file, invocation.config.origins.get(key)
    write_setting(path, key, value, "config set" if value is not None else "config unset")
    assert before is not None, "what is no setting is not written"
    stronger = before.origin if before.origin not in ("default", str(path)) else ""
    try:
        told = talk(invocation, lambda client: client.reload_settings(), start=False)
    except DaemonUnavailable:
        report.narrate(f"written to {path}")
    else:
        row = next(row for row in told.rows if row.key == key)
        if row.origin not in ("default", told.file):
            report.narrate(f"written to {path}")
            if row.origin != stronger:
                report.narrate(f"warning: the daemon goes by its {row.origin}", colour="yellow")
        elif row.live:
            report.narrate(f"written to {path}; in force")
        else:
            report.narrate(f"written to {path}; the running daemon goes by it when it starts next")
    if stronger:
        report.narrate(f"warning: {before.origin} still says {before.written}", colour="yellow")


@config.command("show", cls=Command)
@click.option("--origin", "with_origin", is_flag=True, help="Also say where each value comes from.")
@click.pass_obj
def show(invocation: Invocation, with_origin: bool) -> None:
    """Print every setting; with -v also what each is for."""
    rows = [invocation.config.origins[setting.key] for setting in SETTINGS]
    columns = [Column("SETTING"), Column("VALUE")]
    columns += [Column("FROM")] if with_origin else []
    columns += [Column("MEANING")] if invocation.verbose else []

    def lines() -> list[str]:
        cells = []
        for row in rows:
            shown = [row.key, row.written]
            shown += [row.origin] if with_origin else []
            shown += [_HELP[row.key]] if invocation.verbose else []
            cells.append(shown)
        return table(columns, cells, width=terminal_width())

    invocation.report.items([_fields(row) for row in rows], ids=_HELP, text=lines)


def _fields(origin: Origin) -> dict[str, Value]:
    return {"key": origin.key, "value": origin.value, "origin": origin.origin}
