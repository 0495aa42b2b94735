"""The model hubs' own reader and ours agree about cards, whoever of them wrote."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from p2pckpt.checkpoint.card import read_card, with_fields
from p2pckpt.checkpoint.licences import COMMON

RESULT = {
    "task": {"type": "text-generation"},
    "dataset": {"type": "org/data", "name": "data"},
    "metrics": [{"type": "acc", "value": 0.5}],
}
FIELDS: list[dict[str, Any]] = [
    {"license": "apache-2.0"},
    {"license": "mit", "base_model": "org/base"},
    {"license": "mit", "base_model": ["org/a", "org/b"], "tags": ["merge"]},
    {"license": "other", "license_name": "My own terms", "license_link": "LICENSE.md", "tags": ["text", "two words"]},
    {"license": "cc-by-4.0", "library_name": "transformers", "tags": ["a: b", "# no comment", "yes", "1.0", "null"]},
    {"license": "openrail++", "title": "Ein schöner Titel: «größer»", "tags": ["日本語", "emoji 🤗"]},
    {"license": "gpl-3.0", "model_name": 'it\'s "quoted"', "language": ["en", "no"], "datasets": ["org/data"]},
    {"license": "mit", "model-index": [{"name": "x", "results": [RESULT]}]},
]
BODY = "# Title\n\n---\ntext with a rule above, and a trailing space \n"


def _listed(value: object) -> tuple[str, ...]:
    return () if value is None else tuple(value) if isinstance(value, list) else (str(value),)


def _agrees(readme: str) -> None:
    """Whatever we take from a card the hub's reader takes, too, and the other way round."""
    ours, theirs = read_card(readme.encode()), ModelCard(readme)
    data = theirs.data.to_dict()
    assert ours.problems == ()
    assert ours.base_model == _listed(data.get("base_model"))
    assert ours.tags == _listed(data.get("tags"))
    assert ours.library_name == (data.get("library_name") or "")
    assert ours.licence_link == (data.get("license_link") or "")
    assert ours.text.strip("\n") == theirs.text.strip("\n")
    named = ModelCard(with_fields(readme.encode(), {}).decode())
    assert named.data.to_dict() == data


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: fields["license"])
def test_a_card_that_the_hub_s_client_wrote_is_read_the_same(fields: dict[str, Any]) -> None:
    _agrees(f"---\n{ModelCardData(**fields).to_yaml()}\n---\n{BODY}")


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: fields["license"])
@pytest.mark.parametrize("body", [BODY, "", "text\n\n---\n"])
def test_a_card_that_we_wrote_is_read_the_same_by_the_hub_s_client(fields: dict[str, Any], body: str) -> None:
    plain = {key: value for key, value in fields.items() if key != "model-index"}
    written = with_fields(body.encode(), plain).decode()
    assert {**ModelCard(written).data.to_dict()} == {**plain}
    _agrees(written)


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: fields["license"])
def test_what_we_change_in_a_hub_s_card_is_all_that_changes_for_its_client(fields: dict[str, Any]) -> None:
    before = f"---\n{ModelCardData(**fields).to_yaml()}\n---\n{BODY}"
    changed = with_fields(before.encode(), {"license": "isc", "tags": ("new",), "base_model": "x/y"}).decode()
    expected = {**ModelCard(before).data.to_dict(), "license": "isc", "tags": ["new"], "base_model": "x/y"}
    assert ModelCard(changed).data.to_dict() == expected
    assert ModelCard(changed).text.strip("\n") == ModelCard(before).text.strip("\n")


@pytest.mark.parametrize("start", ["", "\n\n", "  \n"])
@pytest.mark.parametrize("end", ["---\n", "---  \n", "--- no end\n---\n", "---"])
def test_front_matter_begins_and_ends_where_the_hub_says(start: str, end: str) -> None:
    readme = f"{start}---\nlicense: mit\n{end}"
    try:
        expected = ModelCard(readme).data.license
    except (ValueError, yaml.YAMLError):
        expected = None
    found = read_card(readme.encode())
    assert (found.licence, bool(found.problems)) == (("MIT", False) if expected else ("", True))


@pytest.mark.parametrize("name", COMMON)
def test_every_licence_that_is_offered_is_one_that_both_know(name: str) -> None:
    written = with_fields(b"", {"license": name}).decode()
    assert ModelCard(written).data.license == name
    found = read_card(written.encode())
    assert (bool(found.licence), found.problems) == (True, ())
