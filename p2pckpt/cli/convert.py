"""``convert``: PyTorch checkpoints become safetensors, which hold no code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from p2pckpt.cli import text
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.errors import NoSpace, NotFound, P2pckptError, Partial
from p2pckpt.jobs import convert as converting

_SHOWN = 10


@click.command(cls=Command)
@click.argument("path", metavar="FILE|DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="Directory for what is made.")
@click.pass_obj
def convert(invocation: Invocation, path: Path, to: Path | None) -> None:
    """Turn .ckpt, .pt, .pth and .bin files into safetensors, and print what was made.

    They are loaded by torch as weights only, in a process with limits; what needs more than that is refused. With a DIR
    and --to, the rest of the checkpoint is copied along. Needs: pip install 'p2pckpt[convert]'
    """
    report = invocation.report
    made: list[converting.Converted] = []
    failed: list[P2pckptError] = []
    for source in converting.checkpoints_in(path):
        try:
            item = converting.convert_file(source, converting.target_of(source, path, to))
        except (NotFound, NoSpace):
            raise
        except P2pckptError as exc:
            failed.append(exc)
            continue
        made.append(item)
        if report.as_text:
            report.line(str(item.target))
        _tell(invocation, item)
    if failed and not made:
        raise failed[0]
    left_out = converting.copy_rest(path, to, made) if to is not None and path.is_dir() else []
    if not report.as_text:
        report.json([asdict(item) | {"source": str(item.source), "target": str(item.target)} for item in made])
    if failed:
        raise Partial(
            "; ".join(exc.fact for exc in failed[:3]) + ("; …" if len(failed) > 3 else ""),
            kept=f"{text.count(len(made), 'file')} converted" + ("; these were not copied" if left_out else ""),
            next_step=failed[0].next_step,
        )


def _tell(invocation: Invocation, item: converting.Converted) -> None:
    """What became of the file's content, on stderr."""
    report = invocation.report
    report.narrate(f"{item.source.name}: {text.count(item.tensors, 'tensor')}")
    for what, names, count in (
        ("left out, being no tensors of the model", item.dropped, item.dropped_count),
        ("shared their bytes with another tensor, and have their own now", item.shared, item.shared_count),
    ):
        if count:
            more = f" and {count - _SHOWN:,} more" if count > _SHOWN else ""
            report.narrate(f"  {what}: {', '.join(names[:_SHOWN])}{more}", colour="yellow")
