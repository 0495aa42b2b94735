"""Whether what a pickle would import is known to be harmless, known to be dangerous, or neither.

Everything is unknown that is not on the list below, and nothing is ever called safe: the best a file can get is that
no known-bad was found. What is dangerous is said by ``picklescan`` and, where it is silent, by a list of our own.
"""

from __future__ import annotations

import functools
import io
import logging
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2pckpt.checkpoint.formats.layout import short
from p2pckpt.checkpoint.formats.pickle_search import Content, search
from p2pckpt.checkpoint.formats.pickle_trace import Import
from p2pckpt.checkpoint.formats.source import ByteSource
from p2pckpt.checkpoint.pickle_names import ALLOWED, DANGEROUS_MODULES, DANGEROUS_NAMES

_SHOWN: Final = 8
"""Names that one finding gives."""
_MAX_STEPS: Final = 8
"""Attributes that a name may pass and be looked at."""


class Verdict(StrEnum):
    """From best to worst."""

    CLEAN = "clean"
    """Every import is on the allow-list, or there is no pickle."""
    UNKNOWN = "unknown"
    """Something is imported, or done, that is neither known to be harmless nor known to be bad."""
    UNREADABLE = "unreadable"
    """There is a pickle, or an archive, that can't be followed to its end."""
    DANGEROUS = "dangerous"
    """Something is imported that runs commands, opens files, or gives access to what does."""


SEVERITY: Final = {verdict: level for level, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class Finding:
    """What the scan says about one file that is not clean."""

    verdict: Verdict
    path: str
    what: str
    """What it imports, or what is wrong with it; from the file, so to be cleaned before it is shown."""

    def __str__(self) -> str:
        """As manifests record it (docs/format.md, "Findings")."""
        return f"{self.verdict}: {self.path}: {self.what}"


def judge_file(path: str, source: ByteSource, check: Callable[[], None] = lambda: None) -> Finding | None:
    """What the scan says about a file, by its content; None for nothing. ``check`` is called often."""
    return judge(path, search(source, check))


def judge(path: str, content: Content) -> Finding | None:
    """The worst that is true of a file; None for nothing."""
    bad = [found for found in content.imports if is_dangerous(found)]
    unknown = [found for found in content.imports if not is_allowed(found)]
    if bad:
        return Finding(Verdict.DANGEROUS, path, f"a pickle imports {_names(bad)}")
    if content.problems:
        return Finding(Verdict.UNREADABLE, path, "; ".join(content.problems[:_SHOWN]))
    clauses = [f"a pickle imports {_names(unknown)}"] if unknown else []
    clauses += [f"a pickle {oddity}" for oddity in sorted(content.oddities)[:_SHOWN]]
    return Finding(Verdict.UNKNOWN, path, "; ".join(clauses)) if clauses else None


def worst(findings: Iterable[Finding]) -> Verdict:
    """The most severe verdict of several; clean for none."""
    return max((finding.verdict for finding in findings), key=SEVERITY.__getitem__, default=Verdict.CLEAN)


def is_allowed(found: Import) -> bool:
    """Whether importing and calling this name does nothing but make an object."""
    module, name = _in_python_3(found)
    return name in ALLOWED.get(module, ())


def is_dangerous(found: Import) -> bool:
    """Whether this name is known to give a pickle more power than making objects."""
    as_written, renamed = (found.module, found.name), _in_python_3(found)
    return not is_allowed(found) and any(_is_bad(*name) for name in {as_written, renamed})


def _is_bad(module: str, name: str) -> bool:
    # from protocol 4 on a name may be a path through attributes: every object that it passes counts
    steps = name.split(".")[:_MAX_STEPS]
    if len(steps) > 1 and any(step.startswith("__") and step.endswith("__") for step in steps):
        return True
    places = [(module, name), (".".join([module, *steps[:-1]]), steps[-1])]
    places += [(".".join(steps[first:last]), steps[last]) for last in range(len(steps)) for first in range(last)]
    return any(_is_listed(*place) or _picklescan_knows(*place) for place in places)


def _is_listed(module: str, name: str) -> bool:
    return bool(DANGEROUS_MODULES.match(module)) or (module, name) in DANGEROUS_NAMES


@functools.lru_cache(maxsize=4096)
def _picklescan_knows(module: str, name: str) -> bool:
    """Asks picklescan about one name, by a pickle that imports just that.

    Its own reading of files is not used: it holds every opcode in memory, and a damaged file passes as clean.
    """
    from picklescan import scanner  # takes its time to import

    logging.getLogger("picklescan").disabled = True  # it logs names from the file as they are
    # "unknown" is what it calls names that it could not find out, and takes for bad wherever it stands
    texts = [text.replace("unknown", "unknwn").encode("utf-8", "surrogatepass") for text in (module, name)]
    written = b"".join(b"X" + len(text).to_bytes(4, "little") + text for text in texts)
    result = scanner.scan_pickle_bytes(io.BytesIO(b"\x80\x04" + written + b"\x93."), "", multiple_pickles=False)
    return bool(result.issues_count)


def _in_python_3(found: Import) -> tuple[str, str]:
    """The name that an unpickler of today looks up for one that Python 2 wrote."""
    renamed = NAME_MAPPING.get((found.module, found.name))
    return renamed or (IMPORT_MAPPING.get(found.module, found.module), found.name)


def _names(imports: Iterable[Import]) -> str:
    names = sorted({str(found) for found in imports})
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(name if _PLAIN_NAME.fullmatch(name) else short(name) for name in names[:_SHOWN]) + more


_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,119}")
