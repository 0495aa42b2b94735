"""The filter language of the lists: words match the name, ``key:value`` a field, ``size:>100G`` a number.

All terms must hold. A term that makes no sense is an error with a sentence, never a silent match of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from p2pckpt.errors import BadUsage
from p2pckpt.units import parse_size

R = TypeVar("R")

_NUMBER: Final = re.compile(r"(>=|<=|>|<|=)?(.+)")
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
}


@dataclass(frozen=True, slots=True)
class Fields(Generic[R]):
    """What of a row may be asked for."""

    name: Callable[[R], str]
    words: Mapping[str, Callable[[R], tuple[str, ...]]]
    """Keys that compare with words: a term holds when one of the row's words starts with it."""
    numbers: Mapping[str, Callable[[R], int]]


def parse(text: str, fields: Fields[R]) -> Callable[[R], bool]:
    """The test that ``text`` describes; everything passes an empty one. Raises ``BadUsage``."""
    tests = [_term(term, fields) for term in text.lower().split()]
    return lambda row: all(test(row) for test in tests)


def _term(term: str, fields: Fields[R]) -> Callable[[R], bool]:
    key, colon, value = term.partition(":")
    if not colon:
        return lambda row: term in fields.name(row).lower()
    if key in fields.words:
        words = fields.words[key]
        if not value:
            raise BadUsage(f"{key}: needs a word after it")
        return lambda row: any(word.startswith(value) for word in words(row))
    if key in fields.numbers:
        number = fields.numbers[key]
        compare, wanted = _number(key, value)
        return lambda row: compare(number(row), wanted)
    known = ", ".join(f"{name}:" for name in (*fields.words, *fields.numbers))
    raise BadUsage(f"there is no filter {key}: — use {known} or words of the name")


def _number(key: str, value: str) -> tuple[Callable[[float, float], bool], float]:
    match = _NUMBER.fullmatch(value)
    try:
        return _COMPARE[(match and match[1]) or "="], parse_size(match[2] if match else "")
    except ValueError as exc:
        raise BadUsage(f"{key}: takes a number such as {key}:0 or {key}:>100G") from exc
