"""``key show|backup|restore|store|passphrase``: this home's identity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2pckpt.atomic import write_whole
from p2pckpt.cli import text
from p2pckpt.cli.options import Command, Group, Invocation, password_options, read_secret
from p2pckpt.cli.session import identity_passphrase, talk
from p2pckpt.cli.table import facts
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotFound

if TYPE_CHECKING:
    from p2pckpt.trust.identity_file import Ask

_OTHERWISE = "--passphrase-stdin or --passphrase-file FILE"


@click.group(cls=Group)
def key() -> None:
    """Show, back up, restore and protect the identity that signs what you publish."""


@key.command("show", cls=Command)
@click.argument("public", metavar="[KEY]", default="")
@click.option("--pem", is_flag=True, help="Only the key that signs models, as model-signing and OpenSSL read it.")
@click.option("--qr", is_flag=True, help="As a QR code: what -q prints, for somebody beside you.")
@click.pass_obj
def show(invocation: Invocation, public: str, pem: bool, qr: bool) -> None:
    """Show your identity, or with KEY, what somebody sent you, theirs: compare the words with them.

    With -q only the text to send to an owner who adds you.
    """
    from p2pckpt.trust import identity

    report = invocation.report
    mine = None if public else talk(invocation, lambda client: client.key())
    shown = mine.public_text if mine is not None else public
    if qr:
        report.qr(shown)
        return
    if pem:
        model_key = identity.PublicIdentity.parse(shown).model_key
        if not model_key:
            raise BadUsage("this text has no key that signs models", next_step="ask for their: p2pckpt key show -q")
        report.text(identity.pem(model_key))
        return
    if mine is None:
        is_bare = re.fullmatch("[0-9a-f]{64}", public)
        raw = bytes.fromhex(public) if is_bare else identity.PublicIdentity.parse(public).identity
        theirs = {"identity": raw.hex(), "words": identity.words(raw)}
    if not report.as_text:
        report.json(mine or theirs)
    elif report.quiet:
        report.line(shown)
    else:
        pairs = (
            [*theirs.items()]
            if mine is None
            else [
                ("name", mine.name),
                ("identity", mine.identity),
                ("words", mine.words),
                ("to send", mine.public_text),
                ("made", text.ago(mine.created_at)),
                ("kept in", mine.path),
                ("backup", text.ago(mine.backup_at) if mine.backup_at else "none noted: p2pckpt key backup FILE"),
            ]
        )
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
    from p2pckpt.trust import identity_file

    present = _present(invocation)
    passphrase = new_passphrase(invocation, secret_file, secret_stdin)
    keys_dir = invocation.config.keys_dir
    data = identity_file.backup(keys_dir, passphrase, ask=present)
    if to_stdout:
        report.bytes(data)
        identity_file.note_backup(keys_dir)
        return
    write_whole(file, data)
    identity_file.note_backup(keys_dir)
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
    from p2pckpt.trust import identity_file

    keys_dir, store = invocation.config.keys_dir, invocation.config.text("key_store")
    identity_file.restore(keys_dir, data, passphrase, store=store)
    _say_where(invocation)
    report.narrate("restored; see it with: p2pckpt key show")
    report.narrate("shares that you own come back with a link to each: p2pckpt get LINK")


@key.command("rotate", cls=Command)
@click.option("-y", "--yes", is_flag=True, help="Rotate without asking.")
@click.pass_obj
def rotate(invocation: Invocation, yes: bool) -> None:
    """Replace your identity by a new one, and hand your shares over to it.

    The old key signs the new one into each share that you own, the new one takes the old one out, and later versions
    are sealed with new keys. Owners of other shares have to add the new key.
    """
    from p2pckpt.cli.rotation import rotate as run

    run(invocation, yes=yes)


@key.command("store", cls=Command)
@click.argument("where", type=click.Choice(["keyring", "file"]))
@click.pass_obj
def store(invocation: Invocation, where: str) -> None:
    """Move the identity into the OS keyring, or out of it into the file."""
    from p2pckpt.trust import identity_file

    identity_file.move(invocation.config.keys_dir, where, ask=_present(invocation))
    _say_where(invocation)


@key.group("passphrase", cls=Group)
def passphrase_() -> None:
    """Protect the file that holds the identity; the daemon then needs the passphrase when it starts."""


@passphrase_.command("set", cls=Command)
@password_options("passphrase")
@click.pass_obj
def set_(invocation: Invocation, secret_file: Path | None, secret_stdin: bool) -> None:
    """Encrypt the identity's file with a passphrase."""
    from p2pckpt.trust import identity_file

    keys_dir = invocation.config.keys_dir
    if identity_file.needs_passphrase(keys_dir):
        raise BadUsage("the identity has a passphrase", next_step="p2pckpt key passphrase change")
    identity_file.set_passphrase(keys_dir, new_passphrase(invocation, secret_file, secret_stdin))
    _say_where(invocation)
    _say_how_to_start(invocation)


