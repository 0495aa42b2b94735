"""``card`` on real directories: it prints, writes once, and never replaces."""

from __future__ import annotations

import json
from pathlib import Path

from p2pckpt.checkpoint.card import read_card
from tests.support.homes import write_files
from tests.unit.checkpoint.builders import safetensors_bytes
from tests.unit.cli.conftest import Cli


def test_card_prints_a_skeleton_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    model = write_files(tmp_path / "my-model", {"model.safetensors": safetensors_bytes(), "config.json": b"{}"})
    outcome = cli("card", str(model), "--licence", "mit")
    assert outcome.code == 0
    assert read_card(outcome.out.encode()).licence == "MIT"
    assert "# my-model\n" in outcome.out
    assert sorted(path.name for path in model.iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads(cli("card", str(model), "--json").out)["path"] == ""


def test_card_writes_a_new_one_and_only_front_matter_into_one_that_is_there(cli: Cli, tmp_path: Path) -> None:
    model = write_files(tmp_path / "m", {"model.safetensors": safetensors_bytes()})
    outcome = cli("card", str(model), "--write")
    assert (outcome.code, outcome.out) == (0, f"{model}/README.md\n")
    assert outcome.err == "warning: The card names no licence.\n"
    first = (model / "README.md").read_bytes()
    again = cli("card", str(model), "--write")
    assert (again.code, (model / "README.md").read_bytes()) == (1, first)
    assert "complete its front matter: --licence" in again.err
    assert cli("card", str(model), "--write", "--licence", "apache-2.0").code == 0
    card = read_card((model / "README.md").read_bytes())
    assert (card.licence, card.text) == ("Apache-2.0", read_card(first).text)


def test_card_of_nothing_says_so(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert cli("card", str(tmp_path / "empty")).code == 2
