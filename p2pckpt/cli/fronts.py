"""Commands that hand over to another program or room: ``tui``, ``demo`` and ``tracker``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from p2pckpt.cli.completing import complete_job
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.errors import BadUsage


@click.command(cls=Command)
@click.argument("job", required=False, metavar="[JOB|NAME[@VERSION]]", shell_complete=complete_job)
@click.option("--inline", is_flag=True, help="One transfer in a few lines below the prompt; default: the newest.")
@click.option("--web", is_flag=True, help="In a browser on this machine. Needs: pip install 'p2pckpt[web]'")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="With --web: the port on 127.0.0.1; default: any free one."
)
@click.option("--open/--no-open", "opens", help="With --web: open a browser, too; default: print the URL alone.")
@click.pass_obj
def tui(invocation: Invocation, job: str | None, inline: bool, web: bool, port: int, opens: bool) -> None:
    """Open the terminal interface; the same as p2pckpt without a command."""
    if (job and not inline) or (inline and web) or ((port or opens) and not web):
        raise BadUsage(
            "JOB belongs to --inline, --port and --open to --web, and these two exclude each other",
            next_step="p2pckpt tui --help",
        )
    if not web and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadUsage("the terminal interface needs a terminal", next_step="p2pckpt ls, or p2pckpt watch")
    if inline:
        from p2pckpt.cli.inline import show

        show(invocation, job)
        return
    from p2pckpt.trust import identity_file

    if identity_file.needs_passphrase(invocation.config.keys_dir):
        from p2pckpt.cli.session import talk

        talk(invocation, lambda client: client.status())  # it is asked for while there is a terminal to ask on
    if web:
        from p2pckpt.cli.web import serve

        serve(invocation, port, opens=opens)
        return
    from p2pckpt.tui.app import run

    _end(run(invocation.config))


@click.command(cls=Command)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory to share, with at least one .safetensors file; otherwise a small one is trained on the spot.",
)
@click.option("--keep", is_flag=True, help="Leave the homes and checkouts in place, and say where they are.")
@click.pass_obj
def demo(invocation: Invocation, checkpoint: Path | None, keep: bool) -> None:
    """Share, receive, interrupt, resume and refuse with real parts, in temporary homes, and say what was checked."""
    from p2pckpt.cli.demo import run_demo

    _end(run_demo(invocation.report, checkpoint, keep=keep))


def _end(code: object) -> None:
    if isinstance(code, int) and code:
        raise click.exceptions.Exit(code)


@click.command(
    # every word is the tracker's, its --help included
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def tracker(invocation: Invocation, arguments: tuple[str, ...]) -> None:
    """Run the tracker's own command line: "p2pckpt tracker serve --help" lists its options."""
    sys.stdout.flush()
    sys.stderr.flush()
    environment = {**os.environ, **invocation.config.environment()}
    # replaced, not started: signals and exit code are then the tracker's own
    os.execve(sys.executable, [sys.executable, "-m", "p2pckpt_tracker.main", *arguments], environment)  # noqa: S606
