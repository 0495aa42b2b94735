"""A card for a directory: made of what is in it, or completed by what its author says. Blocks on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from p2pckpt import atomic
from p2pckpt.checkpoint.card_skeleton import CONFIGS, MAX_CONFIG, SourceFile, skeleton
from p2pckpt.checkpoint.formats import inspect
from p2pckpt.control.publish_messages import CardFields
from p2pckpt.errors import Conflict, NotAllowed
from p2pckpt.jobs.folder import CARD, describe
from p2pckpt.jobs.packing import FileSource
from p2pckpt.jobs.scanning import scan

_NEXT: Final = "complete its front matter: --licence, --base-model or --card-tag"


def made(directory: Path, fields: CardFields, check: Callable[[], None] = lambda: None) -> bytes:
    """A README.md for ``directory``, from the headers of its files. ``check`` is called often.

    Raises as ``scanning.scan`` does. Reads headers and configurations only, whatever the size.
    """
    found = scan(directory, check)
    files: list[SourceFile] = []
    configs: dict[str, bytes] = {}
    for file in found.files:
        check()
        if file.path == CARD:
            continue
        with FileSource(file) as source:
            files.append(SourceFile(file.path, file.size, inspect(source)))
            if file.path in CONFIGS and file.size <= MAX_CONFIG:
                configs[file.path] = source.read(0, file.size)
    name = directory.resolve().name
    return skeleton(name, files, configs, licence=fields.licence, base_model=fields.base_model, tags=fields.tags)


def write(directory: Path, fields: CardFields, check: Callable[[], None] = lambda: None) -> Path:
    """Write that README.md, or into the front matter of the one that is there; returns its path.

    A card that is there is never replaced: ``Conflict`` where there is nothing to write into it.
    """
    path = directory / CARD
    if path.exists():
        if fields == CardFields():
            raise Conflict(f"{path} is there already", kept="it, as it was", next_step=_NEXT)
        describe(directory, fields)
        return path
    text = made(directory, fields, check)
    try:
        atomic.write_new(path, text, mode=0o644)
    except FileExistsError as exc:
        raise Conflict(f"{path} was made by somebody else just now", kept="it, as it was", next_step=_NEXT) from exc
    except OSError as exc:
        raise NotAllowed(f"{path} can't be written: {exc.strerror}", kept="nothing was written") from exc
    return path
