"""What a model card says about itself, read from README.md's YAML front matter as the model hubs write it.

A card never stops anything: what is odd about it is listed in ``problems`` and the rest is used. Storing
and showing cards is done elsewhere; ``text`` is as its author wrote it and must be cleaned before it
reaches a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import yaml

from p2pckpt.checkpoint.licences import licence_of
from p2pckpt.checkpoint.terminal_text import clean
from p2pckpt.errors import BadUsage

MAX_README = 1 << 20
"""Bytes of a README that are looked at."""
MAX_FRONT_MATTER = 64 << 10
"""Characters between the two ``---`` lines."""
MAX_DEPTH = 16
MAX_EVENTS = 20_000
"""YAML scalars, list and mapping marks. ``model-index`` with its many results is the longest thing seen."""
MAX_LIST = 64

_FRONT = re.compile(r"\s*---\n")
_END = re.compile(r"\n---[ \t]*(?:\n|\Z)")
_HEADING = re.compile(r"^#[ \t]+(\S.*?)[ \t]*#*[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """The parts of a card that the program uses. All but ``text`` are single, bounded, printable lines."""

    text: str = ""
    """The README without its front matter."""
    licence: str = ""
    """SPDX expression; names outside of SPDX's list as ``LicenseRef-…``; empty where none is given."""
    licence_link: str = ""
    """Where its text is, as the card says: an address, or a file's name."""
    base_model: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    library_name: str = ""
    title: str = ""
    """From the front matter, else the first heading."""
    problems: tuple[str, ...] = ()
    """One sentence each."""


def read_card(readme: bytes) -> Card:
    """The card in a README of any size and content; never raises on it."""
    problems: list[str] = []
    if len(readme) > MAX_README:
        problems.append(f"The card is longer than {MAX_README >> 10} KiB; the rest was not read.")
    text = readme[:MAX_README].decode("utf-8", "replace").removeprefix("\ufeff")
    if "\N{REPLACEMENT CHARACTER}" in text and len(readme) <= MAX_README:
        problems.append("The card is not all UTF-8.")
    front, body = _parted(text.replace("\r\n", "\n"), problems)
    fields = _fields(front, problems)
    licence = licence_of(fields, problems)
    heading = _HEADING.search(body)
    title = _line(fields.get("title")) or _line(fields.get("model_name"))
    return Card(
        text=body,
        licence=licence,
        licence_link=_line(fields.get("license_link")),
        base_model=_lines(fields.get("base_model")),
        tags=_lines(fields.get("tags")),
        library_name=_line(fields.get("library_name")),
        title=title or (clean(heading[1], 120) if heading else ""),
        problems=tuple(problems),
    )


def with_fields(readme: bytes, fields: Mapping[str, str | Sequence[str]]) -> bytes:
    """The README with ``fields`` in its front matter; empty ones are taken out, all others stay as they are written.

    Raises ``BadUsage`` for a card that can't be read, or is written in a way that a field can't be put into without
    changing others: it is its author's to mend.
    """
    if len(readme) > MAX_README:
        raise BadUsage("README.md is too long for a card", next_step="shorten it, or edit its front matter by hand")
    problems: list[str] = []
    try:
        original = readme.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadUsage("README.md is not UTF-8", next_step="save it as UTF-8") from exc
    text = original.removeprefix("\ufeff").replace("\r\n", "\n")
    front, body = _parted(text, problems)
    known = _fields(front, problems)
    if problems:
        raise BadUsage(
            problems[0], kept="README.md was not changed", next_step="correct it, or take the front matter out"
        )
    changed = {key: value for key, value in fields.items() if _plain(known.get(key)) != _plain(value)}
    if not changed:
        return readme
    written = {key: value if isinstance(value, str) else list(value) for key, value in changed.items() if value}
    new = _without(front, changed)
    if written:
        new += yaml.safe_dump(written, allow_unicode=True, sort_keys=False)
    made = f"---\n{new}---\n{body}" if new else body
    wanted = {key: value for key, value in known.items() if key not in changed} | written
    if not _says(made, wanted, body):
        raise BadUsage(
            "README.md's front matter is written in a way that is not changed safely",
            kept="README.md was not changed",
            next_step=f"change it by hand: {', '.join(changed)}; or write one field a line",
        )
    # line ends stay as they are, in the body one by one
    head = text[: len(text) - len(body)]
    kept = "\n".join(original.split("\n")[head.count("\n") :])
    end = "\r\n" if "\r\n" in original[: original.find("\n") + 1] else "\n"
    return (made[: len(made) - len(body)].replace("\n", end) + kept.removeprefix("\ufeff")).encode()


