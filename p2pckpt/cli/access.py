"""``access show|set|sign|withdraw``: what protects a share, and the keys that its owners sign together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from p2pckpt.atomic import write_whole
from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.keys import new_passphrase
from p2pckpt.cli.options import Command, Group, Invocation, password_options
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import facts
from p2pckpt.control.access_messages import Access, Proposal, SetMemberRequest, TermsRequest
from p2pckpt.control.client import ControlClient
from p2pckpt.errors import BadUsage, NotFound
from p2pckpt.tracker_protocol import Role
from p2pckpt.trust.identity import words

_SHARE = click.argument("share", shell_complete=complete_share)
_TLS_OFF = (
    "swarms of this share are plain BitTorrent now: content stays encrypted, but whoever learns an infohash and the "
    "address of a peer can collect the ciphertext, and the network sees which pieces go where; a member whom you "
    "remove keeps the connections that are open"
)


@click.group(cls=Group)
def access() -> None:
    """Show and change what protects a share: owners, signatures, encryption of its swarms, a licence to accept."""


@access.command("show", cls=Command)
@_SHARE
@click.pass_obj
def show(invocation: Invocation, share: str) -> None:
    """Show who signs and publishes, which keys are in use, and until when the signed files are good."""
    _print(invocation, talk(invocation, lambda client: client.access(share)))


@access.command("set", cls=Command)
@_SHARE
@click.option(
    "--swarm-tls", type=click.Choice(["on", "off"]), help="Whether peers need a certificate of this share's tracker."
)
@click.option("--licence", help="What downloaders have to accept first, as the card names it.")
@click.option("--no-licence", is_flag=True, help="Ask nobody to accept a licence.")
@click.option("--signatures", type=click.IntRange(min=1), help="Owners who have to sign a change of keys.")
@click.pass_obj
def set_(
    invocation: Invocation,
    share: str,
    swarm_tls: str | None,
    licence: str | None,
    no_licence: bool,
    signatures: int | None,
) -> None:
    """Change what owners decide. On a trusted network --swarm-tls off makes transfers up to twice as fast."""
    if licence is not None and no_licence:
        raise click.UsageError("--licence and --no-licence exclude each other")
    if swarm_tls is None and licence is None and not no_licence and signatures is None:
        raise click.UsageError("name what to change: --swarm-tls, --licence, --no-licence or --signatures")
    request = TermsRequest(
        share=share,
        swarm_tls=None if swarm_tls is None else swarm_tls == "on",
        licence="" if no_licence else licence,
        threshold=signatures,
    )
    reply = talk(invocation, lambda client: client.set_terms(request))
    _print(invocation, reply)
    if swarm_tls == "off":
        invocation.report.narrate(_TLS_OFF, colour="yellow")
    if signatures is not None and reply.threshold != signatures:
        invocation.report.narrate(f"waits for another owner: p2pckpt access sign {share}")


@access.command("sign", cls=Command)
@_SHARE
@click.option("-y", "--yes", is_flag=True, help="Sign without asking; not when several changes wait.")
@click.pass_obj
def sign(invocation: Invocation, share: str, yes: bool) -> None:
    """Show the changes of keys that wait for signatures, one after the other, and sign one."""
    report = invocation.report
    found = talk(invocation, lambda client: client.access(share))
    if not found.proposals:
        raise NotFound(f"no change of keys of {share} waits for a signature")
    waiting = [each for each in found.proposals if not each.signed]
    if not waiting:
        raise BadUsage("this machine has signed it", next_step="another owner has to run: p2pckpt access sign SHARE")
    if yes and len(waiting) > 1:
        raise BadUsage(f"{len(waiting)} changes of keys wait", next_step=f"p2pckpt access sign {share}")
    for proposal in waiting:
        for line in _proposal_lines(proposal):
            report.narrate(line)
        if yes or report.ask("Sign this?", otherwise="--yes"):
            _sign(invocation, share, proposal)
            return
    raise BadUsage("not signed", kept="what was proposed waits on")


def _sign(invocation: Invocation, share: str, proposal: Proposal) -> None:
    async def sign_it(client: ControlClient) -> tuple[bool, Access]:
        # what was shown is what is signed: the daemon refuses when the proposal changed meanwhile
        return (await client.sign(share, proposal.digest)).in_force, await client.access(share)

    in_force, after = talk(invocation, sign_it)
    _print(invocation, after)
    invocation.report.narrate("in force" if in_force else "signed; it waits for another owner still")


@access.command("spare", cls=Command)
@_SHARE
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@password_options("passphrase")
@click.pass_obj
def spare(invocation: Invocation, share: str, file: Path, secret_file: Path | None, secret_stdin: bool) -> None:
    """Make a spare owner's key for SHARE and write it to FILE, encrypted with a passphrase; keep it elsewhere.

    Should this machine's key be lost, "key restore FILE" in an empty home makes you an owner again.
    """
    if file.exists():
        raise BadUsage(f"{file} exists", kept="it was not changed", next_step="choose another name")
    passphrase = new_passphrase(invocation, secret_file, secret_stdin)
    from p2pckpt.trust import identity_file

    data, public = identity_file.spare(f"spare key of {share}"[:64], passphrase)
    write_whole(file, data)  # before anybody relies on it
    reply = talk(invocation, lambda client: client.set_member(SetMemberRequest(share, public.text, Role.OWNER)))
    report = invocation.report
    if report.as_text:
        report.line(str(file))
    else:
        report.json({"path": str(file.absolute()), "identity": public.identity.hex()})
    for note in reply.notes:
        report.narrate(note)


@access.command("withdraw", cls=Command)
@_SHARE
@click.pass_obj
def withdraw(invocation: Invocation, share: str) -> None:
    """Take back the change of keys that you proposed; another owner's is theirs."""
    talk(invocation, lambda client: client.withdraw(share))
    invocation.report.narrate("nothing of yours waits for a signature any more")


