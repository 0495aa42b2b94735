"""``config get|set|show``: settings with their origins, and the user's file."""

from __future__ import annotations

import click

from p2pckpt.cli.files import write_whole
from p2pckpt.cli.options import Command, Group, Invocation
from p2pckpt.cli.table import Column, table, terminal_width
from p2pckpt.config import SETTINGS, Origin, Value, convert
from p2pckpt.errors import BadUsage, NotFound

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
        invocation.report.line(written(origin.value))
    else:
        invocation.report.json(_fields(origin))


@config.command("set", cls=Command, context_settings={"ignore_unknown_options": True})
@_KEY
@click.argument("value")
@click.pass_obj
def set_(invocation: Invocation, key: str, value: str) -> None:
    """Write KEY = VALUE to your config.toml; comments and order in it are kept."""
    report = invocation.report
    converted = convert(key, value, "config set")
    path = invocation.config.user_file
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError) as exc:
        raise BadUsage(f"{path} cannot be read: {exc}", kept="it was not changed") from exc
    document[key] = converted
    write_whole(path, tomlkit.dumps(document).encode())
    in_force = invocation.config.origins[key]
    report.narrate(f"written to {path}; a running daemon reads it when it starts next")
    if in_force.origin not in ("default", str(path)):
        report.narrate(f"warning: {in_force.origin} still says {written(in_force.value)}", colour="yellow")


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
            shown = [row.key, written(row.value)]
            shown += [row.origin] if with_origin else []
            shown += [_HELP[row.key]] if invocation.verbose else []
            cells.append(shown)
        return table(columns, cells, width=terminal_width())

    invocation.report.items([_fields(row) for row in rows], ids=_HELP, text=lines)


def written(value: Value) -> str:
    """``value`` as ``config set`` reads it back."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fields(origin: Origin) -> dict[str, Value]:
    return {"key": origin.key, "value": origin.value, "origin": origin.origin}
