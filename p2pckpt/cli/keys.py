"""``key show|backup|restore``: this home's identity."""

from __future__ import annotations

from pathlib import Path

import click

from p2pckpt.cli import text
from p2pckpt.cli.files import write_whole
from p2pckpt.cli.options import Command, Group, Invocation, password_options, read_secret
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import facts
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotFound

_OTHERWISE = "--passphrase-stdin or --passphrase-file FILE"


@click.group(cls=Group)
def key() -> None:
    """Show, back up and restore the identity that signs what you publish."""


@key.command("show", cls=Command)
@click.pass_obj
def show(invocation: Invocation) -> None:
    """Show your identity; with -q only the text to send to an owner who adds you."""
    report = invocation.report
    info = talk(invocation, lambda client: client.key())
    if not report.as_text:
        report.json(info)
    elif report.quiet:
        report.line(info.public_text)
    else:
        pairs = [
            ("name", info.name),
            ("identity", info.identity),
            ("words", info.words),
            ("to send", info.public_text),
            ("made", text.ago(info.created_at)),
            ("kept in", info.path),
        ]
        for row in facts(pairs):
            report.line(row)


@key.command("backup", cls=Command)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
@password_options("passphrase")
@click.pass_obj
def backup(invocation: Invocation, file: Path, force: bool, secret_file: Path | None, secret_stdin: bool) -> None:
    """Write the identity to FILE, encrypted with a passphrase; "-" is stdout."""
    report = invocation.report
    to_stdout = str(file) == "-"
    if not to_stdout and file.exists() and not force:
        raise BadUsage(f"{file} exists", kept="it was not changed", next_step="choose another name, or add --force")
    passphrase = read_secret(invocation, secret_file, secret_stdin)
    if not passphrase:
        passphrase = report.secret("New passphrase", otherwise=_OTHERWISE)
        if passphrase != report.secret("The same again", otherwise=_OTHERWISE):
            raise BadUsage("the two passphrases differ", kept="nothing was written")
    if not passphrase:
        raise BadUsage("an empty passphrase protects nothing", kept="nothing was written")
    from p2pckpt.trust import identity

    data = identity.backup(invocation.config.keys_dir, passphrase.encode())
    if to_stdout:
        report.bytes(data)
        return
    write_whole(file, data)
    if report.as_text:
        report.line(str(file))
    else:
        report.json({"path": str(file.absolute())})
    report.narrate("without the passphrase this file is of no use to anybody, you included")


@key.command("restore", cls=Command)
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@password_options("passphrase")
@click.pass_obj
def restore(invocation: Invocation, file: Path, secret_file: Path | None, secret_stdin: bool) -> None:
    """Put the identity from FILE, made by "key backup", into this home; never over another one."""
    report = invocation.report
    if str(file) == "-" and secret_stdin:
        raise click.UsageError("stdin cannot hold both the backup and the passphrase")
    _refuse_while_running(invocation)
    try:
        data = report.read_stdin().encode() if str(file) == "-" else file.read_bytes()
    except OSError as exc:
        raise NotFound(f"{file} cannot be read: {exc.strerror}") from exc
    passphrase = read_secret(invocation, secret_file, secret_stdin)
    passphrase = passphrase or report.secret("Passphrase", otherwise=_OTHERWISE)
    from p2pckpt.trust import identity

    keys_dir = invocation.config.keys_dir
    identity.restore(keys_dir, data, passphrase.encode())
    if report.as_text:
        report.line(str(keys_dir))
    else:
        report.json({"path": str(keys_dir)})
    report.narrate("restored; see it with: p2pckpt key show")


def _refuse_while_running(invocation: Invocation) -> None:
    async def ask(client: ControlClient) -> None:
        await client.status()

    try:
        talk(invocation, ask, start=False)
    except DaemonUnavailable:
        return
    # a running daemon has read its identity already, and would go on signing with it
    raise BadUsage("the daemon is running with the present identity", next_step="p2pckpt daemon stop")
