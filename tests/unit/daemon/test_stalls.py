"""The meter of an event loop's stalls."""

from __future__ import annotations

import asyncio
import time

from p2pckpt.daemon.stalls import StallMeter


def test_a_callback_that_blocks_the_loop_is_a_stall_of_that_length() -> None:
    meter = StallMeter()

    async def block() -> None:
        meter.reset()
        time.sleep(0.05)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=meter.loop) as runner:
        runner.run(block())
        longest = meter.longest
        assert longest >= 0.05
        runner.run(asyncio.sleep(0.01))
        assert meter.longest >= longest, "the longest stays"
    meter.reset()
    assert meter.longest == 0


def test_a_loop_that_waits_has_no_stall_as_long_as_its_wait() -> None:
    meter = StallMeter()

    async def wait_for_something() -> None:
        meter.reset()
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, event.set)
        begin = time.monotonic()
        await event.wait()
        assert meter.longest < time.monotonic() - begin

    with asyncio.Runner(loop_factory=meter.loop) as runner:
        runner.run(wait_for_something())
