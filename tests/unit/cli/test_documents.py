"""What the documents say of the command line exists, and what exists they say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from p2pckpt.cli import registry
from p2pckpt.cli.options import Command

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "docs/cli.md", "docs/tui.md", "docs/configuration.md", "docs/other-tools.md")
ENTRIES = {name for commands in registry.sections().values() for name, _ in commands}


def _commands(page: str) -> Iterator[list[str]]:
    """Command lines in code: after ``p2pckpt``, or, in docs/cli.md, from the command's name on."""
    text = re.sub(r"\\\n", " ", (ROOT / page).read_text("utf-8")).replace("\\|", " | ")
    code = [line for block in re.findall(r"^```.*?^```", text, flags=re.M | re.S) for line in block.splitlines()[1:-1]]
    code += [
        " ".join(span.split())
        for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    ]
    for line in code:
        found = re.match(r"(?:[$\s]|\S*/)*p2pckpt ([a-z-].*)", line.partition("  # ")[0])
        if found is not None:
            yield found[1].split()
        elif page == "docs/cli.md" and line.split(maxsplit=1)[0] in ENTRIES:
            yield line.split()


def _walk(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that ``words`` name, and what is given to it."""
    command: click.Command = registry.load(words[0])
    rest = words[1:]
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z-]+,?", rest[0]):
        context = click.Context(command)
        deeper = command.get_command(context, rest[0].rstrip(","))
        assert deeper is not None, f"p2pckpt {' '.join(words)}: no {rest[0]}"
        command, rest = deeper, rest[1:]
    return command, rest


def _options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_in_a_document_exists(page: str) -> None:
    looked = 0
    for words in _commands(page):
        if words[0].startswith("-") or words[0] == "tracker":
            continue
        assert words[0].rstrip(",:…") in ENTRIES, f"{page}: p2pckpt {' '.join(words)}"
        command, rest = _walk([words[0].rstrip(",:…"), *words[1:]])
        known = _options(command)
        for word in rest:
            if option := re.match(r"[\[|(]*(--[a-z][a-z0-9-]*)", word):
                group = isinstance(command, click.Group)
                assert option[1] in known or group, f"{page}: p2pckpt {' '.join(words)}: no {option[1]}"
        looked += 1
    assert looked > 5


def _all(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for inner in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), inner)
            assert found is not None
            yield from _all(f"{name} {inner}", found)
    else:
        yield name, command


@pytest.mark.parametrize("name", sorted(ENTRIES - {"tracker"}))
def test_every_command_and_option_is_in_the_page_of_the_command_line(name: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    common = _options(Command("none"))
    for full, command in _all(name, registry.load(name)):
        assert full in page or full.rpartition(" ")[2] in page, f"{full} is not in docs/cli.md"
        for parameter in command.params:
            names = set(parameter.opts)
            if isinstance(parameter, click.Option) and not parameter.hidden and not names & common:
                assert any(option in page for option in names), f"{full} {names} is not in docs/cli.md"
