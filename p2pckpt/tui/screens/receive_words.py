"""What the receive dialog says of a version before anything of it is fetched."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from p2pckpt.control.messages import FetchPreview, FetchRequest, Job, JobKind
from p2pckpt.trust.known_keys import KeyState
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.dialog import Line

_LISTED = 20
"""Files in the way that are named."""
_LARGE = 16 << 20
"""Bytes from which on a transfer says how fast this line is."""
_STATES = {
    KeyState.UNVERIFIED: "not verified by you: compare the words",
    KeyState.VERIFIED: "verified by you",
    KeyState.REVIEW: "new to you here: compare the words",
    KeyState.BLOCKED: "blocked by you",
}


def preview_lines(preview: FetchPreview, jobs: Iterable[Job] = ()) -> list[Line]:
    """What a link leads to, who signed it, and what starting would do; what to beware of comes first."""
    tags = ", ".join(f.safe(tag, 40) for tag in preview.tags)
    name = f" “{f.safe(preview.version_name, 80)}”" if preview.version_name else ""
    lines: list[Line] = [
        *_warnings(preview),
        ("Share", f"{f.safe(preview.share)} @ v{preview.version}{name}" + (f" ({tags})" if tags else "")),
        ("Publisher", _publisher(preview)),
        ("Key", f.fingerprint(preview.publisher)),
    ]
    if preview.publisher_words:
        lines.append(("Words", f.safe(preview.publisher_words)))
    lines += [
        ("Licence", f.safe(preview.licence) or "none named"),
        ("Size", f"{f.size(preview.size)} in {f.plural(len(preview.files), 'file')}"),
        ("Here", f"{f.size(preview.reused)} need no network"),
        ("To fetch", f"{f.size(preview.wire_size)} from {f.plural(preview.seeds, 'seed')}{_time(preview, jobs)}"),
        ("To", f.safe(preview.to)),
        ("Disk", f"needs {f.size(preview.disk_needed)} of {f.size(preview.disk_free)} free"),
    ]
    return lines


def command(request: FetchRequest, *, seeds: bool, accepts: bool, paused: bool) -> str:
    """The command line that does the same. A link is a secret: it is read from stdin there, and not shown."""
    is_link = ":" in request.source or "#" in request.source
    words = ["p2pckpt", "get", "-" if is_link else f.safe(request.source, 200)]
    words += ["--to", request.to] if request.to else []
    words += [word for pattern in request.only[:3] for word in ("--only", f.safe(pattern, 200))]
    words += [] if request.seed == seeds else ["--seed" if request.seed else "--no-seed"]
    words += ["--password-file", "FILE"] if request.password else []
    words += ["--accept-licence"] if accepts else []
    words += ["--paused"] if paused else []
    return shlex.join(words) + (" …" if len(request.only) > 3 else "")


def _publisher(preview: FetchPreview) -> str:
    row = preview.publisher_key
    if row is None:
        return "yourself"
    name = f.safe(row.name, 80) or "somebody who gave no name"
    return f"{name}, {_STATES.get(row.state, f.safe(row.state.value, 40))}"


def _time(preview: FetchPreview, jobs: Iterable[Job]) -> str:
    """How long it takes at the rate of the last transfer that was large enough to tell."""
    ended = [
        job
        for job in jobs
        if job.kind is JobKind.FETCH and job.wire_done >= _LARGE and job.ended_at > job.created_at and not job.failure
    ]
    if not ended or not preview.wire_size:
        return ""
    last = max(ended, key=lambda job: job.ended_at)
    rate = last.wire_done / (last.ended_at - last.created_at)
    return f", about {f.duration(int(preview.wire_size / rate) + 1)} at your last rate"


def _warnings(preview: FetchPreview) -> list[Line]:
    lines: list[Line] = []
    if preview.licence_due:
        lines.append(("!", f"The owner asks you to accept this licence: {f.safe(preview.licence_due)}"))
    if preview.disk_needed > preview.disk_free:
        lines.append(("!", "The disk is too full for it."))
    if not preview.seeds and preview.wire_size:
        lines.append(("!", "No seed is known now; it will wait until one comes."))
    lines += [("!", f.safe(warning)) for warning in preview.warnings]
    for path in preview.conflicts[:_LISTED]:
        lines.append(("!", f"{f.safe(path)} differs: it is moved aside, not overwritten"))
    if len(preview.conflicts) > _LISTED:
        lines.append(("!", f"… and {len(preview.conflicts) - _LISTED} more files that differ"))
    return lines
