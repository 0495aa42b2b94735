"""Reading ranges of a version without a checkout: where the bytes come from, and what is fetched for them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import zipfile
from pathlib import Path

import pytest

from p2pckpt.control import access_messages as am
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Role

from ...support.homes import Home, failure, flip_bit, seeded_bytes, tree, until, write_files
from ...support.owner import change_keyring
from ...support.reading import pieces_here, pieces_of
from ...support.training import later, safetensors, weights

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20
SIZE = 12 * MIB
SOON = 1.0
"""Seconds of patience of who knows that nobody will come."""


async def published(alice: Home, directory: Path, name: str) -> tuple[m.Job, bytes]:
    data = seeded_bytes(SIZE, name)
    source = write_files(directory / "source", {"model.bin": data, "README.md": b"# Read\n"})
    return await alice.share(source, name=name), data


async def read(home: Home, name: str, start: int = 0, end: int | None = None, **options: object) -> bytes:
    return await home.client.read_all(name, "model.bin", start, end, allow_unsafe_pickle=True, **options)


async def test_only_the_pieces_under_a_range_are_fetched_and_none_of_them_twice(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    job, data = await published(alice, tmp_path, "read/range")
    before = await pieces_here(bob)
    contents = await bob.client.contents(job.link)
    assert {file.path: file.size for file in contents.files} == {"README.md": 7, "model.bin": SIZE}
    assert (contents.share, contents.version, contents.path) == ("read/range", 1, "")
    name = f"{contents.share_id}@1"
    assert await read(bob, name, 5 * MIB, 6 * MIB + 5) == data[5 * MIB : 6 * MIB + 5]
    expected = await pieces_of(bob, name, "model.bin", 5 * MIB, 6 * MIB + 5)
    assert len(expected) < 5

    async def noted() -> bool:
        return await pieces_here(bob) - before == expected

    await until(noted, "exactly those pieces are durable")
    assert await bob.client.read_all("read/range", "README.md") == b"# Read\n"
    assert await read(bob, "read/range@latest") == data
    assert await read(bob, "read/range", SIZE) == b""
    (row,) = [peer for peer in (await alice.client.peers()).peers if "read/range" in peer.shares] or [None]
    assert row is None or row.total_up <= job.wire_done + MIB
    got = await bob.get("read/range", tmp_path / "checkout")
    assert got.wire_done == 0  # reading has fetched all of it, and a fetch takes it from the store
    assert tree(tmp_path / "checkout") == tree(tmp_path / "source")


async def test_more_files_than_there_are_threads_are_read_for_the_first_time_at_once(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    files = {f"part{n}.bin": seeded_bytes(100_000, n) for n in range(80)}
    job = await alice.share(write_files(tmp_path / "source", files), name="read/many")
    await bob.client.contents(job.link)
    found = await asyncio.gather(*(bob.client.read_all("read/many", path) for path in files))
    assert dict(zip(files, found, strict=True)) == files


async def test_a_fetch_and_readers_of_one_version_share_what_arrives(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, data = await published(alice, tmp_path, "read/beside")
    await bob.client.contents(job.link)
    assert await read(bob, "read/beside", 3 * MIB, 4 * MIB) == data[3 * MIB : 4 * MIB]
    await bob.limit(4 * MIB)
    try:
        fetching = await bob.client.fetch(m.FetchRequest(source="read/beside", to=str(tmp_path / "checkout")))
        ranges = [(10 * MIB, 11 * MIB), (0, MIB), (SIZE - 9, SIZE), (3 * MIB, 4 * MIB)]
        found = await asyncio.gather(*(read(bob, "read/beside", *each) for each in ranges))
        assert found == [data[start:end] for start, end in ranges]
        await bob.limit(0)
        done = await bob.wait_job(fetching.id)
    finally:
        await bob.limit(0)
    assert tree(tmp_path / "checkout") == tree(tmp_path / "source")
    assert done.wire_size < job.wire_done  # what was read before is not fetched
    assert await read(bob, "read/beside") == data


async def test_what_was_read_survives_a_kill_and_is_read_again_without_anybody(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    job, data = await published(alice, tmp_path, "read/killed")
    async with Home(tmp_path / "dave") as dave:
        await dave.client.contents(job.link)
        wanted = await pieces_of(dave, "read/killed", "model.bin", 0, 4 * MIB)
        assert await read(dave, "read/killed", 0, 4 * MIB) == data[: 4 * MIB]

        async def noted() -> bool:
            return await pieces_here(dave) >= wanted

        await until(noted, "what was read is durable")
        async with contextlib.aclosing(dave.client.read("read/killed", "model.bin", 8 * MIB)) as blocks:
            async for _ in blocks:  # in the middle of more
                break
            await dave.kill()
        await alice.client.pause(job.id)
        await dave.start()
        assert await read(dave, "read/killed", 0, 4 * MIB, patience=SOON) == data[: 4 * MIB]
        error = await failure(read(dave, "read/killed", 5 * MIB, 7 * MIB, patience=SOON))
        assert (error.code, error.exit_code) == ("no_seeds", 9)
        await alice.client.resume(job.id)
        assert await read(dave, "read/killed") == data


async def test_a_checkout_is_read_where_its_bytes_are_right_and_nowhere_else(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    job, data = await published(alice, tmp_path, "read/edited")
    await bob.get(job.link, tmp_path / "checkout", seed=False)
    await alice.client.pause(job.id)
    assert await read(bob, "read/edited", patience=SOON) == data
    assert (await bob.client.contents("read/edited")).path == str(tmp_path / "checkout")
    flip_bit(tmp_path / "checkout" / "model.bin", 7 * MIB)
    name = f"{job.share_id}@1"
    await bob.restart()  # what was decoded a moment ago is still known
    assert await read(bob, name, 0, MIB, patience=SOON) == data[:MIB]
    error = await failure(read(bob, name, 7 * MIB - 5, 7 * MIB + 5, patience=SOON))
    assert error.exit_code == 9
    await alice.client.resume(job.id)
    assert await read(bob, name) == data
    await alice.client.pause(job.id)
    (tmp_path / "checkout" / "model.bin").unlink()
    assert await read(bob, name, 7 * MIB - 5, 7 * MIB + 5, patience=SOON) == data[7 * MIB - 5 : 7 * MIB + 5]


async def test_damage_in_the_store_is_noticed_and_fetched_again(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, data = await published(alice, tmp_path, "read/damaged")
    await bob.get(job.link, tmp_path / "checkout")
    (tmp_path / "checkout" / "model.bin").unlink()
    for root, piece in await pieces_of(bob, "read/damaged", "model.bin", 2 * MIB, 3 * MIB):
        path = bob.store / "objects" / root[:2] / root
        for offset in range(piece * MIB, min((piece + 1) * MIB, path.stat().st_size), 10_000):
            flip_bit(path, offset)
    assert await read(bob, "read/damaged") == data
    await bob.verify("read/damaged", repair=True)


async def test_what_makes_no_sense_is_refused_before_the_first_byte(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, _ = await published(alice, tmp_path, "read/refused")
    await bob.client.contents(job.link)
    missing = await failure(bob.client.read_all("read/refused", "model.safetensors"))
    assert (missing.code, missing.exit_code) == ("not_found", 5)
    assert (await failure(bob.client.read_all("nobody/knows", "model.bin"))).exit_code == 5
    assert (await failure(bob.client.read_all("read/refused@9", "model.bin"))).exit_code == 5
    for start, end in ((5, 4), (0, SIZE + 1), (SIZE + 1, None), (-1, 5)):
        assert (await failure(read(bob, "read/refused", start, end))).exit_code == 2
    assert (await failure(read(bob, "read/refused", patience=-1))).exit_code == 2


async def test_deltas_are_read_from_their_own_pieces_and_those_of_their_bases(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    tensors, directory = weights(layers=4), tmp_path / "run"
    for step in (1, 2):
        tensors = later(tensors, step)
        file = safetensors(tensors)
        write_files(directory, {"model.safetensors": file})
        job = await alice.share(directory, name="read/deltas", step=step, delta=True)
    before = await pieces_here(bob)
    await bob.client.contents(job.link)
    contents = await bob.client.contents("read/deltas@2")
    (tensor,) = [each for each in contents.tensors if each.name == "layer.2.weight"]
    place = tensor.offset, tensor.offset + tensor.length
    found = await bob.client.read_all("read/deltas@2", "model.safetensors", *place, allow_unsafe_pickle=True)
    assert found == file[slice(*place)]
    expected = await pieces_of(bob, "read/deltas@2", "model.safetensors", *place)
    assert len({root for root, _ in expected}) == 2

    async def noted() -> bool:
        return await pieces_here(bob) - before == expected

    await until(noted, "the frames of the tensor and of its base are here")
    assert await bob.client.read_all("read/deltas@2", "model.safetensors") == file


async def test_a_dangerous_pickle_is_not_handed_over_unless_that_is_asked_for(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("model/data.pkl", b"\x80\x02cmystery.module\nThing\n)R.")
        members.writestr("model/data/0", seeded_bytes(MIB, 5))
    data = archive.getvalue()
    source = write_files(tmp_path / "source", {"model.pt": data, "broken.pt": data[: len(data) // 2]})
    job = await alice.share(source, name="read/pickle", allow_unsafe_pickle=True)
    await bob.client.contents(job.link)
    assert await bob.client.read_all("read/pickle", "model.pt") == data  # unknown, and so told at `get`, not refused
    error = await failure(bob.client.read_all("read/pickle", "broken.pt"))
    assert (error.code, error.exit_code) == ("unsafe_content", 6)
    allowed = await bob.client.read_all("read/pickle", "broken.pt", allow_unsafe_pickle=True)
    assert allowed == data[: len(data) // 2]


async def test_a_licence_has_to_be_accepted_before_the_first_byte(alice: Home, bob: Home, tmp_path: Path) -> None:
    job, _ = await published(alice, tmp_path, "read/licensed")
    await change_keyring(alice, job.link, licence="openrail-m")
    assert len((await bob.client.contents(job.link)).files) == 2
    error = await failure(read(bob, "read/licensed"))
    assert (error.code, error.exit_code) == ("licence", 4)
    await bob.get("read/licensed", tmp_path / "checkout", accept_licence="openrail-m", only=("README.md",))
    assert len(await read(bob, "read/licensed")) == SIZE


async def test_a_viewer_is_told_what_is_in_a_version_and_gets_no_byte_of_it(
    alice: Home, carol: Home, tmp_path: Path
) -> None:
    await published(alice, tmp_path, "read/viewed")
    made = await alice.client.create_link(am.CreateLinkRequest(share="read/viewed", role=Role.VIEWER))
    assert len((await carol.client.contents(made.link)).files) == 2
    error = await failure(read(carol, "read/viewed", patience=SOON))
    assert error.exit_code == 4


async def test_a_version_that_is_taken_off_the_machine_is_read_no_more_from_here(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    job, data = await published(alice, tmp_path, "read/dropped")
    await bob.client.contents(job.link)
    assert await read(bob, "read/dropped", 0, MIB) == data[:MIB]
    await bob.client.drop_version("read/dropped@1")
    assert not await pieces_of(bob, "read/dropped", "model.bin") & await pieces_here(bob)
    assert await read(bob, "read/dropped") == data
    await bob.client.leave("read/dropped")
    assert (await failure(read(bob, job.share_id))).exit_code == 5
