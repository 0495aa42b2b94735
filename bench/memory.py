"""One publish and one fetch at a size: speed, CPU and what every process held at its worst moment."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.generate import make_checkpoint
from bench.homes import Usage, running, settle
from bench.table import Row

TENSORS = 1000
MAX_RSS = 250e6
MAX_STALL_MS = 50
_IDLE = """
import asyncio, sys
from p2pckpt.daemon.stalls import StallMeter

async def main():
    reading = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not reading.done():
        await asyncio.sleep(0.01)

meter = StallMeter()
with asyncio.Runner(loop_factory=meter.loop) as runner:
    runner.run(main())
print(meter.longest * 1000)
"""
"""What the machine does to an event loop that does nothing: its stalls are waits for a core."""


async def measure(directory: Path, size: int) -> list[Row]:
    """Rows for ``size`` bytes of bf16 in 1,000 tensors."""
    directory.mkdir()
    source = directory / "model"
    make_checkpoint(source, size, tensors=TENSORS)
    (file,) = source.glob("*.safetensors")
    warm = directory / "warm"
    warm.mkdir()
    (warm / "note.txt").write_text("the first share starts the tracker\n")
    async with running(directory / "publisher") as publisher:
        idle = subprocess.Popen([sys.executable, "-c", _IDLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        await publisher.publish(warm, "warm")
        settle(2 * size)
        before, begin = publisher.usage().cpu, time.perf_counter()
        job = await publisher.publish(source, "model")
        seconds = time.perf_counter() - begin
        cpu = publisher.usage().cpu - before
        settle(2 * size)
        zstd = _zstd(file, directory / "model.zst")
        settle(3 * size)
        async with running(directory / "receiver") as receiver:
            await receiver.fetch(job.link, directory / "checkout")
            peaks = [("publisher", publisher.usage()), ("receiver", receiver.usage())]
            peaks.append(("tracker", publisher.tracker_usage()))
            stalls = [("publisher", (await publisher.client.status()).max_loop_stall_ms)]
            stalls.append(("receiver", (await receiver.client.status()).max_loop_stall_ms))
    idle_stall = float(idle.communicate()[0])
    shutil.rmtree(directory)
    what = f"{size / 1e9:.0f} GB bf16, {TENSORS:,} tensors"
    speed, zstd_speed = job.size / seconds / 1e6, size / zstd / 1e6
    rows = [
        Row(
            f"publish {what}, durable and registered",
            f"{speed:.0f} MB/s, {cpu:.1f} CPU s",
            f"zstd -3, 2 threads, to a file: {zstd_speed:.0f} MB/s",
            f"{speed / zstd_speed:.2f}×",
        )
    ]
    rows += [_rss(f"peak RSS, {name}, {what}", used) for name, used in peaks]
    rows += [
        Row(
            f"longest stall of the event loop, {name}, {what}",
            f"{stall:.0f} ms",
            f"a loop with nothing to do, meanwhile: {idle_stall:.0f} ms",
            target=f"≤{MAX_STALL_MS} ms",
            met=stall <= MAX_STALL_MS,
        )
        for name, stall in stalls
    ]
    return rows


def _rss(work: str, used: Usage) -> Row:
    target = f"≤{MAX_RSS / 1e6:.0f} MB"
    return Row(work, f"{used.peak_rss / 1e6:.0f} MB", target=target, met=used.peak_rss <= MAX_RSS)


def _zstd(source: Path, target: Path) -> float:
    """Seconds of a process that compresses ``source`` and fsyncs the result; its start is not counted."""
    script = (
        "import os, sys, time, zstandard\n"
        "begin = time.perf_counter()\n"
        "with open(sys.argv[1], 'rb') as source, open(sys.argv[2], 'wb') as sink:\n"
        "    compressor = zstandard.ZstdCompressor(level=3, threads=2)\n"
        "    compressor.copy_stream(source, sink, os.path.getsize(sys.argv[1]), 4 << 20, 4 << 20)\n"
        "    sink.flush()\n"
        "    os.fsync(sink.fileno())\n"
        "print(time.perf_counter() - begin)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, source, target], capture_output=True, check=True, text=True)
    target.unlink()
    return float(done.stdout)
