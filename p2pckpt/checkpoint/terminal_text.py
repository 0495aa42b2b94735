"""The one function that everything written by others passes before it reaches a terminal.

It removes what a terminal acts on or a reader cannot see. Markup of a particular toolkit is escaped by
whoever uses that toolkit.
"""

from __future__ import annotations

import unicodedata

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINERS = frozenset("\u200b\u200c\u200d\u2060\ufeff")


def is_bidi_control(character: str) -> bool:
    """Whether a character reorders the text around it (Unicode's ``Bidi_Control`` property)."""
    return character in _BIDI


def is_zero_width(character: str) -> bool:
    """Whether a character takes no room and only joins or separates its neighbours."""
    return character in _JOINERS


def clean(text: str, limit: int = 200) -> str:
    """``text`` as one line of at most ``limit`` characters, an ellipsis standing for the rest.

    Tabs and line ends become spaces; other C0 and C1 controls, bidi and zero-width controls, lone
    surrogates, private and unassigned characters become U+FFFD. Applying it twice changes nothing.
    """
    kept = text[: limit + 1] if limit > 0 else ""
    plain = kept.isascii() and kept.isprintable()  # most text is, and lists of thousands of rows are made of it
    shown = kept if plain else "".join(_shown(character) for character in kept)
    return shown if len(shown) <= limit else shown[: max(0, limit - 1)] + "…" * (limit > 0)


def _shown(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if character in "\t\n\r\u2028\u2029":
        return " "
    # "C" is every control, format, surrogate, private and unassigned character.
    return _REPLACEMENT if unicodedata.category(character)[0] == "C" else character
