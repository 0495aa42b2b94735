"""Pins as front ends ask for them: which version a name means, and what is told of shares that can't be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from p2pckpt.control.pin_messages import PinRequest, PinRow
from p2pckpt.daemon.pinning import Pinning
from p2pckpt.errors import NotFound, VerificationFailed
from p2pckpt.jobs.services import Services
from p2pckpt.store.catalogue import Catalogue, KnownShare, VersionRow
from p2pckpt.store.retired import RetiredRow

SHARE, OTHER = b"s" * 32, b"o" * 32
RETIRED = {2: "step-1", 4: "step-1", 3: ""}
"""Names of versions that are not listed any more, as their manifests have them."""


class Shares:
    """Two shares; of those in ``damaged`` the signed files can't be read."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.damaged = set[bytes]()
        self._known = [
            KnownShare(share_id, name, "beside", "members", "owner", {})
            for share_id, name in ((SHARE, "lab/run"), (OTHER, "cars/sd15"))
        ]
        for share in self._known:
            catalogue.record_share(share)

    def known(self) -> list[KnownShare]:
        return self._known

    def find(self, name: str) -> KnownShare:
        return next(share for share in self._known if share.name == name)

    async def trusted(self, share: KnownShare) -> Any:
        if share.share_id in self.damaged:
            raise VerificationFailed("its signed files are damaged")
        listed = {5: SimpleNamespace(name="step-5"), 6: SimpleNamespace(name="step-5")}
        targets = SimpleNamespace(versions=listed, tags={"latest": 6, "stable": 5})
        return SimpleNamespace(targets=targets, is_retired=RETIRED.__contains__)

    async def manifest(self, share: KnownShare, trusted: object, version: int) -> tuple[Any, bytes]:
        if version not in RETIRED:
            raise NotFound("there is no such manifest")
        return SimpleNamespace(body=SimpleNamespace(name=RETIRED[version])), b""


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with closing(Catalogue(tmp_path / "catalogue.db")) as made:
        yield made


@pytest.fixture
def shares(catalogue: Catalogue) -> Shares:
    return Shares(catalogue)


@pytest.fixture
def pinning(catalogue: Catalogue, shares: Shares, monkeypatch: pytest.MonkeyPatch) -> Pinning:
    async def version(text: str, *, retired: bool) -> tuple[KnownShare, int]:
        raise NotFound(f"nothing is called {text}", next_step="p2pckpt show lab/run")

    async def tell(share: KnownShare) -> None:
        pass

    async def size_here(services: Services, place: object) -> int:
        return 7

    monkeypatch.setattr("p2pckpt.jobs.pins.size_here", size_here)
    services = cast(Services, SimpleNamespace(catalogue=catalogue, shares=shares))

    async def damaged(share: KnownShare) -> set[int]:
        return set()

    return Pinning(services, cast(Any, SimpleNamespace(version=version)), tell, damaged)


def pin(catalogue: Catalogue, pins: Mapping[bytes, tuple[int, ...]]) -> None:
    for share, versions in pins.items():
        for version in versions:
            catalogue.record_version(VersionRow(share, version, bytes([version]) * 32, True, ""))
            catalogue.pin(share, version, 10)


def told(rows: list[PinRow]) -> dict[tuple[str, int], tuple[str, bool | None, bool]]:
    return {(row.share, row.version): (row.name, row.retired, row.retired_here) for row in rows}


async def test_a_damaged_share_hides_no_pin_and_is_not_said_to_offer_its_versions(
    catalogue: Catalogue, shares: Shares, pinning: Pinning
) -> None:
    pin(catalogue, {SHARE: (2, 4, 5), OTHER: (5,)})
    catalogue.note_retired([RetiredRow(SHARE, number, 1, b"{}", 0) for number in (4, 5)])
    shares.damaged = {OTHER}
    assert told(await pinning.rows()) == {
        ("lab/run", 5): ("step-5", False, False),  # noted, and listed again since
        ("lab/run", 4): ("step-1", True, True),
        ("lab/run", 2): ("step-1", True, False),
        ("cars/sd15", 5): ("", None, False),
    }
    row = await pinning.change(PinRequest("cars/sd15@v5", remove=True))
    assert (row.version, row.retired) == (5, None)


@pytest.mark.parametrize(
    ("selector", "number"),
    [("2", 2), ("v4", 4), ("step-1", 4), ("stable", 5), ("step-5", 5)],
    ids=["a number", "a retired one", "the newest so called that was retired", "a tag", "the pinned one so called"],
)
async def test_a_pin_goes_by_whatever_its_version_is_called_retired_or_not(
    selector: str, number: int, catalogue: Catalogue, pinning: Pinning
) -> None:
    pin(catalogue, {SHARE: (2, 3, 4, 5)})
    assert (await pinning.change(PinRequest(f"lab/run@{selector}", remove=True))).version == number
    assert catalogue.pinned(SHARE) == {2, 3, 4, 5} - {number}


@pytest.mark.parametrize("selector", ["step-7", "7", "latest", ""])
async def test_what_no_pin_is_called_is_told_with_where_pins_are_listed(
    selector: str, catalogue: Catalogue, pinning: Pinning
) -> None:
    pin(catalogue, {SHARE: (3,)})
    with pytest.raises(NotFound) as refused:
        await pinning.change(PinRequest(f"lab/run@{selector}", remove=True))
    assert refused.value.next_step == "p2pckpt pin lists what is pinned, with its number"
    assert catalogue.pinned(SHARE) == {3}
