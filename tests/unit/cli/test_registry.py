"""The table of commands: complete, importable, and cheap to list."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from p2pckpt.cli import registry
from p2pckpt.cli.options import Command, Group
from tests.unit.cli.conftest import Cli

HEAVY = ("libtorrent", "textual", "aiohttp", "numpy", "msgspec", "asyncio", "tuf", "sqlalchemy", "humanize", "tomlkit")
EXPECTED = {
    "share",
    "get",
    "ls",
    "show",
    "watch",
    "pause",
    "resume",
    "limit",
    "rm",
    "leave",
    "gateway",
    "verify",
    "diff",
    "convert",
    "card",
    "checkout",
    "tag",
    "pin",
    "run",
    "access",
    "member",
    "invite",
    "link",
    "log",
    "key",
    "peers",
    "trust",
    "daemon",
    "tracker",
    "config",
    "doctor",
    "demo",
    "completion",
    "tui",
}


def test_every_planned_command_is_registered() -> None:
    assert set(registry.COMMANDS) == EXPECTED


def _all_commands() -> list[tuple[str, click.Command]]:
    found = []
    for name in registry.COMMANDS:
        command = registry.load(name)
        found.append((name, command))
        if isinstance(command, Group):
            found += [(f"{name} {sub}", command.commands[sub]) for sub in command.commands]
    return found


@pytest.mark.parametrize(
    ("name", "command"), _all_commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_loads_under_its_own_name_and_has_help(name: str, command: click.Command) -> None:
    assert command.name == name.split()[-1]
    assert command.help
    if isinstance(command, Command):
        own = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
        assert all(option.help for option in own)


def test_groups_hold_the_planned_subcommands() -> None:
    groups = {name: set(g.commands) for name, g in _all_commands() if isinstance(g, Group)}
    assert groups == {
        "access": {"show", "set", "sign", "spare", "withdraw"},
        "member": {"ls", "add", "set", "rm", "requests", "approve", "deny"},
        "link": {"new", "ls", "qr", "revoke", "show"},
        "key": {"show", "backup", "restore", "rotate", "store", "passphrase"},
        "trust": {"ls", "show", "verify", "block", "dismiss", "forget"},
        "key passphrase": {"set", "change", "remove"},
        "run": {"watch", "unwatch", "ls", "flush", "restore", "prune"},
        "peers": {"ls", "bans", "ban", "unban", "announce"},
        "daemon": {"start", "stop", "status", "logs", "install"},
        "config": {"get", "set", "unset", "show"},
        "gateway": {"start", "stop", "status", "env"},
    }


def test_help_lists_every_command_under_its_section(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    for section, rows in registry.sections().items():
        assert f"{section}:" in outcome.out
        for name, text in rows:
            assert f"  {name} " in outcome.out
            assert text in outcome.out


@pytest.mark.parametrize("argv", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    program = (
        "import sys\nfrom p2pckpt.cli.main import run\ncode = run(sys.argv[1:])\n"
        f"heavy = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "print('heavy:', heavy, file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0
    assert "p2pckpt" in done.stdout
    assert done.stderr == "heavy: []\n"


def test_python_dash_m_runs_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "p2pckpt", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("p2pckpt ")


def test_an_unknown_command_is_a_usage_error_that_suggests_the_nearest(cli: Cli) -> None:
    outcome = cli("shrae")
    assert (outcome.code, outcome.out) == (2, "")
    assert "'shrae'" in outcome.err
    assert "did you mean 'share'" in outcome.err


def test_completion_of_command_names_needs_no_command_module() -> None:
    program = (
        "import sys, os\n"
        "os.environ.update(_P2PCKPT_COMPLETE='bash_complete', COMP_WORDS='p2pckpt s', COMP_CWORD='1')\n"
        "from p2pckpt.cli.main import run\nrun()\n"
        "assert not [m for m in sys.modules if m in ('p2pckpt.cli.share', 'aiohttp')]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["plain,share", "plain,show"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for(shell: str, cli: Cli) -> None:
    outcome = cli("completion", shell, "-q")
    assert outcome.code == 0
    assert f"_P2PCKPT_COMPLETE={shell}_complete" in outcome.out
    assert outcome.err == ""
