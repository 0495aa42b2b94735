"""``show``: what a share and one of its versions say about themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import click

from p2pckpt.checkpoint.card import read_card
from p2pckpt.cli import text
from p2pckpt.cli.completing import complete_share
from p2pckpt.cli.options import Command, Invocation
from p2pckpt.cli.session import talk
from p2pckpt.cli.table import Column, facts, table, terminal_width
from p2pckpt.cli.trust import described
from p2pckpt.control.client import ControlClient
from p2pckpt.control.messages import FileRow, ShareDetail, TensorRow, VersionDetail, VersionRow
from p2pckpt.errors import NotFound


@click.command(cls=Command)
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_share)
@click.option("--manifest", is_flag=True, help="The whole manifest, as JSON.")
@click.option("--tensors", is_flag=True, help="Its tensors: dtype, shape, parameters, file.")
@click.option("--files", is_flag=True, help="Its files and their sizes.")
@click.option("--signing-key", is_flag=True, help="The publisher's key that verifies model.sig, as PEM.")
@click.pass_obj
def show(invocation: Invocation, name: str, manifest: bool, tensors: bool, files: bool, signing_key: bool) -> None:
    """Show a version, the newest unless NAME says which, with its card and the share's other versions."""
    report = invocation.report
    if manifest + tensors + files + signing_key > 1:
        raise click.UsageError("choose one of --manifest, --tensors, --files and --signing-key")
    if manifest:
        report.event(talk(invocation, lambda client: client.manifest(name)))
        return
    if signing_key:
        pem = talk(invocation, lambda client: client.version_detail(name)).signing_key
        if not pem:
            raise NotFound(f"{name} has no model signature", next_step="p2pckpt verify checks it by its manifest")
        report.text(pem)
        return
    if tensors or files:
        detail = talk(invocation, lambda client: client.version_detail(name))
        rows: Sequence[TensorRow | FileRow] = detail.tensors if tensors else detail.files
        lines: Callable[[], Iterable[str]] = lambda: (  # noqa: E731 - the two tables differ only here
            tensor_lines(detail.tensors, terminal_width()) if tensors else file_lines(detail.files, terminal_width())
        )
        ids = [row.name for row in detail.tensors] if tensors else [row.path for row in detail.files]
        report.items(rows, ids=ids, text=lines)
        return

    async def fetch(client: ControlClient) -> tuple[ShareDetail, VersionDetail | None]:
        share = await client.share_detail(name.partition("@")[0])
        return share, await client.version_detail(name) if share.versions else None

    share, version = talk(invocation, fetch)
    if not report.as_text:
        report.json({"share": share, "version": version})
    elif report.quiet:
        for row in share.versions:
            report.line(f"{share.share.name}@v{row.version}")
    else:
        for line in [*version_lines(version), *share_lines(share)]:
            report.line(line)
        for warning in (*version.warnings, *card_problems(version)) if version else ():
            report.narrate(f"warning: {warning}", colour="yellow")


def version_lines(detail: VersionDetail | None) -> list[str]:
    """One version and its card; nothing when the share has none."""
    if detail is None:
        return ["no version has been published yet"]
    row, card = detail.version, read_card(detail.card.encode())
    lines = facts(
        [
            ("version", f"{detail.share}@v{row.version}" + (f" ({row.name})" if row.name else "")),
            ("tags", ", ".join(row.tags)),
            ("step", "" if row.step is None else f"{row.step:,}"),
            ("metrics", text.metrics(row.metrics)),
            ("published", text.ago(row.published_at)),
            ("publisher", detail.publisher),
            ("words", detail.publisher_words),
            ("its key is", described(detail.publisher_key)),
            ("licence", detail.licence or "none stated"),
            ("terms", card.licence_link),
            ("base model", ", ".join(_base(detail, name) for name in detail.base_model)),
            ("size", f"{text.size(row.size)} in {text.count(len(detail.files), 'file')}"),
            ("tensors", f"{len(detail.tensors):,}, {detail.parameters:,} parameters" if detail.tensors else ""),
            ("stored as", f"{text.size(detail.stored)} in {text.count(detail.objects, 'object')}"),
            ("chunks", f"{detail.chunks:,}"),
            ("held here", ("yes" if row.held else "no") + (", pinned" if row.pinned else "")),
            ("info hashes", " ".join(detail.info_hashes)),
            ("encoder", detail.encoder),
            *[("magnet", magnet) for magnet in detail.magnets],
        ]
    )
    if detail.card.strip():
        lines += ["", *detail.card.splitlines()]
    return lines


def card_problems(detail: VersionDetail) -> tuple[str, ...]:
    """What is wrong with a version's card, one sentence each; nothing of one that is not here."""
    return read_card(detail.card.encode()).problems if detail.card else ()


def _base(detail: VersionDetail, name: str) -> str:
    """What a version was made from, and whether that is a share here."""
    for base in detail.bases:
        if base.name == name:
            same = name.removeprefix("p2pckpt:") in (base.share, f"{base.share}@v{base.version}")
            where = ["share here"] if same else [f"share {base.share} here"]
            return f"{name} ({', '.join([*where, *([f'v{base.version}'] if base.version else [])])})"
    return name


def share_lines(detail: ShareDetail) -> list[str]:
    """The share's versions, newest first, under a blank line."""
    measured = any(row.step is not None or row.metrics for row in detail.versions)
    columns = [
        Column("VERSION"),
        Column("NAME"),
        Column("PUBLISHED"),
        *([Column("STEP", right=True), Column("METRICS")] if measured else []),
        Column("SIZE", right=True),
        Column("ADDED", right=True),
        Column("SEEDS", right=True),
        Column("HELD"),
        Column("TAGS"),
    ]
    cells = [_version_cells(row, measured=measured) for row in detail.versions]
    return ["", *table(columns, cells, width=terminal_width())]


def _version_cells(row: VersionRow, *, measured: bool) -> list[str]:
    return [
        f"v{row.version}",
        row.name,
        text.ago(row.published_at),
        *([_step(row), text.metrics(row.metrics)] if measured else []),
        text.size(row.size) if row.size else "-",
        text.size(row.wire_size),
        "-" if row.seeds < 0 else f"{row.seeds:,}",
        "pinned" if row.pinned else "yes" if row.held else "no",
        " ".join(row.tags),
    ]


def _step(row: VersionRow) -> str:
    return "-" if row.step is None else f"{row.step:,}"


def tensor_lines(tensors: Sequence[TensorRow], width: int | None) -> list[str]:
    """One line a tensor."""
    columns = [Column("TENSOR"), Column("DTYPE"), Column("SHAPE"), Column("PARAMETERS", right=True), Column("FILE")]
    rows = ([t.name, t.dtype, "×".join(map(str, t.shape)) or "scalar", f"{t.parameters:,}", t.file] for t in tensors)
    return table(columns, rows, width=width)


def file_lines(files: Sequence[FileRow], width: int | None) -> list[str]:
    """One line a file."""
    columns = [Column("FILE"), Column("KIND"), Column("SIZE", right=True), Column("HERE", right=True)]
    rows = ([f.path, f.kind, text.size(f.size), text.percent(f.done, f.size)] for f in files)
    return table(columns, rows, width=width)
