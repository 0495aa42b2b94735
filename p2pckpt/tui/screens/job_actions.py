"""What can be done to jobs from Transfers and from a job's own screen."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from textual.binding import Binding, BindingType

from p2pckpt.control.health_messages import AnnounceReply
from p2pckpt.control.messages import Job, JobKind, JobState, VerifyRequest
from p2pckpt.control.settings_messages import JobLimitRequest
from p2pckpt.tui import format as f
from p2pckpt.tui.commands import Request, remove_job, verify
from p2pckpt.tui.export import export
from p2pckpt.tui.screens.base import StateScreen
from p2pckpt.tui.screens.job_pane import JobPane
from p2pckpt.tui.screens.limit_dialog import LimitDialog
from p2pckpt.tui.screens.remove import remove_dialog
from p2pckpt.tui.screens.verify_tab import repair_dialog


class JobActions(StateScreen):
    """Keys for the jobs that ``targets`` gives: pause, verify, remove, limit, copy the link."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause", id="job.pause", tooltip="p2pckpt pause JOB"),
        Binding("v", "verify", "Verify", id="job.verify", tooltip="p2pckpt verify NAME@VERSION"),
        Binding("d", "remove(False)", "Remove", id="job.remove", tooltip="p2pckpt rm JOB"),
        Binding(
            "D", "remove(True)", "Remove with data", show=False, id="job.remove-data", tooltip="p2pckpt rm JOB --data"
        ),
        Binding("l", "limit", "Limit", id="job.limit", tooltip="p2pckpt limit JOB --down 5M --up 1M"),
        Binding("y", "copy_link", "Copy link", id="job.copy-link"),
        Binding("Q", "qr", "QR", show=False, id="job.qr", tooltip="p2pckpt link qr NAME"),
        Binding("r", "repair", "Repair", id="job.repair", tooltip="p2pckpt verify --repair NAME@VERSION"),
        Binding(
            "e", "export_report", "Export report", id="job.export-report", tooltip="p2pckpt verify --json NAME@VERSION"
        ),
        Binding("r", "announce", "Re-announce", show=False, id="job.announce", tooltip="p2pckpt peers announce JOB"),
    ]

    def targets(self) -> list[Job]:
        """The jobs that the next key is for."""
        raise NotImplementedError

    @property
    def pane(self) -> JobPane:
        """Where one of them is shown in full."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        report = self.pane.shown_report if action in ("repair", "export_report", "announce") else None
        if action == "repair":
            return report is not None and self.state.down is None
        if action == "export_report":
            return report is not None
        if action == "announce":
            return report is None and self.state.down is None
        return super().check_action(action, parameters)

    def action_announce(self) -> None:
        """Tell the tracker of the jobs now and look for more peers."""
        for job in self.targets():
            if job.kind is JobKind.VERIFY:
                self.hub.commands.say("A verify is announced nowhere.", warning=True)
                continue
            self.hub.commands.run(_announce(job.id), self._announced)

    def _announced(self, reply: AnnounceReply) -> None:
        sought = f"; {reply.sought} of them looked for in DHT and LAN, too" if reply.sought else ""
        self.hub.commands.say(f"Announced {f.plural(reply.torrents, 'torrent')}{sought}.")

    def action_repair(self) -> None:
        """Ask, with what it would mean; then verify again and repair what the report names."""
        report = self.pane.shown_report
        if report is None:
            return
        if report.damaged == report.repaired:
            self.hub.commands.say("There is nothing to repair.")
            return
        name = f"{report.share}@v{report.version}"
        request = VerifyRequest(name=name, full=report.full, repair=True)

        def answered(yes: bool | None) -> None:
            if yes:
                self.hub.commands.run(verify(request), lambda job: self.hub.commands.say(f"Repairing {f.safe(name)}."))

        jobs = [job for job in self.state.jobs.values() if (job.share, job.version) == (report.share, report.version)]
        self.app.push_screen(repair_dialog(report, max((job.seeds for job in jobs), default=0)), answered)

    def action_export_report(self) -> None:
        """Write the report as JSON."""
        report = self.pane.shown_report
        if report is not None:
            name = f"{report.share.replace('/', '-')}-v{report.version}-verify.json"
            export(
                self.hub, "Export report", f.safe(name, 120), lambda: msgspec.json.format(msgspec.json.encode(report))
            )

    def action_pause(self) -> None:
        """Pause what works or seeds, resume what is paused or failed."""
        jobs = self.targets()
        useful = [job for job in jobs if job.state is not JobState.DONE]
        if jobs and not useful:
            self.hub.commands.say("There is nothing to pause: it is done and offers nothing.", warning=True)
        for job in useful:
            resume = job.state in (JobState.PAUSED, JobState.FAILED)
            self.hub.commands.run(_resume(job.id) if resume else _pause(job.id))

    def action_verify(self) -> None:
        """Check every byte of the versions again."""
        for job in self.targets():
            if not job.share or not job.version:
                self.hub.commands.say(f"{f.share_name(job)} has no version yet that could be verified.", warning=True)
                continue
            request = VerifyRequest(name=f"{job.share}@v{job.version}")
            self.hub.commands.run(verify(request), self._verifying)

    def action_remove(self, data: bool) -> None:
        """Ask, with what it would mean; then forget the jobs."""
        jobs = self.targets()
        if not jobs:
            return

        def answered(yes: bool | None) -> None:
            for job in jobs if yes else ():
                self.hub.commands.run(remove_job(job.id, data=data))

        self.app.push_screen(remove_dialog(jobs, data=data), answered)

    def action_limit(self) -> None:
        """Ask how fast the jobs may go, and set that."""
        jobs = self.targets()

        def answered(request: JobLimitRequest | None) -> None:
            if request is not None:
                for job in jobs:
                    self.hub.commands.run(_limit(job.id, request))

        if jobs:
            self.app.push_screen(LimitDialog(jobs), answered)

    def action_copy_link(self) -> None:
        """Hand the link of the job's share to the terminal's clipboard."""
        job = next(iter(self.targets()), None)
        if job is None:
            return
        if not job.link:
            self.hub.commands.say(
                f"No link of {f.share_name(job)} is known here; only its publisher has one.", warning=True
            )
            return
        self.hub.copy_link(job.link)

    def action_qr(self) -> None:
        """Draw the link of the job's share, else one that only says where the share is."""
        job = next(iter(self.targets()), None)
        if job is not None and (job.link or job.share_id):
            self.hub.show_qr(job.share_id, job.share, job.link)
        elif job is not None:
            self.hub.commands.say(f"{f.share_name(job)} has no link yet.", warning=True)

    def _verifying(self, job: Job) -> None:
        self.hub.commands.say(f"Verifying {f.share_name(job)} as {f.safe(job.id, 20)}.")


def _pause(job_id: str) -> Request[Job]:
    return lambda client: client.pause(job_id)


def _resume(job_id: str) -> Request[Job]:
    return lambda client: client.resume(job_id)


def _limit(job_id: str, request: JobLimitRequest) -> Request[Job]:
    return lambda client: client.limit_job(job_id, request)


def _announce(job_id: str) -> Request[AnnounceReply]:
    return lambda client: client.announce(job_id)
