"""What a tracker hands out is checked against what the share's keys signed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2pckpt import tracker_protocol as tp
from p2pckpt.errors import VerificationFailed
from p2pckpt.jobs.shares import Shares
from p2pckpt.store.catalogue import KnownShare
from p2pckpt.store.layout import StoreLayout
from p2pckpt.trust.versions import ShareTerms
from tests.contract.nodes import Sample

SHARE = KnownShare(b"s" * 32, "cars/sd15", "beside", "public", "downloader", {})


def shares(tmp_path: Path, sample: Sample, terms: ShareTerms) -> Shares:
    """Shares whose tracker has this torrent, and whose signed terms are these."""
    anything: Any = None

    async def blob(share: str, kind: tp.BlobKind, name: str, limit: int) -> bytes:
        return sample.torrent.data

    async def trusted(share: KnownShare) -> Any:
        return SimpleNamespace(terms=terms)

    trackers: Any = SimpleNamespace(client=lambda text: SimpleNamespace(blob=blob))
    made = Shares(anything, anything, StoreLayout(tmp_path), trackers)
    made.trusted = trusted  # type: ignore[method-assign,assignment]
    return made


async def test_a_torrent_is_taken_when_its_name_and_flag_are_the_share_s(tmp_path: Path) -> None:
    sample = Sample("shares", private=False)
    terms = ShareTerms("cars/sd15", "p2pckpt-sample", "", sealed=False)
    torrent = await shares(tmp_path, sample, terms).torrent(SHARE, sample.info_hash)
    assert torrent.info_hash == sample.info_hash


@pytest.mark.parametrize(("name", "sealed"), [("p2pckpt-other", False), ("p2pckpt-sample", True)])
async def test_a_torrent_that_the_terms_do_not_fit_is_refused_and_not_kept(
    tmp_path: Path, name: str, sealed: bool
) -> None:
    sample = Sample("shares", private=False)
    here = shares(tmp_path, sample, ShareTerms("cars/sd15", name, "", sealed=sealed))
    for _ in range(2):
        with pytest.raises(VerificationFailed, match="signed terms"):
            await here.torrent(SHARE, sample.info_hash)
