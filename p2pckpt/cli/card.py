"""``card``: a README.md for a checkpoint directory, from what its headers say."""

from __future__ import annotations

from pathlib import Path

import click

from p2pckpt.cli.options import Command, Invocation


@click.command(cls=Command)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--write", is_flag=True, help="Write it to README.md, or the options into the front matter of that.")
@click.option("--licence", default="", help="Licence of the checkpoint: apache-2.0, mit, …")
@click.option("--base-model", "base_models", multiple=True, help="What it was made from; may be repeated.")
@click.option("--card-tag", "card_tags", multiple=True, help="A tag of the card; may be repeated.")
@click.pass_obj
def card(
    invocation: Invocation,
    directory: Path,
    write: bool,
    licence: str,
    base_models: tuple[str, ...],
    card_tags: tuple[str, ...],
) -> None:
    """Print a README.md for DIRECTORY to go on from: architecture, parameters, number types, files, tensors.

    Only headers and configurations are read, and nothing is run. With --write a README.md that is there already is
    never replaced.
    """
    from p2pckpt.checkpoint.card import read_card
    from p2pckpt.control.publish_messages import CardFields
    from p2pckpt.jobs import card_making

    report = invocation.report
    fields = CardFields(licence=licence, base_model=base_models, tags=card_tags)
    if write:
        path = card_making.write(directory, fields)
        text, shown = path.read_bytes(), str(path)
    else:
        text = card_making.made(directory, fields)
        shown = text.decode()
    if report.as_text:
        report.text(shown)
    else:
        report.json({"path": str(directory / "README.md") if write else "", "text": text.decode("utf-8", "replace")})
    for problem in read_card(text).problems:
        report.narrate(f"warning: {problem}", colour="yellow")
    if not write and (directory / "README.md").exists():
        report.narrate("there is a README.md already, which stays as it is")
