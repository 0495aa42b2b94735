"""Signed files that run out are signed anew by an owner's machine, long before they do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import Trackers
from p2pckpt.jobs.owners import RENEW_WITHIN, Owners
from p2pckpt.jobs.shares import Shares
from p2pckpt.store.catalogue import Catalogue
from p2pckpt.store.layout import StoreLayout
from p2pckpt.trust import identity_file, versions

from ...support.tracker_process import start_tracker


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[tuple[Shares, Owners, str]]:
    identity = identity_file.load_or_create(tmp_path / "keys", "ann")
    layout = StoreLayout(tmp_path / "store")
    layout.create()
    with start_tracker(tmp_path / "tracker") as process:
        trackers = Trackers(identity, "ann")
        shares = Shares(identity, Catalogue(layout.catalogue), layout, trackers)
        yield shares, Owners(identity, shares), process.url
        await trackers.close()


async def test_files_that_run_out_soon_are_signed_anew_and_others_are_not(
    home: tuple[Shares, Owners, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, owners, url = home
    lifetimes = {name: getattr(versions, name) for name in ("ROOT_LIFETIME", "TARGETS_LIFETIME")}
    for name in lifetimes:
        monkeypatch.setattr(versions, name, timedelta(seconds=RENEW_WITHIN) - timedelta(days=1))
    share = await shares.create("renewed", tp.Visibility.LINK, url)
    for name, lifetime in lifetimes.items():
        monkeypatch.setattr(versions, name, lifetime)
    before = await shares.trusted(share)
    assert await owners.renew(share)
    after = await shares.trusted(share)
    late = time.time() + RENEW_WITHIN
    for old, new in (
        (before.root_bytes, after.root_bytes),
        (before.targets_bytes, after.targets_bytes),
        (before.keyring_bytes, after.keyring_bytes),
    ):
        assert versions.expiry(old) < late < versions.expiry(new)
    assert after.keyring == before.keyring
    assert versions.root_keys(after.root_bytes) == versions.root_keys(before.root_bytes)
    assert await owners.renew(share)
    assert await shares.refresh(share) == after  # nothing was due any more
