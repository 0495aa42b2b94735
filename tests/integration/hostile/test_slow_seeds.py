"""Seeds that are slow, or stop, or never send: what an honest one has arrives all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.checkpoint.plan import PIECE_LENGTH
from p2pckpt.control import messages as m
from p2pckpt.swarm import torrent as torrents
from p2pckpt.tracker_protocol import Visibility

from ...support.homes import Home, seeded_bytes, tree, write_files
from .slow import Pace, slow_seeds
from .test_malicious_seeds import seed_files

MIB = 1 << 20
SIZE = 32 * MIB
PATIENCE = 150.0
PACES = [Pace.TRICKLE] * 4 + [Pace.STOP_IN_PIECES] * 4 + [Pace.SILENT] * 2
SLOW_LINK = 100 * 1000
"""Bytes per second."""


def laid_out(torrent: bytes, info_hash: str, files: dict[str, bytes]) -> bytes:
    """The bytes of a torrent's pieces, one after the other; each file begins a piece."""
    parsed = torrents.parse(torrent, bytes.fromhex(info_hash))
    contents = [files[f"manifest-{parsed.manifest.root.hex()}"]]
    contents += [files[f"objects/{file.root.hex()}"] for file in parsed.objects]
    return b"".join(data + bytes(-len(data) % PIECE_LENGTH) for data in contents)


@pytest.mark.timeout(240)
async def test_slow_stopping_and_silent_seeds_do_not_hold_up_a_download(tmp_path: Path) -> None:
    source = write_files(tmp_path / "model", {"a.bin": seeded_bytes(SIZE), "config.json": b"{}\n"})
    async with (
        Home(tmp_path / "publisher") as publisher,
        Home(tmp_path / "receiver", download_limit=8 * MIB) as receiver,
    ):
        job = await publisher.share(source, name="slow/model", to=Visibility.PUBLIC)
        (info_hash,) = (await publisher.client.version_detail(job.share)).info_hashes
        torrent, files = seed_files(publisher, info_hash)
        (port,) = (await receiver.client.status()).listen_ports[:1]
        data = laid_out(torrent, info_hash, files)
        async with slow_seeds(PACES, port, bytes.fromhex(info_hash), data, PIECE_LENGTH) as seeds:
            fetch = await receiver.client.fetch(m.FetchRequest(source=job.link, to=str(tmp_path / "out")))
            await receiver.wait_job(fetch.id, deadline=PATIENCE)
            assert tree(tmp_path / "out") == tree(source)
            assert {seed.pace for seed in seeds if seed.asked} == set(Pace), "not every kind of slow seed was asked"


async def test_an_honest_seed_behind_a_slow_link_is_enough(tmp_path: Path) -> None:
    source = write_files(tmp_path / "model", {"a.bin": seeded_bytes(MIB), "config.json": b"{}\n"})
    async with (
        Home(tmp_path / "publisher", upload_limit=SLOW_LINK) as publisher,
        Home(tmp_path / "receiver") as receiver,
    ):
        job = await publisher.share(source, name="slow/link", to=Visibility.PUBLIC)
        await receiver.get(job.link, tmp_path / "out")
        assert tree(tmp_path / "out") == tree(source)
