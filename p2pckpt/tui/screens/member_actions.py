"""What owners and others can do from Members. Each key is offered only where our role and the row allow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

from textual.binding import Binding, BindingType

from p2pckpt.control import access_messages as am
from p2pckpt.tracker_protocol import Role
from p2pckpt.tui import format as f
from p2pckpt.tui import member_words as said
from p2pckpt.tui.commands import Request
from p2pckpt.tui.member_rows import MAY, AccessRow, Around
from p2pckpt.tui.screens.access_dialogs import InviteDialog, LinkDialog, TermsDialog
from p2pckpt.tui.screens.audit import AuditScreen
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.screens.choose import ChooseDialog
from p2pckpt.tui.screens.confirm import ConfirmDialog

T = TypeVar("T")
_OWNERS = frozenset({"invite", "new_link", "terms", "audit"})
"""Actions about the share that are the owners' alone."""
_OF_ROW: dict[str, type] = {
    "role": am.MemberRow,
    "remove": am.MemberRow,
    "revoke": am.LinkRow,
    "approve": am.RequestRow,
    "deny": am.RequestRow,
    "sign": am.Proposal,
    "withdraw": am.Proposal,
}
"""Actions of owners that need a row of this kind under the cursor."""


class MemberActions(StateScreen):
    """Keys for the share that ``around`` describes and the row that ``target`` gives."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "approve", "Approve", id="members.approve", tooltip="p2pckpt member approve SHARE WORDS"),
        Binding("p", "sign", "Sign", id="members.sign", tooltip="p2pckpt access sign SHARE"),
        Binding("e", "role", "Role", id="members.role", tooltip="p2pckpt member set SHARE MEMBER --role ROLE"),
        Binding("d", "remove", "Remove", id="members.remove", tooltip="p2pckpt member rm SHARE MEMBER"),
        Binding("d", "revoke", "Revoke", id="members.revoke", tooltip="p2pckpt link revoke SHARE LINK_ID"),
        Binding("d", "deny", "Deny", id="members.deny", tooltip="p2pckpt member deny SHARE WORDS"),
        Binding("d", "withdraw", "Withdraw", id="members.withdraw", tooltip="p2pckpt access withdraw SHARE"),
        Binding("a", "invite", "Add by key", id="members.invite", tooltip="p2pckpt invite SHARE KEY"),
        Binding("l", "new_link", "New link", id="members.new-link", tooltip="p2pckpt link new SHARE"),
        Binding("t", "terms", "Terms", id="members.terms", tooltip="p2pckpt access set SHARE"),
        Binding("L", "audit", "Audit log", id="members.audit", tooltip="p2pckpt log SHARE"),
        Binding("Q", "qr", "QR", id="members.qr", tooltip="p2pckpt link qr SHARE [LINK_ID]"),
        Binding("y", "copy_link", "Copy link", show=False, id="members.copy-link", tooltip="p2pckpt link show SHARE"),
    ]

    @property
    def around(self) -> Around | None:
        """What is known of the share; None while nothing is."""
        raise NotImplementedError

    @property
    def target(self) -> AccessRow | None:
        """The row that the next key is for."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        around, row = self.around, self.target
        if action in _OWNERS:
            return around is not None and around.owned
        if action in ("qr", "copy_link"):
            return around is not None
        kind = _OF_ROW.get(action)
        if kind is None:
            return super().check_action(action, parameters)
        if around is None or not around.owned or row is None or not isinstance(row.of, kind):
            return False
        match row.of:
            case am.MemberRow(me=me):
                return not me
            case am.LinkRow():
                return row.of.state(self.hub.now()) in ("open", "expired", "used up")
            case am.Proposal(signed=signed):
                return not signed if action == "sign" else signed
        return True

    # -- members

    def action_role(self) -> None:
        """Choose another role for a member, see what it means, and give it."""
        around, member = self._about(am.MemberRow)

        def chosen(value: str | None) -> None:
            if value is None or value == member.role.value:
                return
            role = Role(value)
            self._confirm(
                "Another role",
                said.new_role(member, role, around),
                "Change",
                self._set_member(around, member, role),
                self._changed,
                f"p2pckpt member set {around.access.share} {member.identity[:12]} --role {value}",
            )

        choices = [(role.value, f"{role.value}: {MAY[role]}") for role in Role]
        self.app.push_screen(ChooseDialog(f"Role of {member.name}", choices, present=member.role.value), chosen)

    def action_remove(self) -> None:
        """Take a member's access away."""
        around, member = self._about(am.MemberRow)
        self._confirm(
            "Remove a member",
            said.removal(member, around),
            "Remove",
            self._set_member(around, member, None),
            self._changed,
            f"p2pckpt member rm {around.access.share} {member.identity[:12]}",
        )

    def _set_member(self, around: Around, member: am.MemberRow, role: Role | None) -> Request[am.MembersReply]:
        request = am.SetMemberRequest(around.share_id, member.identity, role)
        return lambda client: client.set_member(request)

    def _changed(self, reply: am.MembersReply) -> None:
        self.hub.commands.say("Done." if not reply.notes else "\n".join(f.safe(note, 300) for note in reply.notes))

    # -- requests

    def action_approve(self) -> None:
        """Choose a role for somebody who asked, compare words, and let them in."""
        around, request = self._about(am.RequestRow)

        def chosen(value: str | None) -> None:
            if value is not None:
                decision = am.DecideRequest(around.share_id, request.identity, Role(value))
                self._confirm(
                    "Let somebody in",
                    said.approval(request, Role(value), self.hub.now()),
                    "The words are theirs: let them in",
                    lambda client: client.decide(decision),
                    lambda _: self.hub.commands.say("They are in."),
                    f"p2pckpt member approve {around.access.share} {request.words} --role {value}",
                    no="No, not now",
                )

        offered = (Role.DOWNLOADER, Role.VIEWER, Role.PUBLISHER)
        choices = [(role.value, f"{role.value}: {MAY[role]}") for role in offered]
        self.app.push_screen(ChooseDialog(f"Let in {request.name or 'somebody'} as", choices), chosen)

    def action_deny(self) -> None:
        """Close a request."""
        around, request = self._about(am.RequestRow)
        decision = am.DecideRequest(around.share_id, request.identity, None)
        self._confirm(
            "Deny a request",
            said.denial(request),
            "Deny",
            lambda client: client.decide(decision),
            lambda _: self.hub.commands.say("Denied."),
            f"p2pckpt member deny {around.access.share} {request.words}",
        )

    # -- links

    def action_revoke(self) -> None:
        """Let nobody join through a link any more."""
        around, link = self._about(am.LinkRow)
        self._confirm(
            "Revoke a link",
            said.revocation(link, around),
            "Revoke",
            lambda client: client.revoke_link(around.share_id, link.link_id),
            lambda _: self.hub.commands.say(f"Link {f.safe(link.link_id, 16)} is revoked."),
            f"p2pckpt link revoke {around.access.share} {link.link_id}",
        )

    def action_qr(self) -> None:
        """Draw the link under the cursor, else the one that only says where the share is."""
        around = self.around
        assert around is not None
        self.hub.show_qr(around.share_id, around.access.share, link_id=self._open_link(around))

    def action_copy_link(self) -> None:
        """Hand the same link to the terminal's clipboard."""
        around = self.around
        assert around is not None
        link_id = self._open_link(around)
        self.hub.commands.run(
            lambda client: client.link(around.share_id, link_id), lambda reply: self.hub.copy_link(reply.link)
        )

    def _open_link(self, around: Around) -> str:
        """Id of the link under the cursor when it can be shown again."""
        row = self.target
        if row is not None and isinstance(row.of, am.LinkRow) and row.of.state(self.hub.now()) == "open":
            return row.of.link_id
        return ""

    # -- keys and terms

    def action_sign(self) -> None:
        """Show exactly what a change of keys would be, and sign it."""
        around, proposal = self._about(am.Proposal)
        self._confirm(
            "Sign a change of keys",
            said.signing(proposal),
            "Sign",
            lambda client: client.sign(around.share_id, proposal.digest),
            self._signed,
            f"p2pckpt access sign {around.access.share}",
            no="No, not now",
        )

    def _signed(self, reply: am.SignReply) -> None:
        self.hub.commands.say(
            "Signed, and in force." if reply.in_force else "Signed; it waits for another owner still."
        )

    def action_withdraw(self) -> None:
        """Take back what we proposed."""
        around, proposal = self._about(am.Proposal)
        self._confirm(
            "Withdraw a change of keys",
            said.withdrawal(proposal),
            "Withdraw",
            lambda client: client.withdraw(around.share_id),
            lambda _: self.hub.commands.say("Nothing of yours waits for a signature any more."),
            f"p2pckpt access withdraw {around.access.share}",
        )

    def action_invite(self) -> None:
        assert self.around is not None
        self.app.push_screen(InviteDialog(self.around))

    def action_new_link(self) -> None:
        assert self.around is not None
        self.app.push_screen(LinkDialog(self.around, self.hub.now))

    def action_terms(self) -> None:
        assert self.around is not None
        self.app.push_screen(TermsDialog(self.around))

    def action_audit(self) -> None:
        assert self.around is not None
        self.app.push_screen(AuditScreen(self.around.share_id, self.around.access.share))

    # -- inside

    def _about(self, kind: type[T]) -> tuple[Around, T]:
        """The share and the row, which ``check_action`` has let pass."""
        around, row = self.around, self.target
        assert around is not None
        assert row is not None
        assert isinstance(row.of, kind)
        return around, row.of

    def _confirm(
        self,
        title: str,
        lines: list[str],
        yes: str,
        request: Request[T],
        done: Callable[[T], object],
        command: str,
        *,
        no: str = "No, keep",
    ) -> None:
        def answered(agreed: bool | None) -> None:
            if agreed:
                self.hub.commands.run(request, done)

        self.app.push_screen(ConfirmDialog(title, lines, yes=yes, no=no, command=command), answered)
