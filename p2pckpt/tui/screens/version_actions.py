"""What can be done to versions of a share, from the list of them and from a version's own screen."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from p2pckpt.control.messages import ShareRow, TagRequest, VerifyRequest, VersionRow
from p2pckpt.control.pin_messages import PinRequest, PinRow
from p2pckpt.errors import BadUsage
from p2pckpt.tui import format as f
from p2pckpt.tui.commands import verify
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.screens.confirm import ConfirmDialog
from p2pckpt.tui.screens.prompt import PromptDialog
from p2pckpt.tui.screens.receive_dialog import ReceiveDialog
from p2pckpt.tui.screens.snippet import SnippetScreen

_NAMED = 3
"""Versions that are named; the rest are counted."""


class VersionActions(StateScreen):
    """Keys for the versions that ``targets`` gives of the share that ``share`` gives."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "fetch", "Get this", id="version.receive", tooltip="p2pckpt get NAME@VERSION"),
        Binding("v", "verify", "Verify", id="version.verify", tooltip="p2pckpt verify NAME@VERSION"),
        Binding("t", "tag", "Tag", id="version.tag", tooltip="p2pckpt tag NAME@VERSION TAG"),
        Binding("T", "untag", "Remove tag", show=False, id="version.untag", tooltip="p2pckpt tag NAME TAG --remove"),
        Binding(
            "D",
            "remove_data",
            "Remove its data",
            show=False,
            id="version.remove-data",
            tooltip="p2pckpt rm NAME@VERSION --data",
        ),
        Binding("L", "snippet", "Load it", id="version.snippet"),
        Binding("p", "pin", "Pin", id="version.pin", tooltip="p2pckpt pin NAME@VERSION"),
    ]

    def share(self) -> ShareRow | None:
        """The share that is looked at; None once it is gone."""
        raise NotImplementedError

    def targets(self) -> list[VersionRow]:
        """The versions that the next key is for."""
        raise NotImplementedError

    def _one(self) -> tuple[ShareRow, VersionRow] | None:
        share, versions = self.share(), self.targets()
        return None if share is None or not versions else (share, versions[0])

    def action_fetch(self) -> None:
        """Look at what fetching this version would mean."""
        if (one := self._one()) is not None:
            self.app.push_screen(ReceiveDialog(f"{one[0].share_id}@v{one[1].version}"))

    def action_verify(self) -> None:
        """Check every byte of the versions that are here."""
        share = self.share()
        for version in self.targets() if share is not None else ():
            assert share is not None
            request = VerifyRequest(name=f"{share.share_id}@v{version.version}")
            self.hub.commands.run(
                verify(request),
                lambda job: self.hub.commands.say(f"Verifying {f.share_name(job)} as {f.safe(job.id, 20)}."),
            )

    def action_tag(self) -> None:
        """Ask for a tag and move it here."""
        if (one := self._one()) is None:
            return
        share, version = one

        def answered(tag: str | None) -> None:
            if tag:
                request = TagRequest(f"{share.share_id}@v{version.version}", tag)
                self.hub.commands.run(
                    lambda client: client.tag(request),
                    lambda detail: self.hub.commands.say(f"{f.safe(tag)} is v{version.version} now."),
                )

        name = f.safe(share.name, 100)
        text = f"Tag for {name}@v{version.version}. A tag that another version has moves here; everybody sees it."
        command = f"p2pckpt tag {name}@v{version.version} TAG"
        dialog = PromptDialog("Tag a version", text, placeholder="stable", yes="Tag", command=command)
        self.app.push_screen(dialog, answered)

    def action_untag(self) -> None:
        """Ask which tag to take away."""
        if (one := self._one()) is None:
            return
        share, version = one
        tags = [tag for tag in version.tags if tag != "latest"]
        if not tags:
            self.hub.commands.say(f"v{version.version} has no tag that could be taken away.", warning=True)
            return

        def answered(tag: str | None) -> None:
            if tag:
                request = TagRequest(share.share_id, tag, remove=True)
                self.hub.commands.run(
                    lambda client: client.tag(request),
                    lambda detail: self.hub.commands.say(f"The tag {f.safe(tag)} is gone."),
                )

        def known(tag: str) -> None:
            if tag not in tags:
                raise BadUsage(f"v{version.version} has these tags: {', '.join(tags)}")

        name = f.safe(share.name, 100)
        dialog = PromptDialog(
            "Remove a tag",
            f"Which tag of {name}@v{version.version}: {f.safe(', '.join(tags))}?",
            value=f.safe(tags[0]),
            yes="Remove",
            check=known,
            command=f"p2pckpt tag {name} TAG --remove",
        )
        self.app.push_screen(dialog, answered)

    def action_pin(self) -> None:
        """Keep these versions on this machine; let go of them if all of them are kept."""
        share, numbers = self.share(), {version.version for version in self.targets()}
        if share is None or not numbers:
            return
        remove = numbers <= set(share.pinned)
        for number in sorted(numbers if remove else numbers - set(share.pinned)):
            request = PinRequest(f"{share.share_id}@v{number}", remove)
            self.hub.commands.run(
                lambda client, request=request: client.pin(request),  # type: ignore[misc]
                lambda row: self.hub.commands.say(_let_go(row) if remove else f"v{row.version} stays on this machine."),
            )

    def action_remove_data(self) -> None:
        """Ask, with what it would mean; then delete what these versions have here."""
        share, versions = self.share(), self.targets()
        if share is None or not versions:
            return
        if pinned := [version.version for version in versions if version.version in share.pinned]:
            self.hub.commands.say(f"v{pinned[0]} is pinned, and stays: p lets go of it first.", warning=True)
            return
        name = f.safe(share.name, 100)
        names = [f"{name}@v{version.version}" for version in versions]

        def answered(yes: bool | None) -> None:
            for version in versions if yes else ():
                self.hub.commands.run(
                    lambda client, version=version: client.drop_version(  # type: ignore[misc]
                        f"{share.share_id}@v{version.version}"
                    ),
                    lambda reply: self.hub.commands.say(f"{f.size(reply.freed)} freed."),
                )

        alone = [each for each, version in zip(names, versions, strict=True) if version.held and version.seeds == 0]
        lines = [f"! Nobody else is known to seed {each}: nobody could fetch it any more." for each in alone[:_NAMED]]
        lines += [f"! … nor {len(alone) - _NAMED} more."] if len(alone) > _NAMED else []
        lines += [
            f"Jobs of {', '.join(names[:_NAMED])}{' and more' if len(names) > _NAMED else ''} end, and objects that",
            "nothing else needs are deleted from the store.",
            "",
            "No checkout and no published folder is touched.",
        ]
        expected = names[0] if len(names) == 1 else f"remove {len(names)}"
        command = f"p2pckpt rm {' '.join(names[:_NAMED])} --data"
        dialog = ConfirmDialog("Remove data", lines, yes="Remove", expected=expected, command=command)
        self.app.push_screen(dialog, answered)

    def action_snippet(self) -> None:
        """Show how to load this version from a program."""
        if (one := self._one()) is not None:
            self.app.push_screen(SnippetScreen(f"{one[0].name}@v{one[1].version}"))


def _let_go(row: PinRow) -> str:
    """What becomes of a version that is pinned no more."""
    later = f" It was retired: p2pckpt run prune {f.safe(row.share, 100)} --undo takes it back, for a day."
    return f"v{row.version} is pinned no more.{later if row.retired_here else ''}"
