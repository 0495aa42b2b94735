"""The real parts a job works with, wired once by the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from p2pckpt.config import Config
from p2pckpt.jobs.entrance import Entrance
from p2pckpt.jobs.key_book import KeyBook
from p2pckpt.jobs.leaning import Leaning
from p2pckpt.jobs.link_book import LinkBook
from p2pckpt.jobs.members import Members
from p2pckpt.jobs.owners import Owners
from p2pckpt.jobs.shares import Shares
from p2pckpt.jobs.swarms import Swarms
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.layout import StoreLayout
from p2pckpt.store.objects import ObjectReader
from p2pckpt.trust.identity import Identity

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything jobs share. ``pool`` runs CPU work; whole jobs' blocking parts run in threads of their own."""

    config: Config
    identity: Identity
    layout: StoreLayout
    catalogue: Catalogue
    objects: ObjectReader
    key_book: KeyBook
    shares: Shares
    entrance: Entrance
    owners: Owners
    link_book: LinkBook
    members: Members
    swarms: Swarms
    pool: ThreadPoolExecutor
    workers: int
    leaning: Leaning = field(default_factory=Leaning)

    async def compute(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Run CPU work in the pool."""
        future: Future[_T] = self.pool.submit(function, *arguments)
        return await asyncio.wrap_future(future)
