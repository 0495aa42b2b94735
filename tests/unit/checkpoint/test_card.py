from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pckpt.checkpoint.card import MAX_README, Card, read_card, with_fields
from p2pckpt.errors import BadUsage


def card(front: str, body: str = "# A model\n\ntext\n") -> Card:
    return read_card(f"---\n{front}\n---\n{body}".encode())


def test_a_usual_card_is_read() -> None:
    found = card("license: apache-2.0\nbase_model: org/base\ntags:\n- text\n- tiny\nlibrary_name: transformers")
    assert found == Card(
        text="# A model\n\ntext\n",
        licence="Apache-2.0",
        base_model=("org/base",),
        tags=("text", "tiny"),
        library_name="transformers",
        title="A model",
    )


def test_a_card_without_front_matter_still_has_a_title() -> None:
    found = read_card("\ufeffIntro\n\n# Title *here* #\n".encode())
    assert found.title == "Title *here*"
    assert found.problems == ("The card names no licence.",)


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: mit", "MIT"),
        ("license: MIT OR apache-2.0", "MIT OR Apache-2.0"),
        ("license: (mit or bsd-3-clause) and cc-by-4.0", "(MIT OR BSD-3-Clause) AND CC-BY-4.0"),
        ("license: gpl-3.0", "GPL-3.0-only"),
        ("license: GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("license: apache-2.0 or (mit and isc)", "Apache-2.0 OR (MIT AND ISC)"),
        ("license: wtfpl", "WTFPL"),
        ("license: bsd", "LicenseRef-bsd"),
        ("license: llama3.1", "LicenseRef-llama3.1"),
        ("license: openrail++", "LicenseRef-openrail"),
        ("license: LicenseRef-mine", "LicenseRef-mine"),
        ("license: other\nlicense_name: My own, terms!", "LicenseRef-My-own-terms"),
        ("license: other", "LicenseRef-other"),
        ("license: [mit, apache-2.0]", "MIT AND Apache-2.0"),
    ],
)
def test_licences_become_spdx_expressions(front: str, licence: str) -> None:
    found = card(front)
    assert (found.licence, found.problems) == (licence, ())


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: do what you like", "LicenseRef-do-what-you-like"),
        ("license: mit and", "LicenseRef-mit-and"),
        ("license: (mit", "LicenseRef-mit"),
        ("license: GPL-2.0-only WITH Classroom-exception", "LicenseRef-GPL-2.0-only-WITH-Classroom-exception"),
        ("license: " + "x" * 500, "LicenseRef-" + "x" * 64),
        ("license: '!'", "LicenseRef-other"),
    ],
)
def test_what_is_no_spdx_expression_is_a_reference_and_a_problem(front: str, licence: str) -> None:
    found = card(front)
    assert found.licence == licence
    assert len(found.problems) == 1


def test_the_terms_of_a_licence_outside_of_spdx_are_linked() -> None:
    found = card("license: other\nlicense_name: mine\nlicense_link: https://example.org/terms")
    assert (found.licence, found.licence_link) == ("LicenseRef-mine", "https://example.org/terms")


@pytest.mark.parametrize(
    ("front", "problem"),
    [
        ("tags: x", "no licence"),
        ("license: do what you like", "no SPDX"),
        ("license: " + "x" * 500, "a text"),
        ("license: [", "cannot be read"),
        ("a: &a [x]\nb: *a", "aliases"),
        ("a: " + "[" * 40 + "]" * 40, "nested"),
        ("a: [" + "x," * 21_000 + "]", "too many"),
        ("- a\n- b", "no fields"),
        ("a: 2024-99-99", "cannot be read"),
        ("a: !!python/object/apply:os.system [id]", "cannot be read"),
        ("? [a]\n: b", "cannot be read"),
        ("a: " + "x" * 70_000, "longer than"),
        ("a: \x07", "cannot be read"),
    ],
)
def test_odd_cards_are_problems_and_never_errors(front: str, problem: str) -> None:
    found = card(front)
    assert any(problem in line for line in found.problems)
    assert found.title == "A model"


def test_an_endless_or_huge_or_broken_card_is_read_as_far_as_it_goes() -> None:
    assert "no end" in read_card(b"---\na: b\n").problems[0]
    assert "longer than" in read_card(b"x" * (MAX_README + 1)).problems[0]
    assert "UTF-8" in read_card(b"# \xff\n").problems[0]
    assert read_card(b"") == Card(problems=("The card names no licence.",))


