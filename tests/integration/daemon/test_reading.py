"""Reading ranges of a version without a checkout: where the bytes come from, and what is fetched for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ...support.homes import Home, seeded_bytes, write_files

pytestmark = pytest.mark.asyncio(loop_scope="package")
MIB = 1 << 20


async def stored_pieces(home: Home) -> int:
    return (await home.client.status()).stored_bytes


async def test_a_range_of_a_remote_version_is_read_and_only_what_lies_under_it_is_fetched(
    alice: Home, bob: Home, tmp_path: Path
) -> None:
    data = seeded_bytes(24 * MIB, 11)
    source = write_files(tmp_path / "source", {"model.bin": data, "README.md": b"# Read\n"})
    job = await alice.share(source, name="read/range")
    contents = await bob.client.contents(job.link)
    assert [file.path for file in contents.files] == ["README.md", "model.bin"]
    name = f"{contents.share_id}@{contents.version}"
    got = await bob.client.read_all(name, "model.bin", 9 * MIB, 10 * MIB + 5)
    assert got == data[9 * MIB : 10 * MIB + 5]
    print(sum(p.total_down for p in (await bob.client.peers()).peers))
    assert await bob.client.read_all(name, "model.bin") == data
    assert await bob.client.read_all("read/range", "README.md") == b"# Read\n"
