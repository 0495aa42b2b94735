"""The one exception tree of the client, and the exit code each branch maps to.

Every error carries what a person needs: the fact, what was kept, and the next command to try. Foreign
exceptions are wrapped where they enter (``raise X(...) from exc``), so nothing above a seam has to know
aiohttp, sqlite3, tuf or libtorrent. Only ``cli/report.py`` turns them into text and exit codes.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar


class P2pckptError(Exception):
    """Something went wrong that the user can be told about in one sentence."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failed"

    def __init__(self, fact: str, *, kept: str = "", next_step: str = "") -> None:
        super().__init__(fact)
        self.fact = fact
        """What happened, one sentence."""
        self.kept = kept
        """What is safe on disk, empty where nothing was at stake."""
        self.next_step = next_step
        """The command or act that helps, empty where there is none."""


class BadUsage(P2pckptError):
    """The request itself makes no sense: a malformed link, name, address or option."""

    exit_code = 2
    code = "usage"


class Partial(P2pckptError):
    """Part of the work is done and kept; the rest was not possible."""

    exit_code = 3
    code = "partial"


class NotAllowed(P2pckptError):
    """The tracker refuses: no role, no token, a link that is used up; or this machine: a path, what is pinned."""

    exit_code = 4
    code = "not_allowed"


class LicenceNotAccepted(NotAllowed):
    """The owner of the share asks for a licence to be accepted before anything is fetched."""

    code = "licence"


class NotFound(P2pckptError):
    """No such share, version, job, link or file."""

    exit_code = 5
    code = "not_found"


class VerificationFailed(P2pckptError):
    """Bytes or metadata do not match what was signed: tampered, rolled back or damaged."""

    exit_code = 6
    code = "verification_failed"


class UnsafeContent(P2pckptError):
    """A pickle that would run commands when it is loaded, or that can't be read: looked at, and not let through."""

    exit_code = 6
    code = "unsafe_content"


class Stale(VerificationFailed):
    """Nobody vouches any more that the signed files are the newest: a tracker that stopped signing, or holds back."""

    code = "stale"


class UntrustedKey(P2pckptError):
    """Something is signed by a key that this share's root of trust does not name."""

    exit_code = 7
    code = "untrusted_key"


class BlockedKey(UntrustedKey):
    """Something is signed by somebody whom the user has blocked."""

    code = "blocked_key"


class KeyToReview(UntrustedKey):
    """Something is signed by a key that the user wants to look at first (setting ``new_keys``)."""

    code = "key_to_review"


class DaemonUnavailable(P2pckptError):
    """The daemon does not answer, or could not be started."""

    exit_code = 8
    code = "daemon"


class NoSeeds(P2pckptError):
    """Nobody who has the missing pieces is reachable."""

    exit_code = 9
    code = "no_seeds"


class NoSpace(P2pckptError):
    """The disk is too full for what was asked."""

    exit_code = 10
    code = "no_space"


class TrackerUnreachable(P2pckptError):
    """The tracker does not answer, or not as a tracker does."""

    code = "tracker_unreachable"


class Conflict(P2pckptError):
    """Somebody else changed the same thing first; try again on top of it."""

    code = "conflict"


class ChangedWhileReading(P2pckptError):
    """A file was modified while it was being published."""

    code = "changed_while_reading"


class Cancelled(P2pckptError):
    """The work was stopped on request."""

    exit_code = 130
    code = "cancelled"


def disk_error(exc: OSError, path: Path, kept: str = "everything that arrived so far") -> P2pckptError:
    """What an I/O error at ``path`` means to a user: ``NoSpace`` or the reason."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"the disk with {path} is full", kept=kept, next_step="free some space, then: p2pckpt resume")
    return P2pckptError(
        f"{path} can't be written: {exc.strerror or exc}", kept=kept, next_step="correct it, then: p2pckpt resume"
    )


def by_code(code: str) -> type[P2pckptError]:
    """The class for a ``code`` that crossed the control socket; the base class when it is unknown."""
    pending = [P2pckptError]
    while pending:
        cls = pending.pop()
        if cls.code == code:
            return cls
        pending.extend(cls.__subclasses__())
    return P2pckptError
