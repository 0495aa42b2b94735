"""Signed files that run out are signed anew by an owner's machine, long before they do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pckpt import tracker_protocol as tp
from p2pckpt.access.pool import Trackers
from p2pckpt.jobs.owners import Owners
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
    share = await shares.create("renewed", tp.Visibility.LINK, url)
    before = await shares.trusted(share)
    assert await owners.renew(share)
    assert await shares.refresh(share) == before  # nothing is due
    monkeypatch.setattr("p2pckpt.jobs.owners.RENEW_WITHIN", 366 * 24 * 3600)
    assert await owners.renew(share)
    after = await shares.refresh(share)
    assert after.targets.metadata_version > before.targets.metadata_version
    assert after.root_bytes != before.root_bytes
    assert after.keyring_bytes != before.keyring_bytes
    assert after.keyring == before.keyring
    assert versions.root_keys(after.root_bytes) == versions.root_keys(before.root_bytes)
