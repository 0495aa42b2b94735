"""What the share dialog says: what is in a folder, what publishing would do, how it went."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import Final

from textual.content import Content

from p2pckpt.control.messages import Job, JobState
from p2pckpt.control.publish_messages import CardFields, FolderReport, PublishPlan, PublishRequest
from p2pckpt.tracker_protocol import Visibility
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.dialog import Line

WHO: Final[dict[Visibility, str]] = {
    Visibility.LINK: "whoever has the link; the link carries the key",
    Visibility.MEMBERS: "members only; you let each of them in",
    Visibility.PUBLIC: "anyone, stock BitTorrent clients too; not encrypted",
}
_LISTED: Final = 50
"""Changed files that the review names."""
_KINDS: Final = 4
"""Kinds of files that are counted apart."""


def found(report: FolderReport) -> Content:
    """What is in the folder, in a few lines."""
    kinds: dict[str, tuple[int, int]] = {}
    for row in report.files:
        count, size = kinds.get(row.kind, (0, 0))
        kinds[row.kind] = count + 1, size + row.size
    largest = sorted(kinds.items(), key=lambda item: -item[1][1])
    named = [
        f"{count} {'other' if kind == 'opaque' else f.safe(kind, 30)} {f.size(size)}"
        for kind, (count, size) in largest[:_KINDS]
    ]
    parts: list[str | tuple[str, str]] = [
        (f"{f.plural(report.file_count, 'file')}, {f.size(report.size)}", "bold"),
        f" · {' · '.join(named)}",
        f"\nCard: {_card(report)}",
        f"\nShare: {f.safe(report.name, 100)}, " + ("which gets a new version" if report.known_as else "a new one"),
    ]
    parts += [(f"\n! {f.safe(warning, 200)}", "$text-warning") for warning in report.warnings[:3]]
    if len(report.warnings) > 3:
        parts.append((f"\n! … and {len(report.warnings) - 3} more to beware of", "$text-warning"))
    return Content.assemble(*parts)


def _card(report: FolderReport) -> str:
    if not report.has_card:
        return "no README.md"
    return f"README.md, licence {f.safe(report.licence, 60) or 'not named'}"


def review_lines(request: PublishRequest, report: FolderReport, me: str) -> list[Line]:
    """What [Publish] will do, as far as it is known without reading every byte."""
    lines: list[Line] = [
        ("Folder", f.safe(report.path)),
        ("Contents", f"{f.size(report.size)} in {f.plural(report.file_count, 'file')}"),
        (
            "Share",
            f"{f.safe(report.name, 100)}, " + ("a new version of it" if report.known_as else "its first version"),
        ),
    ]
    visibility = report.known_as or request.to
    lines.append(("For", WHO[visibility] + (" (as it is)" if report.known_as else "")))
    limits = [f"until {_day(request.expires_at)}"] if request.expires_at else []
    limits += [f"for {f.plural(request.max_uses, 'use')}"] if request.max_uses else []
    limits += ["with a password"] if request.password else []
    if limits:
        lines.append(("Link", ", ".join(limits)))
    licence = report.licence if request.card is None else request.card.licence
    lines.append(("Licence", f.safe(licence, 100) or "none named"))
    if request.card is not None:
        lines.append(("README.md", f"its front matter is changed: {_changes(request.card, report)}"))
    lines.append(("Signed by", f.identity(me)))
    return lines


def _changes(card: CardFields, report: FolderReport) -> str:
    new = {
        "license": (card.licence, report.licence),
        "base_model": (", ".join(card.base_model), ", ".join(report.base_model)),
        "tags": (", ".join(card.tags), ", ".join(report.tags)),
    }
    return "; ".join(f"{key}: {f.safe(to, 80) or 'none'}" for key, (to, before) in new.items() if to != before)


def plan_lines(plan: PublishPlan, told: Sequence[str] = (), *, delta: bool = False) -> list[Line]:
    """What of it is new to the share; warnings that were ``told`` already are left out. ``delta``: as differences."""
    lines: list[Line] = [
        ("Version", f"v{plan.version}"),
        ("New", f"{f.size(plan.new_size)} in {f.plural(plan.new_file_count, 'file')}{_rest(plan)}"),
        ("To send", _to_send(plan, delta=delta)),
        ("Disk", f"at most {f.size(plan.disk_needed)} of {f.size(plan.disk_free)} free"),
    ]
    if plan.disk_needed > plan.disk_free:
        lines.append(("!", "The disk may be too full for it."))
    lines += warning_lines([warning for warning in plan.warnings if warning not in told])
    named = [f"{f.safe(file.path)}: {f.safe(file.why)}" for file in plan.new_files[:_LISTED]]
    lines += [("Changed" if n == 0 else "", line) for n, line in enumerate(named)]
    if plan.new_file_count > len(named):
        lines.append(("", "… and more"))
    return lines


def _to_send(plan: PublishPlan, *, delta: bool) -> str:
    """``plan`` is of a request without differences."""
    if plan.delta_size < 0:
        return f"about {f.size(plan.stored_size)}, compressed"
    if delta:
        return f"about {f.size(plan.delta_size)} as differences; without, {f.size(plan.stored_size)}"
    return f"about {f.size(plan.stored_size)}, compressed; as differences {f.size(plan.delta_size)}"


def warning_lines(warnings: Sequence[str]) -> list[Line]:
    """What to beware of, one line each."""
    return [("!", f.safe(warning, 200)) for warning in warnings]


def _rest(plan: PublishPlan) -> str:
    return "; the rest is in the share already" if plan.new_size < plan.size else ""


def command(request: PublishRequest, report: FolderReport) -> str:
    """The command line that does the same as [Publish]. A password is asked for there, never written."""
    words = ["p2pckpt", "share", request.path]
    for option, value in (("--name", request.name), ("--version-name", request.version_name)):
        words += [option, value] if value else []
    if not report.known_as and request.to is not Visibility.LINK:
        words += ["--to", request.to.value]
    words += [word for tag in request.tags for word in ("--tag", tag)]
    if request.card is not None:
        words += ["--licence", request.card.licence] if request.card.licence else []
        words += [word for model in request.card.base_model for word in ("--base-model", model)]
        words += [word for tag in request.card.tags for word in ("--card-tag", tag)]
    words += ["--expires", f"{max(request.expires_at - int(time.time()), 60) // 60}m"] if request.expires_at else []
    words += ["--max-uses", str(request.max_uses)] if request.max_uses else []
    words += ["--password-stdin"] if request.password else []
    words += ["--delta"] if request.delta else []
    words += ["--allow-no-licence"] if request.allow_no_licence else []
    words += ["--allow-unsafe-pickle"] if request.allow_unsafe_pickle else []
    return shlex.join(words)


def result(job: Job) -> Content:
    """How the publish goes, and its link as soon as there is one."""
    parts: list[str | tuple[str, str]] = [
        f"{f.glyph(job)} {f.share_name(job)}: {f.activity(job)} {f.percent(f.fraction(job))}"
    ]
    if job.state is JobState.RUNNING and job.eta >= 0:
        parts.append(f", {f.duration(job.eta)} left")
    parts.append("\n\n")
    if job.failure is not None:
        error = [job.failure.fact, *(t for t in (job.failure.kept, job.failure.next_step) if t)]
        parts.append(("\n".join(f.safe(line) for line in error), "bold $text-error"))
    elif job.link:
        parts += [(f.safe(job.link, 2000), "bold $text-success"), "\n\n"]
        parts.append(
            ("It carries a secret unless the share is public: send it as you would a password.", "$text-muted")
        )
    else:
        parts.append(
            ("The link appears here as soon as the daemon has it; it works while this machine seeds.", "$text-muted")
        )
        if job.state in (JobState.SEEDING, JobState.DONE):
            parts.append("\nNone came with this version; p2pckpt link new makes one.")
    return Content.assemble(*parts)


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
