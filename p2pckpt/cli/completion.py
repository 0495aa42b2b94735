"""``completion bash|zsh|fish``."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from p2pckpt.cli.main import COMPLETE_VARIABLE, cli
from p2pckpt.cli.options import Command, Invocation

_WHERE = {
    "bash": "p2pckpt completion bash > ~/.local/share/bash-completion/completions/p2pckpt",
    "zsh": "p2pckpt completion zsh > a directory of $fpath, as _p2pckpt",
    "fish": "p2pckpt completion fish > ~/.config/fish/completions/p2pckpt.fish",
}


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(list(_WHERE)))
@click.pass_obj
def completion(invocation: Invocation, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, shares and jobs."""
    complete = get_completion_class(shell)
    assert complete is not None
    # the base class's source(): bash's own starts a bash to look at its version, wherever this is run
    script = ShellComplete.source(complete(cli, {}, "p2pckpt", COMPLETE_VARIABLE))
    invocation.report.text(script)
    invocation.report.narrate(f"install it with: {_WHERE[shell]}")
