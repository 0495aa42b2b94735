"""Replacing an identity: the order of steps, each of which can be run again after it was cut off."""

from __future__ import annotations

from pathlib import Path

from p2pckpt.cli import text
from p2pckpt.cli.daemon import stop_and_wait
from p2pckpt.cli.options import Invocation
from p2pckpt.cli.session import identity_passphrase, talk
from p2pckpt.control.access_messages import AskRequest, SetMemberRequest
from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import KeyInfo, ShareRow
from p2pckpt.errors import Cancelled, NotAllowed, P2pckptError
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.trust import identity_file
from p2pckpt.trust.identity import PublicIdentity


def rotate(invocation: Invocation, *, yes: bool) -> None:
    """Sign the successor into every share of ours, put it in our place, and let it take us out."""
    report, keys_dir = invocation.report, invocation.config.keys_dir
    shares, old = talk(invocation, _shares_and_key)
    owned = [share for share in shares if share.role is Role.OWNER]
    joined = [share for share in shares if share.role is not Role.OWNER and share.visibility is not Visibility.PUBLIC]
    report.narrate(f"hands {text.count(len(owned), 'share')} over to a new key; what was signed stays signed")
    for share in joined:
        report.narrate(f"{share.name} knows you by the old key: its owner will be asked to let the new one in")
    if not yes and not report.ask("Replace your identity?", otherwise="--yes"):
        raise Cancelled("not replaced")
    passphrase = identity_passphrase(invocation, checked=True)
    successor = identity_file.successor(keys_dir, ask=lambda: passphrase)
    for share in owned:
        _hand_over(invocation, share, successor.public)
    talk(invocation, stop_and_wait)
    retired = identity_file.succeed(keys_dir)
    new = talk(invocation, lambda client: client.key())
    _take_out(invocation, owned, joined, old)
    _say(invocation, new, retired)


async def _shares_and_key(client: ControlClient) -> tuple[list[ShareRow], KeyInfo]:
    return await client.shares(), await client.key()


def _hand_over(invocation: Invocation, share: ShareRow, successor: PublicIdentity) -> None:
    """Make the successor an owner; nothing is replaced before it is one everywhere."""
    request = SetMemberRequest(share.share_id, successor.text, Role.OWNER)
    talk(invocation, lambda client: client.set_member(request))
    access = talk(invocation, lambda client: client.access(share.share_id))
    if successor.identity.hex() not in access.owners:
        raise NotAllowed(
            f"{share.name} needs another owner's signature for a new owner",
            kept="your identity; the new key waits",
            next_step=f"another owner: p2pckpt access sign {share.name}; then: p2pckpt key rotate",
        )


def _take_out(invocation: Invocation, owned: list[ShareRow], joined: list[ShareRow], old: KeyInfo) -> None:
    """What the new key does for itself; what fails is told, and can be done by hand."""
    report = invocation.report
    for share in owned:
        try:
            request = SetMemberRequest(share.share_id, old.identity, None)
            for note in talk(invocation, lambda client, r=request: client.set_member(r)).notes:  # type: ignore[misc]
                report.narrate(f"{share.name}: {note}")
        except P2pckptError as exc:
            report.narrate(f"{share.name}: {exc.fact}; later: p2pckpt member rm {share.name} {old.identity}")
    for share in joined:
        ask = AskRequest(share.share_id, f"my new key; the old one began with {old.identity[:12]}")
        try:
            talk(invocation, lambda client, a=ask: client.ask(a))  # type: ignore[misc]
        except P2pckptError as exc:
            report.narrate(f"{share.name}: its owner could not be asked: {exc.fact}")


def _say(invocation: Invocation, new: KeyInfo, retired: Path) -> None:
    report = invocation.report
    if report.as_text:
        report.line(new.identity)
    else:
        report.json(new)
    report.narrate(f"you are {new.words} now; the old key is in {retired}: delete it once nothing needs it")
    report.narrate("make a new backup: p2pckpt key backup FILE")