@passphrase_.command("change", cls=Command)
@password_options("passphrase")
@click.pass_obj
def change(invocation: Invocation, secret_file: Path | None, secret_stdin: bool) -> None:
    """Replace the passphrase. The present one is read from passphrase_file or asked for."""
    from p2pckpt.trust import identity_file

    keys_dir, present = invocation.config.keys_dir, _present(invocation, needed=True)
    identity_file.set_passphrase(keys_dir, new_passphrase(invocation, secret_file, secret_stdin), ask=present)
    _say_where(invocation)
    _say_how_to_start(invocation)


@passphrase_.command("remove", cls=Command)
@click.pass_obj
def remove(invocation: Invocation) -> None:
    """Keep the identity's file without a passphrase. The present one is read from passphrase_file or asked for."""
    from p2pckpt.trust import identity_file

    identity_file.set_passphrase(invocation.config.keys_dir, "", ask=_present(invocation, needed=True))
    _say_where(invocation)


def _present(invocation: Invocation, *, needed: bool = False) -> Ask:
    """The passphrase that the identity has now, asked for and tried at once: before a new one is thought of."""
    from p2pckpt.trust import identity_file

    if needed and not identity_file.needs_passphrase(invocation.config.keys_dir):
        raise BadUsage("the identity has no passphrase", next_step="p2pckpt key passphrase set")
    found = identity_passphrase(invocation, checked=True)
    return lambda: found


def new_passphrase(invocation: Invocation, secret_file: Path | None, secret_stdin: bool) -> str:
    """One from file or stdin, else typed twice."""
    passphrase = read_secret(invocation, secret_file, secret_stdin)
    if passphrase:
        return passphrase
    passphrase = invocation.report.secret("New passphrase", otherwise=_OTHERWISE)
    if passphrase != invocation.report.secret("The same again", otherwise=_OTHERWISE):
        raise BadUsage("the two passphrases differ", kept="nothing was written")
    if not passphrase:
        raise BadUsage("an empty passphrase protects nothing", kept="nothing was written")
    return passphrase


def _say_where(invocation: Invocation) -> None:
    from p2pckpt.trust import identity_file

    keys_dir = invocation.config.keys_dir
    if invocation.report.as_text:
        invocation.report.line(identity_file.describe(keys_dir))
    else:
        invocation.report.json({"path": str(keys_dir), "kept_in": identity_file.describe(keys_dir)})


def _say_how_to_start(invocation: Invocation) -> None:
    path = invocation.config.text("passphrase_file")
    if path:
        invocation.report.narrate(f"put the new passphrase into {path}, which the daemon reads it from")
    else:
        invocation.report.narrate("a daemon that starts unattended needs the setting passphrase_file")


def _refuse_while_running(invocation: Invocation) -> None:
    async def ask(client: ControlClient) -> None:
        await client.status()

    try:
        talk(invocation, ask, start=False)
    except DaemonUnavailable:
        return
    # a running daemon has read its identity already, and would go on signing with it
    raise BadUsage("the daemon is running with the present identity", next_step="p2pckpt daemon stop")
