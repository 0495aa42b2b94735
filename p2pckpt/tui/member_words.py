"""What deciding about members, links, requests and keys would mean, in sentences; and all there is to tell of a row."""

from __future__ import annotations

import time
from typing import Final

from p2pckpt.control import access_messages as am
from p2pckpt.tracker_protocol import Role, Visibility
from p2pckpt.tui import format as f
from p2pckpt.tui.member_rows import MAY, AccessRow, Around, changes, state_word, who

Part = str | tuple[str, str]

COMPARE: Final = "Compare the words with that person by another way: a call, a chat, in person."
_SECRETIVE: Final = "! The tracker says who asks, and it could lie."


def removal(member: am.MemberRow, around: Around) -> list[str]:
    """What taking a member's access away leads to, most important first."""
    access, lines = around.access, [f"{_name(member)}, {member.role.value}"]
    if member.role is Role.OWNER and access.threshold > 1:
        lines.append(f"! An owner: nothing happens before {access.threshold} owners have signed it.")
    elif member.role is Role.PUBLISHER and access.threshold > 1:
        lines.append(f"! Their key may sign versions until {access.threshold} owners have agreed.")
    if access.visibility is Visibility.PUBLIC:
        return [*lines, "! The share is public: they fetch it as everybody else does, and only stop being listed."]
    lines += _cut(around)
    if member.link_id and access.epoch:
        lines.append(f"The link they joined by ({f.safe(member.link_id, 16)}) is revoked with them, for everybody.")
    return lines


def _cut(around: Around) -> list[str]:
    access, lines = around.access, list[str]()
    if access.swarm_tls:
        lines.append("Transfers to them are cut within seconds, and no swarm of this share lets them in any more.")
    else:
        lines.append("! Swarms are plain: no new peers for them, but the connections that are open now stay open.")
    if access.epoch:
        lines.append(f"Later versions are sealed with new keys (epoch {access.epoch + 1}) that they do not get.")
    lines.append("What they have received stays with them: earlier versions are not sealed again.")
    return lines


def new_role(member: am.MemberRow, role: Role, around: Around) -> list[str]:
    """What giving a member another role leads to."""
    access, lines = around.access, [f"{_name(member)}: {member.role.value} → {role.value}", f"They may: {MAY[role]}."]
    if member.role.covers(Role.DOWNLOADER) and not role.covers(Role.DOWNLOADER):
        lines += _cut(around)
    if role.covers(Role.PUBLISHER) or member.role.covers(Role.PUBLISHER):
        gains = role.rank > member.role.rank
        lines.append(f"The signed root {'names' if gains else 'no longer names'} their key as that.")
        if gains:
            lines += [f"! {f.safe(member.words, 200)}", f"! {COMPARE}"]
        if role is Role.OWNER:
            lines.append("! An owner decides all that you decide here, and can remove others.")
        if access.threshold > 1:
            lines.append(
                f"! It waits until {access.threshold} of {f.plural(len(access.owners), 'owner')} have signed it."
            )
    return lines


def revocation(link: am.LinkRow, around: Around) -> list[str]:
    """What revoking a link leads to."""
    joined = sum(member.link_id == link.link_id for member in around.members)
    lines = [f"Nobody joins through link {f.safe(link.link_id, 16)} any more."]
    if joined:
        lines.append(f"{f.plural(joined, 'member')} who came by it stay{'s' if joined == 1 else ''}.")
    return [*lines, "It can't be opened again; a new link can be made."]


def approval(request: am.RequestRow, role: Role, now: float) -> list[str]:
    """What somebody is told to check before letting a person in who asked."""
    name = f.safe(request.name, 80) or "Somebody without a name"
    lines = [
        f"{name} asked to be let in {f.ago(request.requested_at, now)}.",
        f"Words  {f.safe(request.words, 200)}",
        _SECRETIVE,
        f"! {COMPARE}",
    ]
    if request.removed_at:
        lines.append(f"! You removed them {f.ago(request.removed_at, now)}.")
    if request.message:
        lines.append(f"They say: {f.safe(request.message, 200)}")
    return [*lines, f"As {role.value} they may: {MAY[role]}."]