def test_fields_are_cleaned_and_bounded() -> None:
    found = card('title: "\\e[31mred"\ntags: [1, "a\\u202eb", ' + ", ".join(f"t{i}" for i in range(100)) + "]")
    assert "\x1b" not in found.title
    assert found.tags[0] == "a\ufffdb"
    assert len(found.tags) <= 64


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(st.sampled_from("-:[]{}&*!|> \n'\"a0?,#%@`"), max_size=80).map(lambda t: f"---\n{t}\n---\n".encode()),
    )
)
def test_no_card_raises(readme: bytes) -> None:
    assert isinstance(read_card(readme), Card)


CARD = b"""---
# written by hand
license: mit  # ours
tags:
- old
- "two words"
model-index:
  - name: x
base_model: a/b
---
# Title

---
text
"""


def test_fields_of_a_card_change_and_everything_else_stays() -> None:
    changed = with_fields(CARD, {"license": "apache-2.0", "base_model": ("a/b",), "tags": ("new", "two words")})
    text = changed.decode()
    assert text.startswith("---\n# written by hand\n")
    assert "model-index:\n  - name: x\nbase_model: a/b\n" in text
    assert text.endswith("---\n# Title\n\n---\ntext\n")
    card = read_card(changed)
    assert (card.licence, card.base_model, card.tags) == ("Apache-2.0", ("a/b",), ("new", "two words"))
    assert card.problems == ()


def test_a_readme_without_front_matter_gets_some_and_one_that_says_it_already_is_not_touched() -> None:
    fields = {"license": "mit", "base_model": (), "tags": ()}
    assert with_fields(b"# Hello\n", fields) == b"---\nlicense: mit\n---\n# Hello\n"
    assert with_fields(b"", fields) == b"---\nlicense: mit\n---\n"
    once = with_fields(CARD, {"license": "mit", "base_model": "a/b", "tags": ("old", "two words")})
    assert once == CARD
    assert with_fields(b"---\nlicense: mit\n---\n# Hello\n", {"license": ""}) == b"# Hello\n"


@pytest.mark.parametrize(
    "readme", [b"---\na: [\n---\n", b"---\nlicense: x\n", b"---\na: &a 1\nb: *a\n---\n", b"\xff\xfe"]
)
def test_a_card_that_cannot_be_read_is_its_authors_to_mend(readme: bytes) -> None:
    with pytest.raises(BadUsage):
        with_fields(readme, {"license": "mit"})


@pytest.mark.parametrize(
    "readme",
    [
        "---\n{license: mit, tags: [a]}\n---\nB\n",
        '---\n"a":\n  b\n? license\n: mit\n---\nB\n',
        "---\ntags:\n- a\n...\n---\nB\n",
        "---\na: {b: 1,\nlicense: mit}\n---\nB\n",
        "---\na: [1,\nlicense,\n2]\n---\nB\n",
        "---\na: 'x\nlicense: y'\nlicense: mit\n---\nB\n",
        "---\nlicense: mit\n---\n---\ntitle: no front matter\n---\n",
    ],
)
@pytest.mark.parametrize("licence", ["isc", ""])
def test_a_card_says_what_was_asked_for_and_the_rest_or_stays_as_it_is(readme: str, licence: str) -> None:
    try:
        changed = with_fields(readme.encode(), {"license": licence}).decode()
    except BadUsage as exc:
        assert "not changed" in exc.kept
        return
    if changed != readme:
        fields, before = (yaml.safe_load(text.split("---\n")[1]) for text in (changed, readme))
        assert {**fields, "license": 0} == {**before, "license": 0}
        assert fields.get("license", "") == licence
        assert changed.count("\nlicense:") + changed.count("? license") <= 1
        assert changed.split("---\n")[2:] == readme.split("---\n")[2:]


def test_line_ends_and_remarks_stay() -> None:
    readme = b"---\r\nlicense: mit\r\n# of tags\r\n\r\ntags: [a]\r\n---\r\n# Title\r\nold\nmixed\r\n"
    changed = with_fields(readme, {"license": "isc"})
    assert changed == (b"---\r\n# of tags\r\n\r\ntags: [a]\r\nlicense: isc\r\n---\r\n# Title\r\nold\nmixed\r\n")
    assert with_fields(readme, {"license": "mit"}) == readme
    assert with_fields(b"# Title\r\n", {"license": "mit"}) == b"---\r\nlicense: mit\r\n---\r\n# Title\r\n"
    assert with_fields(b"---\na: .nan\n---\n", {"license": "mit"}) == b"---\na: .nan\nlicense: mit\n---\n"
