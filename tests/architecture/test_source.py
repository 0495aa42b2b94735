"""Rules that hold for every source file; each says what it protects."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import p2pckpt
from p2pckpt.config import SETTINGS

ROOT = Path(p2pckpt.__file__).parents[1]
PACKAGES = (ROOT / "p2pckpt", ROOT / "tracker" / "p2pckpt_tracker")
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
LONGEST = 600
WRITERS = {"print", "echo", "secho"}


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 30
    assert {path.parts[len(ROOT.parts)] for path in MODULES} == {"p2pckpt", "tracker"}


def test_imports_keep_to_the_contracts() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_every_module_says_what_lives_in_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_no_module_is_too_long_to_read_at_once(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST


def _calls(tree: ast.AST) -> set[str]:
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {f.id for f in functions if isinstance(f, ast.Name)}
    return names | {f.attr for f in functions if isinstance(f, ast.Attribute)}


def _streams(tree: ast.AST) -> set[str]:
    """``sys.stdout.write`` and the like."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            stream = node.value
            if stream.attr in ("stdout", "stderr") and node.attr in ("write", "writelines", "buffer"):
                found.add(f"{stream.attr}.{node.attr}")
    return found


@pytest.mark.parametrize(
    "path", [p for p in MODULES if "cli" not in p.parts and p.is_relative_to(PACKAGES[0])], ids=_id
)
def test_only_the_command_line_prints(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert not _calls(tree) & WRITERS
    assert not _streams(tree)


@pytest.mark.parametrize("path", sorted((ROOT / "p2pckpt" / "cli").glob("*.py")), ids=_id)
def test_inside_the_command_line_only_report_prints(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert not _calls(tree) & WRITERS
    # whatever does not go through the report is not cleaned before it reaches a terminal
    assert bool(_streams(tree)) == (path.name == "report.py")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_explained(setting: object) -> None:
    assert getattr(setting, "help", "").strip()
    documents = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
    key = getattr(setting, "key", "")
    assert any(f"`{key}`" in path.read_text("utf-8") for path in documents), f"{key} is in no document"


def test_the_tests_that_the_list_of_threats_names_exist() -> None:
    """A countermeasure without its test is a claim."""
    page = (ROOT / "docs" / "threats.md").read_text("utf-8")
    files = [path for path in (ROOT / "tests").rglob("*.py") if "__pycache__" not in path.parts]
    known = {path.name for path in files} | {
        node.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = set(re.findall(r"`(test_\w+(?:\.py)?)`", page))
    places = set(re.findall(r"`(tests/[\w/.]+)`", page))
    assert len(named) > 60
    assert named - known == set()
    assert {place for place in places if not (ROOT / place).exists()} == set()
