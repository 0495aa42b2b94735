"""Letting people in: by key, by a new link; and the terms of a share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Label, Select, Static

from p2pckpt.control import access_messages as am
from p2pckpt.errors import P2pckptError
from p2pckpt.tracker_protocol import MAX_LICENCE, Role
from p2pckpt.trust.identity import PublicIdentity, words
from p2pckpt.tui import format as f
from p2pckpt.tui.member_rows import MAY, Around
from p2pckpt.tui.member_words import COMPARE
from p2pckpt.tui.screens.dialog import StepDialog
from p2pckpt.tui.screens.qr import QrScreen
from p2pckpt.tui.widgets.check import Check
from p2pckpt.tui.widgets.clean_input import CleanInput
from p2pckpt.units import parse_duration

_TLS_OFF = (
    "! Without TLS, content stays encrypted, but whoever learns an infohash and the address of a peer can collect the "
    "ciphertext, the network sees which pieces go where, and whom you remove keeps the connections that are open. "
    "It makes transfers on a trusted network up to twice as fast."
)


def roles(*offered: Role) -> list[tuple[str, Role]]:
    """Choices for a ``Select``."""
    return [(f"{role.value}: {MAY[role]}", role) for role in offered]


class AccessDialog(StepDialog):
    """One form; ``submit`` sends it, also when enter is pressed in a field."""

    BINDINGS: ClassVar[list[BindingType]] = []
    TITLE: ClassVar[str]
    YES: ClassVar[str]
    COMMAND: ClassVar[str]
    """The command line that does the same; ``SHARE`` is replaced."""

    def __init__(self, around: Around) -> None:
        super().__init__()
        self.around = around

    def form(self) -> ComposeResult:
        """The fields."""
        raise NotImplementedError

    def submit(self) -> None:
        """Send what the fields say."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        name = f.safe(self.around.access.share, 100)
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(f"{self.TITLE}: {name}")
            yield from self.form()
            yield Static("", id="error", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(self.YES, id="yes", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)
            yield Static(Content(f"= {self.COMMAND.replace('SHARE', name)}"), classes="equivalent", markup=False)

    @on(Input.Submitted)
    @on(Button.Pressed, "#yes")
    def _yes(self) -> None:
        self.submit()

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.action_close()

    def value(self, selector: str) -> str:
        """What a field holds."""
        return self.query_one(selector, CleanInput).value.strip()

    def refuse(self, text: str, selector: str) -> None:
        """Say what is wrong with a field."""
        self.say_error(f"✗ {text}")
        self.query_one(selector).focus()

    def hand_over(self, title: str, link: str, lines: list[str], command: str = "") -> None:
        """Close, and show the link that came of it."""
        screen = QrScreen(title, link, lines, command=command) if command else QrScreen(title, link, lines)
        app = self.app
        self.dismiss(None)
        app.push_screen(screen)


def field(label: str, widget: CleanInput | Select[Role] | Check) -> Horizontal:
    """One line of a form."""
    return Horizontal(Label(label), widget, classes="field")


class InviteDialog(AccessDialog):
    """Adds somebody by their key; the words of what was pasted are shown to compare."""

    TITLE, YES, COMMAND = "Add by key", "Add", "p2pckpt invite SHARE KEY --role ROLE --qr"

    def form(self) -> ComposeResult:
        yield field(
            "Key", CleanInput(id="key", placeholder="p2pckpt-id:…, what p2pckpt key show -q prints", compact=True)
        )
        offered = roles(Role.VIEWER, Role.DOWNLOADER, Role.PUBLISHER, Role.OWNER)
        yield field("Role", Select[Role](offered, value=Role.DOWNLOADER, allow_blank=False, id="role", compact=True))
        yield Static("", id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one("#key").focus()

    @on(Input.Changed, "#key")
    def _pasted(self) -> None:
        public = self._public()
        text = f"Words  {words(public.identity)}\n{COMPARE}" if public is not None else ""
        self.query_one("#said", Static).update(Content(text))

    def _public(self) -> PublicIdentity | None:
        try:
            return PublicIdentity.parse(self.value("#key"))
        except P2pckptError:
            return None

    def submit(self) -> None:
        if self._public() is None:
            self.refuse("This is no public key: ask for the output of p2pckpt key show -q.", "#key")
            return
        role = self.query_one("#role", Select).value
        assert isinstance(role, Role)
        request = am.InviteRequest(self.around.share_id, self.value("#key"), role)
        self.ask(lambda client: client.invite(request), lambda reply: self._invited(reply, role), "Adding …")

    def _invited(self, reply: am.InviteReply, role: Role) -> None:
        name = self.around.access.share
        lines = [
            f"{f.safe(reply.words, 200)} is {role.value} now, or will be once enough owners have signed.",
            "Send them this link. It is no secret: it says where the share is, and lets nobody else in.",
        ]
        self.hand_over(f"Added to {name}", reply.link, lines, f"p2pckpt link qr {name}")


class LinkDialog(AccessDialog):
    """Makes a link that lets in whoever has it."""

    TITLE, YES = "New link", "Make it"
    COMMAND = "p2pckpt link new SHARE --role ROLE --expires 7d --max-uses 1 --qr"

    def __init__(self, around: Around, now: Callable[[], float]) -> None:
        super().__init__(around)
        self._now = now

    def form(self) -> ComposeResult:
        offered = roles(Role.VIEWER, Role.DOWNLOADER)
        yield field("Role", Select[Role](offered, value=Role.DOWNLOADER, allow_blank=False, id="role", compact=True))
        yield field("Expires", CleanInput("7d", id="expires", placeholder="12h, 7d, 2w; empty: never", compact=True))
        yield field("Uses", CleanInput("1", id="uses", placeholder="how many people; empty: any number", compact=True))
        yield field("Password", CleanInput(id="password", placeholder="empty: none", password=True, compact=True))

    def on_mount(self) -> None:
        self.query_one("#expires").focus()

    def submit(self) -> None:
        expires, uses, password = (
            self.value("#expires"),
            self.value("#uses"),
            self.query_one("#password", CleanInput).value,
        )
        try:
            ends = int(self._now()) + parse_duration(expires) if expires else 0
        except ValueError:
            self.refuse("Write a time such as 12h, 7d or 2w, or nothing for ever.", "#expires")
            return
        if uses and not (uses.isascii() and uses.isdigit() and 0 < int(uses) < 1 << 31):
            self.refuse("Uses is a number of people, or nothing for any number.", "#uses")
            return
        role = self.query_one("#role", Select).value
        assert isinstance(role, Role)
        request = am.CreateLinkRequest(
            share=self.around.share_id, role=role, expires_at=ends, max_uses=int(uses or 0), password=password
        )
        self.ask(
            lambda client: client.create_link(request), lambda reply: self._made(reply, request), "Making the link …"
        )

    def _made(self, reply: am.LinkReply, request: am.CreateLinkRequest) -> None:
        people = f.plural(request.max_uses, "use") if request.max_uses else "any number of uses"
        ends = f.until(request.expires_at, self._now()) if request.expires_at else "never"
        lines = [
            f"Lets in whoever has it as {request.role.value}: {people}, expires {ends}.",
            "! It is a secret: send it by a way you trust." + (" The password by another." if request.password else ""),
        ]
        if reply.web_link:
            lines.append(f"For a browser: {f.safe(reply.web_link, 4096)}")
        if reply.reach:
            lines.append(f"Reaches {f.safe(reply.reach, 300)}.")
        self.hand_over(f"A link to {self.around.access.share}", reply.link, lines)


class TermsDialog(AccessDialog):
    """Swarm TLS, the licence to accept, and the signatures that a change of keys needs."""

    TITLE, YES = "Terms", "Change"
    COMMAND = "p2pckpt access set SHARE --swarm-tls on|off --licence TEXT --signatures N"

    def form(self) -> ComposeResult:
        access = self.around.access
        sealed = bool(access.epoch)
        tls = Check("swarms for members only: peers show a certificate (TLS)", access.swarm_tls, id="tls", compact=True)
        tls.disabled = not sealed
        yield field("Swarms", tls)
        yield Static(Content(_TLS_OFF), id="tls-off", markup=False)
        yield field(
            "Licence",
            CleanInput(access.licence, id="licence", placeholder="to accept first; empty: none", compact=True),
        )
        yield field("Signing", CleanInput(str(access.threshold), id="signatures", compact=True))
        yield Static(
            Content(
                f"of {f.plural(len(access.owners), 'owner')}, for a change of keys. A new licence is asked of all anew."
            ),
            classes="label",
            markup=False,
        )

    def on_mount(self) -> None:
        self._tls_changed()
        self.query_one("#licence").focus()

    @on(Check.Changed, "#tls")
    def _tls_changed(self) -> None:
        self.query_one("#tls-off").display = bool(self.around.access.epoch) and not self.query_one("#tls", Check).value

    def submit(self) -> None:
        access, licence, signatures = self.around.access, self.value("#licence"), self.value("#signatures")
        if len(licence) > MAX_LICENCE:
            self.refuse(f"A licence to accept is one line of at most {MAX_LICENCE} characters.", "#licence")
            return
        if not (signatures.isascii() and signatures.isdigit() and 0 < int(signatures) <= len(access.owners)):
            self.refuse(f"Signing takes a number of owners from 1 to {len(access.owners)}.", "#signatures")
            return
        tls = self.query_one("#tls", Check).value
        request = am.TermsRequest(
            share=self.around.share_id,
            swarm_tls=tls if access.epoch and tls is not access.swarm_tls else None,
            licence=licence if licence != access.licence else None,
            threshold=int(signatures) if int(signatures) != access.threshold else None,
        )
        if request.swarm_tls is None and request.licence is None and request.threshold is None:
            self.action_close()
            return
        self.ask(lambda client: client.set_terms(request), lambda reply: self._changed(request, reply), "Signing …")

    def _changed(self, request: am.TermsRequest, reply: am.Access) -> None:
        if request.threshold is not None and reply.threshold != request.threshold:
            self.hub.commands.say("Signed; the number of signatures waits for another owner.", warning=True)
        else:
            self.hub.commands.say(f"The terms of {f.safe(reply.share, 80)} are changed.")
        self.dismiss(None)
