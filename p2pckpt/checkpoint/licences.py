"""From the licence names that model cards use to SPDX expressions. What SPDX lists is ``packaging``'s knowledge; what
the model hubs call otherwise, and what no list has, is this module's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from p2pckpt.checkpoint.terminal_text import clean

NO_LICENCE = "The card names no licence."
"""The problem of a card without one."""
COMMON = (
    *("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0", "bsd-3-clause", "gpl-3.0"),
    *("agpl-3.0", "lgpl-3.0", "mpl-2.0", "openrail", "creativeml-openrail-m", "bigscience-openrail-m", "llama3.1"),
    *("llama3.2", "llama3.3", "gemma", "unlicense", "isc"),
)
"""What most cards name, as the model hubs write it, to choose from."""
_HUB_NAMES = {
    "agpl-3.0": "AGPL-3.0-only",
    "gfdl": "GFDL-1.3-only",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "odbl": "ODbL-1.0",
    "odc-by": "ODC-By-1.0",
    "pddl": "PDDL-1.0",
}
"""Names without the ``-only`` or the version that SPDX wants, as the hubs' own licence menu has them."""
_OWN_TERMS = """
openrail openrail++ bigscience-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m creativeml-openrail-m llama2
llama3 llama3.1 llama3.2 llama3.3 llama4 gemma deepfloyd-if-license apple-amlr apple-ascl
fair-noncommercial-research-license h-research intel-research lgpl-lr open-mdw etalab-2.0 c-uda grok2-community unknown
bsd cc gpl lgpl
"""
_NO_SPDX = frozenset(_OWN_TERMS.split())
"""Entries of the hubs' licence menu that SPDX does not list."""
_WORDS = re.compile(r"[()]|[^\s()]+")
_MAX = 200


def licence_of(fields: Mapping[str, object], problems: list[str]) -> str:
    """The licence of a card's front matter; what is wrong with it is added to ``problems``."""
    value = fields.get("license")
    if isinstance(value, list):
        value = " AND ".join(item for item in value if isinstance(item, str))
    if not isinstance(value, str) or not value.strip():
        problems.append(NO_LICENCE)
        return ""
    name = value.strip()
    if name.lower() == "other":
        own = fields.get("license_name")
        return _reference(own) if isinstance(own, str) and own.strip() else "LicenseRef-other"
    if len(name) > _MAX:
        problems.append("The card's licence is no name but a text.")
        return _reference(name)
    expression = _expression(" ".join(_spdx_name(word) for word in _WORDS.findall(name)))
    if not expression:
        expression = _reference(name)
        problems.append(f"The card's licence {clean(name, 80)} is no SPDX expression; it counts as {expression}.")
    return expression


def _expression(text: str) -> str:
    """``text`` as SPDX writes it; empty for what is no expression."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression  # takes its time to import

    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return ""


def _spdx_name(word: str) -> str:
    lower = word.lower()
    return _reference(word) if lower in _NO_SPDX else _HUB_NAMES.get(lower, word)


def _reference(name: str) -> str:
    """A name as SPDX's reference to a licence outside of its list."""
    return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.]+", "-", name.strip())[:64].strip("-") or "other")
