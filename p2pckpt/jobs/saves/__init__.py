"""A training run's saves on disk: found, judged finished, taken, described and checked.

Everything here is synchronous, reads files and never runs what is in them. When a save's turn comes, and what becomes
of it, is decided by whoever watches the run.
"""

from __future__ import annotations

from p2pckpt.jobs.saves.checking import Checked, check, check_places
from p2pckpt.jobs.saves.facts import Facts, facts
from p2pckpt.jobs.saves.finding import find, is_finished, is_one_save, look
from p2pckpt.jobs.saves.save import Print, Save, Writer, survey
from p2pckpt.jobs.saves.shape import Role, Shape
from p2pckpt.jobs.saves.taking import take

__all__ = [
    "Checked",
    "Facts",
    "Print",
    "Role",
    "Save",
    "Shape",
    "Writer",
    "check",
    "check_places",
    "facts",
    "find",
    "is_finished",
    "is_one_save",
    "look",
    "survey",
    "take",
]