def _print(invocation: Invocation, found: Access) -> None:
    report = invocation.report
    if not report.as_text:
        report.json(found)
        return
    if found.epoch:
        content = f"encrypted, epoch {found.epoch}"
        transport = "TLS, with a certificate for each member" if found.swarm_tls else "plain"
    else:
        content, transport = "plain: anyone may have it", "plain"
    pairs = [
        ("share", found.share),
        ("for", str(found.visibility)),
        ("your role", str(found.role)),
        ("owners", _keys(found.owners)),
        ("publishers", _keys(found.publishers) or "owners only"),
        ("signatures", f"{found.threshold} of {len(found.owners)} owners for a change of keys"),
        ("content", content),
        ("swarms", transport),
        ("licence to accept", found.licence or "none"),
        ("last signed", _when(found.signed_at).removesuffix(" (over)")),
        ("vouched for until", _when(found.fresh_until)),
        ("signed until", _when(found.expires_at)),
    ]
    for line in facts(pairs):
        report.line(line)
    for proposal in found.proposals:
        report.line("waits for signatures:")
        for line in _proposal_lines(proposal):
            report.line(f"  {line}")


def _proposal_lines(proposal: Proposal) -> list[str]:
    return [
        *(f"new owner {_key(key)}" for key in proposal.owners_added),
        *(f"no owner any more: {_key(key)}" for key in proposal.owners_removed),
        *(f"new publisher {_key(key)}" for key in proposal.publishers_added),
        *(f"no publisher any more: {_key(key)}" for key in proposal.publishers_removed),
        f"a change of keys then needs {text.count(proposal.threshold, 'signature')}",
        f"still lacks {text.count(proposal.missing, 'signature')}" + ("; yours is there" if proposal.signed else ""),
    ]


def _keys(identities: Sequence[str]) -> str:
    return ", ".join(_key(identity) for identity in identities)


def _key(identity: str) -> str:
    return f"{identity[:12]} ({words(bytes.fromhex(identity))})"


def _when(moment: int) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    return when + (" (over)" if moment <= time.time() else "")
