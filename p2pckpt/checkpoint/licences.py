"""From the licence names that model cards use to SPDX expressions. A small list: common ones, not all of
SPDX's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from p2pckpt.checkpoint.terminal_text import clean

_SPDX = """
0BSD AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear
BSL-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0
CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0
CDLA-Permissive-1.0 CDLA-Permissive-2.0 CDLA-Sharing-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 GFDL-1.3-only
GFDL-1.3-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later ISC LGPL-2.1-only LGPL-2.1-or-later
LGPL-3.0-only LGPL-3.0-or-later LPPL-1.3c MIT MIT-0 MPL-2.0 MS-PL NCSA ODC-By-1.0 ODbL-1.0 OFL-1.1 OSL-3.0 PDDL-1.0
PostgreSQL Unlicense UPL-1.0 WTFPL Zlib
"""
COMMON = (
    *("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0", "bsd-3-clause", "gpl-3.0"),
    *("agpl-3.0", "lgpl-3.0", "mpl-2.0", "openrail", "creativeml-openrail-m", "bigscience-openrail-m", "llama3.1"),
    *("llama3.2", "llama3.3", "gemma", "unlicense", "isc"),
)
"""What most cards name, as the model hubs write it, to choose from."""
_KNOWN = {identifier.lower(): identifier for identifier in _SPDX.split()}
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
"""
_NO_SPDX = frozenset(_OWN_TERMS.split())
"""Entries of the hubs' licence menu that SPDX does not list."""
_REFERENCE = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,64}")
_WORDS = re.compile(r"[()]|[^\s()]+")
_OPERATORS = frozenset(["AND", "OR", "WITH", "(", ")"])
_MAX = 200


def licence_of(fields: Mapping[str, object], problems: list[str]) -> str:
    """The licence of a card's front matter; what is wrong with it is added to ``problems``."""
    value = fields.get("license")
    if isinstance(value, list):
        value = " AND ".join(item for item in value if isinstance(item, str))
    if not isinstance(value, str) or not value.strip():
        problems.append("The card names no licence.")
        return ""
    name = value.strip()
    if name.lower() == "other":
        own = fields.get("license_name")
        return _reference(own) if isinstance(own, str) and own.strip() else "LicenseRef-other"
    if len(name) > _MAX:
        problems.append("The card's licence is no name but a text.")
        return clean(name, _MAX)
    words = [_word(word) for word in _WORDS.findall(name)]
    unknown = [word for word in words if not _is_spdx(word)]
    if unknown:
        problems.append(f"The card's licence {clean(name, 80)} is no SPDX expression.")
        return clean(name, _MAX)
    return " ".join(words).replace("( ", "(").replace(" )", ")")


def _word(word: str) -> str:
    lower = word.lower()
    if word.upper() in _OPERATORS:
        return word.upper()
    if lower in _NO_SPDX:
        return _reference(word)
    return _HUB_NAMES.get(lower) or _KNOWN.get(lower, word)


def _is_spdx(word: str) -> bool:
    # What follows WITH is an exception's name, of which there are too many to list.
    return (
        word in _OPERATORS
        or word.lower() in _KNOWN
        or _REFERENCE.fullmatch(word) is not None
        or word.lower().endswith("-exception")
    )


def _reference(name: str) -> str:
    """A name as SPDX's reference to a licence outside of its list."""
    return "LicenseRef-" + (re.sub(r"[^A-Za-z0-9.]+", "-", name.strip())[:64].strip("-") or "other")
