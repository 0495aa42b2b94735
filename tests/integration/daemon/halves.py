"""Fetches that stop half way of themselves: the only seed there is has one file of two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2pckpt.control import messages as m

from ...support.homes import Home, seeded_bytes, write_files

MIB = 1 << 20
HALF = 6 * MIB
"""Bytes of each of the files."""


@dataclass(frozen=True)
class HalfSeeded:
    """A version of which ``first.bin`` can be had, and ``last.bin`` only once its publisher seeds again."""

    publisher: Home
    source: Path
    job: m.Job

    async def caught(self, home: Home, target: Path, *, durable: bool = True) -> m.Job:
        """A fetch that has all of the first file (and its disk, too, if ``durable``) and waits for the rest."""
        job = await home.client.fetch(m.FetchRequest(source=self.job.link, to=str(target)))
        return await home.wait_until(job.id, lambda job: job.wire_done >= HALF and (job.done >= HALF or not durable))

    async def seed_the_rest(self) -> None:
        await self.publisher.client.resume(self.job.id)


async def half_seeded(publisher: Home, other: Home, directory: Path, name: str) -> HalfSeeded:
    """Publish below ``directory``, let ``other`` have the first file, and stop seeding."""
    source = write_files(
        directory / "source",
        {
            "README.md": b"# Half\n",
            "first.bin": seeded_bytes(HALF, f"{name} 1"),
            "last.bin": seeded_bytes(HALF, f"{name} 2"),
        },
    )
    job = await publisher.share(source, name=name)
    await other.get(job.link, directory / "first half", only=("first.bin",))
    await publisher.client.pause(job.id)
    return HalfSeeded(publisher, source, job)