def _without(front: str, names: Container[str]) -> str:
    """Front matter without some fields; remarks above the next field stay."""
    # a key at the left edge begins a field; what is indented below it, or is a list at the edge, belongs to it
    parts = re.split(r"^(?=[^\s#-])", front, flags=re.MULTILINE) if front else []
    kept = [_remarks(part) if part.partition(":")[0].strip("\"' ") in names else part for part in parts]
    new = "".join(kept)
    return new if not new or new.endswith("\n") else new + "\n"


def _remarks(part: str) -> str:
    """What stands below a field and is none of it."""
    lines = part.splitlines(keepends=True)
    end = max((number for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"), default=0)
    return "".join(lines[end:])


def _says(text: str, wanted: Mapping[str, object], body: str) -> bool:
    """Whether a card is read as ``wanted`` and ``body``, and nothing else."""
    problems: list[str] = []
    front, rest = _parted(text, problems)
    found = _fields(front, problems)
    # as text: what is no number equals nothing
    same = {key: repr(value) for key, value in found.items()} == {key: repr(value) for key, value in wanted.items()}
    if not same or rest != body or problems:
        return False
    # other programs refuse a name that is there twice
    top = yaml.compose(front, Loader=yaml.SafeLoader)
    names = [key.value for key, _ in top.value] if isinstance(top, yaml.MappingNode) else []
    return len(names) == len(set(map(str, names)))


def _plain(value: object) -> list[object]:
    """A field's value as a list, whichever way it is written."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _parted(text: str, problems: list[str]) -> tuple[str, str]:
    """Front matter and body."""
    if not (start := _FRONT.match(text)):
        return "", text
    end = _END.search(text, start.end() - 1)
    if end is None:
        problems.append("The card's front matter has no end.")
        return "", text
    front, body = text[start.end() : end.start() + 1], text[end.end() :]
    if len(front) > MAX_FRONT_MATTER:
        problems.append(f"The card's front matter is longer than {MAX_FRONT_MATTER >> 10} KiB and was ignored.")
        return "", body
    return front, body


def _fields(front: str, problems: list[str]) -> dict[str, object]:
    if not front.strip():
        return {}
    try:
        problem = _unreasonable(front)
        loaded = None if problem else yaml.safe_load(front)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as exc:
        problem, loaded = f"cannot be read ({type(exc).__name__})", None
    if problem:
        problems.append(f"The card's front matter {problem}.")
    elif not isinstance(loaded, dict):
        problems.append("The card's front matter holds no fields.")
    return {key: value for key, value in loaded.items() if isinstance(key, str)} if isinstance(loaded, dict) else {}


def _unreasonable(front: str) -> str:
    """What speaks against loading, as the rest of a sentence. Aliases could multiply a few bytes into
    gigabytes."""
    depth = 0
    for count, event in enumerate(yaml.parse(front, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            return "uses YAML aliases, which are not followed"
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH or count > MAX_EVENTS:
            return "is nested too deeply or has too many entries"
    return ""


def _line(value: object) -> str:
    return clean(value.strip(), 120) if isinstance(value, str) else ""


def _lines(value: object) -> tuple[str, ...]:
    """A field that may be one string or a list of them."""
    values = value if isinstance(value, list) else [value]
    lines = (_line(item) for item in values[:MAX_LIST])
    return tuple(dict.fromkeys(line for line in lines if line))
