from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.checkpoint.terminal_text import clean

CASES = {
    "colour": ("\x1b[31mred", "\ufffd[31mred"),
    "clipboard": ("\x1b]52;c;aGk=\x07", "\ufffd]52;c;aGk=\ufffd"),
    "C1": ("\x9b31mred", "\ufffd31mred"),
    "reversed": ("gpj.\u202eexe", "gpj.\ufffdexe"),
    "invisible": ("a\u200bb\ufeff", "a\ufffdb\ufffd"),
    "tag characters": ("a\U000e0041", "a\ufffd"),
    "lines": ("a\r\nb\tc\u2028d", "a  b c d"),
    "surrogate": ("\udc80", "\ufffd"),
    "other scripts": ("模型 é ñ 👍", "模型 é ñ 👍"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_terminal_acts_on_is_replaced(name: str) -> None:
    text, expected = CASES[name]
    assert clean(text) == expected


@given(st.text(st.characters()), st.integers(0, 30))
def test_the_result_is_one_harmless_line_within_the_limit(text: str, limit: int) -> None:
    result = clean(text, limit)
    assert len(result) <= limit
    assert not any(unicodedata.category(character)[0] == "C" for character in result)
    assert clean(result, limit) == result


def test_what_is_left_out_is_marked() -> None:
    assert clean("x" * 300) == "x" * 199 + "…"
    assert clean("x" * 200) == "x" * 200
