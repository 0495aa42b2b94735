"""What a share may be called. Front ends make names of files and directories of it."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[\w][\w.+-]*(/[\w][\w.+-]*)*")
_MAX_NAME: Final = 100


def is_share_name(text: str) -> bool:
    """Letters, digits and ``._+-``, parts joined by ``/``; no part is empty, hidden, or leads elsewhere."""
    return len(text) <= _MAX_NAME and _NAME.fullmatch(text) is not None
