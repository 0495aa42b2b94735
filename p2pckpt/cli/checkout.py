"""``checkout``: a version where other programs look for theirs, by links to one checkout instead of copies."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.errors import BadUsage, NotFound

if TYPE_CHECKING:
    from p2pckpt.bridges.placements import Placement
    from p2pckpt.cli.checkout_targets import Target
    from p2pckpt.cli.checkout_work import Checkout

_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_ID_DIGITS = 16


@click.command(cls=Command)
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_share)
@click.option("--hf-cache", is_flag=True, help="Into the cache of the model hubs' client, for from_pretrained.")
@click.option("--comfyui", type=_DIRECTORY, metavar="DIR", help="Into the models of the ComfyUI in DIR.")
@click.option("--a1111", type=_DIRECTORY, metavar="DIR", help="Into the models of the Stable Diffusion web UI in DIR.")
@click.option("--dir", "directory", type=_DIRECTORY, metavar="DIR", help="Its files, as they are, into DIR.")
@click.option("--repo-id", default="", metavar="ORG/NAME", help="With --hf-cache: what it is called there.")
@click.option("--as", "kinds", multiple=True, metavar="KIND[:GLOB]", help="What weights are that can't be recognised.")
@click.option("--to", type=_DIRECTORY, metavar="DIR", help="Where it is restored if this machine has no checkout.")
@click.option("--copy", is_flag=True, help="Copy where files can't be shared, such as on another disk.")
@click.option("--remove", is_flag=True, help="Take away what an earlier checkout put there.")
@click.option(
    "--allow-unsafe-pickle", is_flag=True, help="Restore and place pickles that may run commands when they are loaded."
)
@click.option("--accept-licence", is_flag=True, help="Accept the licence that the owner asks you to accept.")
@click.pass_obj
def checkout(
    invocation: Invocation,
    name: str,
    hf_cache: bool,
    comfyui: Path | None,
    a1111: Path | None,
    directory: Path | None,
    repo_id: str,
    kinds: tuple[str, ...],
    to: Path | None,
    copy: bool,
    remove: bool,
    allow_unsafe_pickle: bool,
    accept_licence: bool,
) -> None:
    """Put a version where another program finds it, and print what was made.

    Files are clones of, or hard links to, those of a checkout, which is restored first if there is none.
    """
    from p2pckpt.bridges import hub_cache, image_tools
    from p2pckpt.cli import checkout_targets as targets
    from p2pckpt.cli import checkout_work as work

    chosen = [choice for choice in (hf_cache, comfyui, a1111, directory) if choice]
    if len(chosen) != 1:
        raise click.UsageError("choose one of --hf-cache, --comfyui, --a1111 and --dir")
    if repo_id and not hf_cache:
        raise click.UsageError("--repo-id goes with --hf-cache")
    if kinds and not (comfyui or a1111):
        raise click.UsageError("--as goes with --comfyui and --a1111")
    if remove and allow_unsafe_pickle:
        raise click.UsageError("--allow-unsafe-pickle goes with nothing that is taken away")
    if to and directory and _absolute(to) == _absolute(directory):
        raise click.UsageError("--to and --dir are the same; to restore it there: p2pckpt get NAME --to DIR")
    target: targets.Target
    if hf_cache:
        target = targets.HubCache(hub_cache.cache_directory(os.environ), repo_id)
    elif directory is not None:
        target = targets.Plain(_absolute(directory))
    else:
        tool, place = (image_tools.COMFYUI, comfyui) if comfyui else (image_tools.A1111, a1111)
        assert place is not None
        root = image_tools.root_of(tool, _absolute(place))
        target = targets.ImageTool(tool, root, tuple(map(_kind, kinds)), allow_unsafe_pickle)
    if remove:
        _remove(invocation, target, name)
        return
    done = work.run(
        invocation,
        name,
        target,
        to=_absolute(to) if to else None,
        copy=copy,
        accept_licence=accept_licence,
        allow_unsafe_pickle=allow_unsafe_pickle,
    )
    _print(invocation, done)


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _kind(option: str) -> tuple[str, str]:
    """``KIND[:GLOB]`` as glob and kind."""
    from p2pckpt.checkpoint.weight_kinds import WeightKind

    kind, _, glob = option.partition(":")
    if kind not in set(WeightKind):
        raise click.UsageError(f"--as {option}: KIND is one of {', '.join(WeightKind)}")
    return glob or "*", kind


def _print(invocation: Invocation, done: Checkout) -> None:
    report = invocation.report
    if not report.as_text:
        report.json(done)
        return
    for path in done.paths:
        report.line(path)
    for line in done.said:
        report.narrate(line)


def _remove(invocation: Invocation, target: Target, name: str) -> None:
    from p2pckpt.bridges.placements import Placements
    from p2pckpt.cli.checkout_work import placements_directory

    report, placements = invocation.report, Placements(placements_directory(invocation))
    found = _named(invocation, [p for p in placements.all() if target.made(p)], name)
    if not found:
        raise NotFound(f"nothing of {name} was put there", next_step="name the directory it was put into")
    removed, left = 0, list[str]()
    for placement in found:
        count, others = target.remove(placement, placements)
        removed += count
        left += others
    if not report.as_text:
        report.json({"removed": removed, "left": left})
        return
    report.narrate(f"took away {text.count(removed, 'name')}; the checkout and the store are as they were")
    for path in left:
        report.narrate(f"left alone, it was changed since: {path}", colour="yellow")


def _named(invocation: Invocation, placements: list[Placement], name: str) -> list[Placement]:
    """Those of the share and, if ``name`` says so, the version; also of a share that is not known any more."""
    from p2pckpt.cli.session import is_share, talk

    share, _, selector = name.partition("@")
    found = [p for p in placements if is_share(share, p.share, p.share_id)]
    if len(ids := {p.share_id for p in found}) > 1:
        raise BadUsage(
            f"several shares that were put there are called {share}",
            kept="all of them",
            next_step=f"name one by its id: {', '.join(sorted(share_id[:_ID_DIGITS] for share_id in ids))}",
        )
    if not selector or not found:
        return found
    version = 0
    with contextlib.suppress(ValueError):
        version = int(selector.removeprefix("v"))
    if not version:
        one = f"{found[0].share_id}@{selector}"
        with contextlib.suppress(BadUsage):
            version = talk(invocation, lambda client: client.contents(one)).version
    return [p for p in found if p.version == version]
