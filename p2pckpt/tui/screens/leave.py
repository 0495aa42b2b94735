"""What leaving a share would mean, and doing it."""

from __future__ import annotations

from p2pckpt.control.access_messages import LeavePlan
from p2pckpt.control.messages import ShareRow
from p2pckpt.tracker_protocol import Role
from p2pckpt.tui import format as f
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.screens.confirm import ConfirmDialog


def leave_dialog(plan: LeavePlan) -> ConfirmDialog:
    """The question; an owner, or who seeds something alone or has pinned it, types the share's name."""
    lines = [f.safe(line, 300) for line in plan.consequences]
    lines.append(f"{f.plural(len(plan.jobs), 'job')}, {f.size(plan.stored)} of objects.")
    if plan.link:
        lines += ["", "To come back:", f.safe(plan.link, 1000)]
    name = f.safe(plan.share, 120)
    return ConfirmDialog(
        f"Leave {name}",
        lines,
        yes="Leave",
        expected=name if plan.role is Role.OWNER or plan.alone or plan.pinned else "",
        command=f"p2pckpt leave {name}" + (" --unpin" if plan.pinned else ""),
    )


def leave_share(screen: StateScreen, share: ShareRow) -> None:
    """Ask, with what the daemon says that it would mean; then leave. The row goes when the daemon says so."""
    commands, share_id = screen.hub.commands, share.share_id

    def planned(plan: LeavePlan) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                commands.run(
                    lambda client: client.leave(share_id, unpin=bool(plan.pinned)),
                    lambda reply: commands.say(f"Left {f.safe(reply.share, 120)}; {f.size(reply.freed)} freed."),
                )

        screen.app.push_screen(leave_dialog(plan), answered)

    commands.run(lambda client: client.leave_plan(share_id), planned)
