"""Every command's place and one-line help, so that listing commands imports none of them."""

from __future__ import annotations

from importlib import import_module
from typing import Final, NamedTuple

import click


class Entry(NamedTuple):
    """One row of ``p2pckpt --help``."""

    section: str
    target: str
    """``module:attribute`` of the click command."""
    help: str


_CLI: Final = "p2pckpt.cli."
COMMANDS: Final[dict[str, Entry]] = {
    "share": Entry("Share and receive", _CLI + "share:share", "Publish a directory and print its link."),
    "get": Entry("Share and receive", _CLI + "get:get", "Receive a version from a link or by name."),
    "ls": Entry("Share and receive", _CLI + "listing:ls", "List jobs, or shares with --shares."),
    "watch": Entry("Share and receive", _CLI + "watch:watch", "Follow one job, or all of them."),
    "pause": Entry("Share and receive", _CLI + "jobs:pause", "Stop moving bytes for a job, keep what is there."),
    "resume": Entry("Share and receive", _CLI + "jobs:resume", "Continue a paused or failed job."),
    "limit": Entry("Share and receive", _CLI + "limit:limit", "Show and set limits and slow mode."),
    "rm": Entry("Share and receive", _CLI + "jobs:rm", "Forget a job, with --data its objects too."),
    "leave": Entry("Share and receive", _CLI + "leave:leave", "Forget a share and delete its data here."),
    "show": Entry("Versions", _CLI + "show:show", "Show a share's card, files, tensors and versions."),
    "verify": Entry("Versions", _CLI + "verify:verify", "Check every byte of a version or checkout."),
    "diff": Entry("Versions", _CLI + "versions:diff", "Compare two versions."),
    "tag": Entry("Versions", _CLI + "versions:tag", "List, move or remove tags."),
    "pin": Entry("Versions", _CLI + "pin:pin", "Keep a version on this machine."),
    "card": Entry("Versions", _CLI + "card:card", "Make a README.md for a checkpoint from its headers."),
    "convert": Entry("Versions", _CLI + "convert:convert", "Turn PyTorch checkpoints into safetensors."),
    "checkout": Entry("Versions", _CLI + "checkout:checkout", "Put a version where other programs find it."),
    "run": Entry("Training runs", _CLI + "run:run", "Publish each save, restart from the last good."),
    "access": Entry("Access", _CLI + "access:access", "Show and change what protects a share."),
    "member": Entry("Access", _CLI + "members:member", "List, add, approve, change and remove members."),
    "invite": Entry("Access", _CLI + "invite:invite", "Let one person in, by key or by a link for one use."),
    "link": Entry("Access", _CLI + "links:link", "Make, list and revoke links."),
    "log": Entry("Access", _CLI + "log:log", "Show who did what in a share, verified."),
    "key": Entry("Access", _CLI + "keys:key", "Show, back up, restore and protect your identity."),
    "peers": Entry("Services", _CLI + "peers:peers", "Show who is connected, ban addresses, look for more."),
    "trust": Entry("Access", _CLI + "trust:trust", "Verify and block other people's keys."),
    "daemon": Entry("Services", _CLI + "daemon:daemon", "Start, stop, inspect and install the daemon."),
    "tracker": Entry("Services", _CLI + "fronts:tracker", "Run a tracker of your own."),
    "config": Entry("This machine", _CLI + "settings:config", "Read and change settings."),
    "doctor": Entry("This machine", _CLI + "doctor:doctor", "Check that this machine is ready."),
    "completion": Entry("This machine", _CLI + "completion:completion", "Print a completion script for a shell."),
    "gateway": Entry("Interfaces", _CLI + "gateway:gateway", "Let from_pretrained and hf download read your shares."),
    "tui": Entry("Interfaces", _CLI + "fronts:tui", "Open the terminal interface."),
    "demo": Entry("Interfaces", _CLI + "fronts:demo", "Play the whole story on this machine."),
}


def load(name: str) -> click.Command:
    """The click command called ``name``; ``KeyError`` when there is none."""
    module, attribute = COMMANDS[name].target.split(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command), f"{COMMANDS[name].target} is no command"
    return command


def sections() -> dict[str, list[tuple[str, str]]]:
    """(name, help) of the commands under each heading, in the order of the table."""
    grouped: dict[str, list[tuple[str, str]]] = {}
    for name, entry in COMMANDS.items():
        grouped.setdefault(entry.section, []).append((name, entry.help))
    return grouped
