"""A version in the cache of the model hubs' client, so that ``from_pretrained`` finds it without a network.

``models--ORG--NAME/blobs/SHA256`` are clones of or hard links to the checkout's files, ``snapshots/COMMIT/…`` the
client's own relative links to them, ``refs/…`` the names of the commit. Symbolic links to the checkout itself would be
shorter, and let older clients delete the checkout when they are told to delete the revision.
"""

from __future__ import annotations

from typing import Final

TOOL: Final = "hub cache"
MAIN: Final = "main"
