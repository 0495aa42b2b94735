"""A power cut while a fetch runs: whatever was not made durable comes back as garbage, or not at all."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pckpt.checkpoint.pieces import PieceSet
from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.control import messages as m

from ..support.homes import Home, tree
from .rounds import Rounds, has_moved, seeds, stored_objects

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


@seeds(*range(5))
async def test_what_was_not_durable_at_a_power_cut_is_not_believed(
    published: m.Job, checkpoint: Path, rounds: Rounds, seed: int
) -> None:
    async def power_cut(seed: int, directory: Path) -> str:
        chance = random.Random(seed)
        target = directory / "target"
        async with Home(directory / "receiver", download_limit=16 * MIB) as receiver:
            job = await receiver.client.fetch(m.FetchRequest(source=published.link, to=str(target)))
            manifest = await receiver.client.manifest("faults")
            fraction = chance.uniform(0.2, 1.0)
            job = await receiver.wait_until(job.id, has_moved(fraction))
            total = job.wire_size
            await receiver.kill()
            if job.state.ended:
                return "ended before the cut"
            lost_pieces = spoil_store(chance, receiver.store, manifest)
            lost_places = spoil_checkout(chance, directory / ".target.p2pckpt-partial", manifest)
            await receiver.start()
            done = await receiver.wait_job(job.id)
            assert done.wire_done == done.wire_size <= total
            assert tree(target) == tree(checkpoint)
            await receiver.verify(str(target), full=True)
        return f"cut at {fraction:.2f}: {lost_pieces} pieces and {lost_places} places were lost"

    await rounds.result(seed, power_cut)


def spoil_store(chance: random.Random, store: Path, manifest: dict[str, Any]) -> int:
    """Overwrite, cut off or remove what the catalogue does not vouch for; how many pieces that were."""
    noted, lost = stored_objects(store), 0
    for row in manifest["objects"]:
        root, length = row["root"], row["length"]
        path = store / "objects" / root[:2] / root
        if not path.exists():
            continue
        pieces = noted[root].pieces if root in noted else PieceSet()
        if not pieces and chance.random() < 0.3:
            path.unlink()
            continue
        count = -(-length // PIECE_LENGTH)
        with path.open("r+b") as file:
            for piece in range(count):
                if piece not in pieces:
                    spoil(chance, file.fileno(), piece * PIECE_LENGTH, min(PIECE_LENGTH, length - piece * PIECE_LENGTH))
                    lost += 1
            if chance.random() < 0.5:
                last = max(pieces, default=-1)
                file.truncate(min(length, (last + 1) * PIECE_LENGTH))
    return lost


def spoil_checkout(chance: random.Random, partial: Path, manifest: dict[str, Any]) -> int:
    """The same with what the bitmap of the partial checkout does not vouch for; how many places that were."""
    bitmap = partial / "placed"
    placed = PieceSet(bitmap.read_bytes() if bitmap.exists() else b"")
    lost, numbers = 0, places(manifest)
    for file in manifest["files"]:
        path = partial / "files" / file["path"]
        mine = [next(numbers) for _ in file["chunks"]]
        if not path.exists():
            continue
        kept = [place for place in mine if place[0] in placed]
        if not kept and chance.random() < 0.3:
            path.unlink()
            continue
        with path.open("r+b") as sink:
            for number, offset, length in mine:
                if number not in placed:
                    spoil(chance, sink.fileno(), offset, length)
                    lost += 1
            if not kept and chance.random() < 0.3:
                sink.truncate(0)
    return lost


def places(manifest: dict[str, Any]) -> Iterator[tuple[int, int, int]]:
    """(number, offset in its file, length) of every place, in the order in which the bitmap counts them."""
    number = 0
    for file in manifest["files"]:
        offset = 0
        for chunk in file["chunks"]:
            length = manifest["chunks"][chunk]["length"]
            yield number, offset, length
            number, offset = number + 1, offset + length


def spoil(chance: random.Random, descriptor: int, offset: int, length: int) -> None:
    data = bytes(length) if chance.random() < 0.3 else chance.randbytes(length)
    os.pwrite(descriptor, data, offset)