def denial(request: am.RequestRow) -> list[str]:
    """What denying leads to."""
    return [
        f"The request of {f.safe(request.name, 80) or f.identity(request.identity)} is closed.",
        "They are not told, and are not heard again for a day.",
    ]


def signing(proposal: am.Proposal) -> list[str]:
    """Exactly what a signature would change."""
    lines = [f"! {line}" for line in changes(proposal)]
    lines.append(f"A change of keys then needs {f.plural(proposal.threshold, 'signature')}.")
    if proposal.signed:
        return [*lines, f"You have signed it; it lacks {proposal.missing}."]
    left = proposal.missing - 1
    after = "With yours it is in force at once." if left <= 0 else f"With yours it still lacks {left}."
    return [*lines, f"It lacks {f.plural(proposal.missing, 'signature')}. {after}"]


def withdrawal(proposal: am.Proposal) -> list[str]:
    """What withdrawing leads to."""
    return [
        *(line for line in changes(proposal)),
        "Your proposal is taken back, with all its signatures; another owner's stays.",
    ]


def terms(around: Around) -> str:
    """One line: how the share is kept from others, and what its owners ask for."""
    access = around.access
    parts = [f"encrypted, epoch {access.epoch}" if access.epoch else "not encrypted: anyone may have it"]
    if access.epoch:
        parts.append("swarms for members only (TLS)" if access.swarm_tls else "! swarms plain")
    parts.append(f"{access.threshold} of {f.plural(len(access.owners), 'owner')} sign")
    parts.append(f"licence to accept: {f.safe(access.licence, 60) or 'none'}")
    return " · ".join(parts)


def details(row: AccessRow, around: Around, now: float) -> list[Part]:
    """All there is to tell of a row, and what could be done about it."""
    parts: list[Part] = [(who(row), "bold $text-primary"), f"   {state_word(row, now)}\n"]
    match row.of:
        case am.MemberRow() as member:
            parts += _key(member.words, member.identity)
            by = f"by link {f.safe(member.link_id, 16)}" if member.link_id else "by an owner"
            parts.append(f"{member.role.value}: {MAY[member.role]} · since {_when(member.added_at)}, {by}\n")
            if around.access.licence:
                accepted = f"accepted {_when(member.accepted_at)}" if member.accepted_at else "not accepted yet"
                parts.append(f"Licence {f.safe(around.access.licence, 60)}: {accepted}\n")
            if around.owned and not member.me:
                parts += [("\nRemoving them\n", "bold"), *(f"  {line}\n" for line in removal(member, around)[1:])]
        case am.RequestRow() as request:
            parts += _key(request.words, request.identity)
            parts += [f"Asked {_when(request.requested_at)}"]
            parts.append(f" · removed before, {_when(request.removed_at)}\n" if request.removed_at else "\n")
            parts.append(f"They say: {f.safe(request.message, 200) or '-'}\n")
            parts += [(f"{_SECRETIVE}\n", "$text-warning"), f"{COMPARE}\n"]
        case am.LinkRow() as link:
            uses = f"{link.uses} of {f.plural(link.max_uses, 'use')}" if link.max_uses else f.plural(link.uses, "use")
            ends = _when(link.expires_at) if link.expires_at else "never"
            parts.append(f"Lets in as {link.role.value} · {uses} · made {_when(link.created_at)} · expires {ends}\n")
            if link.burnt:
                parts.append("Five wrong secrets or passwords have ended it.\n")
            if link.state(now) == "open":
                parts += [("\nRevoking it\n", "bold"), *(f"  {line}\n" for line in revocation(link, around))]
        case am.Proposal() as proposal:
            parts += [
                (f"{line}\n", "$text-warning") if line.startswith("!") else f"{line}\n" for line in signing(proposal)
            ]
    return parts


def _key(said: str, identity: str) -> list[Part]:
    return ["Words ", (f"{f.safe(said, 200)}\n", "bold"), "Key   ", (f"{f.fingerprint(identity)}\n", "$text-muted")]


def _name(member: am.MemberRow) -> str:
    return f"{f.safe(member.name, 80) or 'Somebody without a name'} ({f.identity(member.identity)})"


def _when(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(max(0, min(moment, 1 << 36)))) if moment else "-"
