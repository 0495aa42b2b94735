"""What the daemon answers to each request: the parts wired together, still without any HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from p2pckpt import tracker_protocol as tp
from p2pckpt.control import access_messages as am
from p2pckpt.control import health_messages as hm
from p2pckpt.control import messages as m
from p2pckpt.control import publish_messages as pm
from p2pckpt.control import run_messages as rm
from p2pckpt.control import settings_messages as sm
from p2pckpt.daemon.access import Access
from p2pckpt.daemon.access_watch import AccessWatch
from p2pckpt.daemon.background import Background
from p2pckpt.daemon.bans import Bans
from p2pckpt.daemon.feed import Feed
from p2pckpt.daemon.gateway_beside import GatewayBeside
from p2pckpt.daemon.job_table import JobTable, Request
from p2pckpt.daemon.keys import Keys
from p2pckpt.daemon.leaving import Leaving
from p2pckpt.daemon.live_settings import LiveSettings
from p2pckpt.daemon.lookup import Lookup
from p2pckpt.daemon.news import News
from p2pckpt.daemon.peers import peers_reply
from p2pckpt.daemon.pinning import Pinning
from p2pckpt.daemon.pulse import Pulse
from p2pckpt.daemon.rate_limits import RateLimits
from p2pckpt.daemon.reading import Reading
from p2pckpt.daemon.reports import job_detail, share_row, version_detail, version_rows
from p2pckpt.daemon.retention import Retaining
from p2pckpt.daemon.run_book import RunBook, RunRecord
from p2pckpt.daemon.run_worker import Doors
from p2pckpt.daemon.runs import Runs
from p2pckpt.daemon.sharing import Sharing
from p2pckpt.daemon.stalls import StallMeter
from p2pckpt.daemon.tracker_beside import TrackerBeside
from p2pckpt.daemon.verify_reports import VerifyReports
from p2pckpt.errors import BadUsage, NotFound, P2pckptError
from p2pckpt.jobs import fetch as fetching
from p2pckpt.jobs import fetch_plan, folder, publish, publish_plan, seeding
from p2pckpt.jobs import verify as verifying
from p2pckpt.jobs.compare import compare
from p2pckpt.jobs.progress import Progress
from p2pckpt.jobs.removal import drop_objects, remove_version, require_unpinned
from p2pckpt.jobs.restore import restore
from p2pckpt.jobs.services import Services
from p2pckpt.jobs.shares import is_share_id, split_name
from p2pckpt.jobs.sweep import sweep
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.checkout import partial_directory

_log = structlog.get_logger(__name__)


class Operations:
    """One method a request of ``control.client``. Raises ``P2pckptError``s."""

    def __init__(
        self,
        services: Services,
        beside: TrackerBeside,
        feed: Feed,
        stalls: StallMeter,
        settings: LiveSettings,
        limits: RateLimits,
    ) -> None:
        self.services = services
        self.settings = settings
        self._limits = limits
        self.sharing = Sharing(services)
        self.feed = feed
        self.access = Access(services, feed)
        self._reports = VerifyReports(services.config.state_dir / "verify")
        self.bans = Bans(services.config.data_dir / "bans.json", services.swarms.engine.ban)
        self.lookup = Lookup(services, beside, settings)
        self.gateway = GatewayBeside(settings)
        self._watch = AccessWatch(services, feed, self._share_row)
        self._row_lock = asyncio.Lock()
        self.pinning = Pinning(services, self.lookup, self._watch.tell, lambda share: self.retaining.damaged(share))
        self.reading = Reading(services, self.lookup.need_tracker)
        self._background = Background()
        self.jobs = JobTable(services.config.data_dir / "jobs.db", feed, self._run, self._seed, services.swarms.leave)
        self.pulse = Pulse(services, self.jobs, settings, limits, stalls, lambda: beside.running)
        self.keys = Keys(services, feed, self.jobs)
        self.news = News(services, feed, self.access, self.keys, self._watch, self._background)
        doors = Doors(
            publish=self.publish,
            ended=self.jobs.ended,
            resume=self.jobs.resume,
            remove=lambda job: self.remove(job, data=False),
            published=self._save_published,
            tell=lambda text: feed.send(m.Notice("warning", text)),
        )
        self.runs = Runs(services, RunBook(services.config.data_dir / "runs.db"), doors)
        self.retaining = Retaining(
            services,
            self.jobs,
            lambda job: self.remove(job, data=False),
            self._in_use,
            self._reports,
            lambda share: self.runs.known(share.name, share.share_id.hex()).retention,
            self.reading.readers.forget,
        )
        self.leaving = Leaving(
            services,
            feed,
            self.jobs,
            lambda job: self.remove(job, data=False),
            self.reading.readers.forget,
            self._watch.forget,
            self.runs,
        )

    async def load(self) -> None:
        """Take over what the last daemon left; before the first request is taken."""
        self.jobs.load()
        await self._sweep()
        await self.leaving.go_on(self._background.start)
        for job in self.jobs.jobs():
            self.services.swarms.limit(job.id, job.limit_down, job.limit_up)

    async def _sweep(self) -> None:
        publishing = any(j.kind is m.JobKind.PUBLISH and (not j.state.ended or j.failure) for j in self.jobs.jobs())
        try:
            await sweep(self.services, self._in_use(), publishing=publishing)
        except P2pckptError as exc:
            _log.warning("the store was not swept", reason=exc.fact)

    # -- jobs

    async def publish(self, request: pm.PublishRequest) -> m.Job:
        path = _directory(request.path)
        known = self.services.catalogue.share(bytes.fromhex(request.name)) if is_share_id(request.name) else None
        name = known.name if known is not None else request.name or await asyncio.to_thread(folder.default_name, path)
        fields: dict[str, Any] = {"path": str(path), "share": name, "version_name": request.version_name}
        return self.jobs.submit(m.JobKind.PUBLISH, replace(request, path=str(path)), **fields)

    async def look(self, request: pm.LookRequest) -> pm.FolderReport:
        return await folder.look(self.services, replace(request, path=str(_directory(request.path))))

    async def publish_plan(self, request: pm.PublishRequest) -> pm.PublishPlan:
        return await publish_plan.plan(self.services, replace(request, path=str(_directory(request.path))))

    async def fetch(self, request: m.FetchRequest) -> m.Job:
        """Resolves first, so that a bad link fails here and not in a job."""
        await self.lookup.need_tracker(request.source)
        source = await fetch_plan.resolve(self.services, request)
        path = fetch_plan.checkout_path(source, request)
        # from here on the share is known by its id: the job needs no link, and keeps no secret
        settled = replace(
            request,
            source=f"{source.share.share_id.hex()}@{source.target.version}",
            to=str(path),
            password="",
            paused=False,
        )
        return self.jobs.submit(
            m.JobKind.FETCH,
            settled,
            path=str(path),
            share_id=source.share.share_id.hex(),
            share=source.trusted.terms.name,
            version=source.target.version,
            version_name=source.target.name,
            publisher=source.manifest.body.publisher.hex(),
            size=source.size,
            state=m.JobState.PAUSED if request.paused else m.JobState.QUEUED,
        )

    async def fetch_plan(self, request: m.FetchRequest) -> m.FetchPreview:
        await self.lookup.need_tracker(request.source)
        found = await fetch_plan.preview(self.services, request)
        return await self.keys.described(found)

    async def restore(self, request: rm.RestoreRequest) -> m.Job:
        """Finds or joins the share first, so that a bad name or link fails here and not in a job."""
        await self.lookup.need_tracker(request.source)
        share, selector = await self.services.entrance.enter(request.source, request.password)
        run = self.runs.known(share.name, share.share_id.hex())
        base = run.path or request.base
        path = request.to or base
        if not path.startswith("/"):
            raise BadUsage(f"{path!r} is no absolute path")
        # known by its id from here on: the job needs no link, and keeps no secret
        settled = replace(
            request,
            source=f"{share.share_id.hex()}@{selector}",
            base=base,
            password="",
            allow_nonfinite=(*request.allow_nonfinite, *run.allow_nonfinite),
        )
        fields = {"path": path, "share_id": share.share_id.hex(), "share": share.name}
        return self.jobs.submit(m.JobKind.RESTORE, settled, **fields)

    async def verify(self, request: m.VerifyRequest) -> m.Job:
        share, row = await asyncio.to_thread(verifying.find_version, self.services, request.name)
        return self.jobs.submit(m.JobKind.VERIFY, request, share=share.name, version=row.version, path=row.path)

    def job_detail(self, job_id: str) -> Any:
        return job_detail(self.services, self.jobs.progress(job_id))

    async def remove(self, job_id: str, *, data: bool) -> None:
        """Raises ``NotAllowed``, and leaves the job, where its ``data`` is pinned."""
        job = self.jobs.progress(job_id).job
        if data and (share := self._share_with_data_of(job)) is not None:
            require_unpinned(self.services.catalogue, share, [job.version])
        job = await self.jobs.remove(job_id)
        self.services.swarms.limit(job_id, 0, 0)
        if job.kind is m.JobKind.VERIFY:
            await asyncio.to_thread(self._reports.remove, job_id)
        others, share = self._in_use(), self._share_with_data_of(job)
        if not data or share is None or (share.share_id, job.version) in others:
            return
        await remove_version(self.services, share, job.version, others)
        if job.kind.receives and job.path:
            await asyncio.to_thread(_discard_partial, Path(job.path))

    def _share_with_data_of(self, job: m.Job) -> KnownShare | None:
        """The share that a job moves data of."""
        if job.kind is m.JobKind.VERIFY or not job.share_id:
            return None
        return self.services.catalogue.share(bytes.fromhex(job.share_id))

    async def drop_version(self, name: str) -> am.Freed:
        """Delete what a version has here and nothing else needs; its jobs end. Raises ``NotAllowed`` if pinned."""
        share, version = await self.lookup.version(name, retired=True)
        require_unpinned(self.services.catalogue, share, [version])
        for job in self.jobs.jobs():
            if (job.share_id, job.version) == (share.share_id.hex(), version) and job.kind is not m.JobKind.VERIFY:
                await self.remove(job.id, data=False)
                if job.kind.receives and job.path:
                    await asyncio.to_thread(_discard_partial, Path(job.path))
        await self.reading.readers.forget(share.share_id, version)
        freed = await remove_version(self.services, share, version, self._in_use())
        await self._watch.tell(share)
        return am.Freed(freed)

    def _in_use(self) -> set[tuple[bytes, int]]:
        """Versions that jobs publish, fetch or offer."""
        return {
            (bytes.fromhex(job.share_id), job.version)
            for job in self.jobs.jobs()
            if job.kind is not m.JobKind.VERIFY and job.share_id and job.version
        }

    async def report(self, job_id: str) -> hm.VerifyReport:
        """What a verify found; of another job, what the last verify of its version found. Raises ``NotFound``."""
        job = self.jobs.progress(job_id).job
        jobs = [job_id]
        if job.kind is not m.JobKind.VERIFY:
            same = [j for j in self.jobs.jobs() if (j.share_id, j.version) == (job.share_id, job.version)]
            jobs = [j.id for j in reversed(same) if j.kind is m.JobKind.VERIFY and j.version]
        found = await asyncio.to_thread(self._reports.newest, jobs)
        if found is None:
            version = f"{job.share}@v{job.version}" if job.version else job_id
            if job.kind is m.JobKind.VERIFY and not job.state.ended:
                raise NotFound(f"{version} is still being looked at", next_step=f"p2pckpt watch {job_id}")
            raise NotFound(f"{version} was not verified yet", next_step=f"p2pckpt verify {version}")
        return found

    async def announce(self, job_id: str) -> hm.AnnounceReply:
        """Have a job's torrents announced now. Raises ``BadUsage`` for a job that is in no swarm."""
        job = self.jobs.progress(job_id).job
        torrents, sought = self.services.swarms.announce_now(job_id)
        if not torrents:
            step = f"p2pckpt resume {job_id}" if job.state is m.JobState.PAUSED else ""
            raise BadUsage(f"{job_id} is {job.state} and in no swarm", next_step=step)
        return hm.AnnounceReply(torrents, sought)

    async def peers(self) -> hm.PeersReply:
        return await peers_reply(self.services, len(self.bans.rows()))

    # -- shares

    async def shares(self) -> list[m.ShareRow]:
        return [await self._share_row(share) for share in self.services.shares.known()]

    async def share_detail(self, name: str) -> m.ShareDetail:
        share = self.services.shares.find(split_name(name)[0])
        with contextlib.suppress(P2pckptError):
            await self.services.shares.refresh(share)
            await self._watch.count(share)
        trusted = await self.services.shares.trusted(share)
        self._background.start(self.news.measure(share, trusted))
        rows = await version_rows(self.services, share, trusted)
        return m.ShareDetail(await self._share_row(share), rows, self.runs.row(share.name))

    async def version_detail(self, name: str) -> m.VersionDetail:
        share, version = await self.lookup.version(name)
        detail = await version_detail(self.services, share, version)
        return replace(detail, publisher_key=await self.keys.row(detail.publisher, share.share_id))

    async def manifest(self, name: str) -> dict[str, Any]:
        return await asyncio.to_thread((await self.lookup.manifest(name)).as_json)

    async def diff(self, name_a: str, name_b: str) -> m.DiffReply:
        manifests = [await self.lookup.manifest(name) for name in (name_a, name_b)]
        return await asyncio.to_thread(compare, name_a, manifests[0], name_b, manifests[1])

    async def tag(self, request: m.TagRequest) -> m.ShareDetail:
        share, version = await self.lookup.version(request.name)
        await self.services.shares.move_tag(share, request.tag, None if request.remove else version)
        return await self.share_detail(share.name if request.remove else share.share_id.hex())

    # -- limits

    def limit_job(self, job_id: str, request: sm.JobLimitRequest) -> m.Job:
        job = self.jobs.limit(job_id, request.down, request.up)
        self.services.swarms.limit(job.id, job.limit_down, job.limit_up)
        return job

    def limits(self) -> sm.Limits:
        return self._limits.state

    async def turtle(self, request: sm.TurtleRequest) -> sm.Limits:
        mode = self._limits.toggled() if request.mode == "toggle" else request.mode
        await self.settings.set(sm.SetRequest("turtle", mode))
        return self._limits.state

    # -- what goes on by itself

    async def snapshot(self) -> m.Snapshot:
        return m.Snapshot(self.pulse.status(), self.jobs.jobs(), tuple(await self.shares()))

    async def tick(self) -> None:
        """Once a second."""
        self._limits.look()
        self._background.start(self.reading.readers.tidy())
        await self.pulse.measure()
        self.feed.send(m.StatusChanged(self.pulse.status()))

    # -- inside

    async def _run(self, request: Request, progress: Progress) -> m.JobState:
        services = self.services
        if isinstance(request, pm.PublishRequest):
            tracker = await self.lookup.tracker(public=request.to is tp.Visibility.PUBLIC)
            await publish.publish(services, request, tracker, progress, self._earlier_link)
            await self._drop_twins(progress.job)
            self.news.changed_here(progress.job.share_id)
            return m.JobState.SEEDING
        if isinstance(request, m.FetchRequest):
            await self.lookup.need_tracker(request.source)
            await fetching.fetch(services, request, progress)
            return await self._received(progress.job, seed=request.seed)
        if isinstance(request, rm.RestoreRequest):
            of = progress.job.share, progress.job.share_id
            restored = await restore(services, request, progress, lambda at, v: self.runs.restoring(*of, at, v))
            progress.update(restored=restored)
            await self._drop_twins(progress.job)
            return await self._received(progress.job, seed=request.seed)
        try:
            await verifying.verify(services, request, progress, self._reports.save)
        finally:
            await services.swarms.leave(progress.job.id)
        return m.JobState.DONE

    async def _received(self, job: m.Job, *, seed: bool) -> m.JobState:
        """What becomes of a version whose checkout is complete."""
        services = self.services
        self.news.changed_here(job.share_id)
        if not seed:
            await services.swarms.leave(job.id)
            share = services.catalogue.share(bytes.fromhex(job.share_id))
            if share is not None and not self._seeds_version(job):
                await drop_objects(services, share, job.version)
            return m.JobState.DONE
        for info_hash in services.swarms.torrents_of(job.id):
            services.swarms.finish(job.id, info_hash)
        return m.JobState.SEEDING

    async def _save_published(self, run: RunRecord) -> None:
        """A save of a run has become a version."""
        share = self.services.catalogue.share(bytes.fromhex(run.share_id))
        if share is not None:
            await self.retaining.apply(share, run.retention)

    def _earlier_link(self, share_id: str) -> str:
        """The newest link without limits that a publish to this share handed out."""
        for job in reversed(self.jobs.jobs()):
            if job.kind is m.JobKind.PUBLISH and job.share_id == share_id and job.link:
                request = self.jobs.request(job.id)
                assert isinstance(request, pm.PublishRequest)
                if not (request.expires_at or request.max_uses or request.password):
                    return job.link
        return ""

    def _seeds_version(self, job: m.Job) -> bool:
        """Whether another job offers the same version."""
        return any(
            (j.share_id, j.version) == (job.share_id, job.version) and j.state is m.JobState.SEEDING
            for j in self.jobs.jobs()
            if j.id != job.id
        )

    async def _drop_twins(self, job: m.Job) -> None:
        """A directory shared again without a change is the same version: one row is enough."""
        for other in self.jobs.jobs():
            same = (other.share_id, other.version, other.path) == (job.share_id, job.version, job.path)
            if other.id != job.id and other.kind is job.kind and same:
                await self.remove(other.id, data=False)
                if not (job.limit_down or job.limit_up):
                    self.limit_job(job.id, sm.JobLimitRequest(other.limit_down, other.limit_up))

    async def _seed(self, progress: Progress) -> None:
        job = progress.job
        share = self.services.catalogue.share(bytes.fromhex(job.share_id))
        if share is None:
            raise NotFound(f"the share of {job.id} is not known here any more")
        await self.lookup.need_tracker_of(share)
        await seeding.seed(self.services, job.id, share, job.version)

    async def _share_row(self, share: KnownShare) -> m.ShareRow:
        """One after the other: a row that is told later must not have been looked up earlier."""
        async with self._row_lock:
            return await share_row(self.services, share, self._watch.of(share.share_id))


def _directory(path: str) -> Path:
    if not path.startswith("/"):
        raise BadUsage(f"{path!r} is no absolute path")
    return Path(path)


def _discard_partial(target: Path) -> None:
    shutil.rmtree(partial_directory(target), ignore_errors=True)
