"""The meter of an event loop's stalls."""

from __future__ import annotations

import asyncio
import ctypes
import threading
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


def test_what_was_before_a_reset_does_not_count() -> None:
    meter = StallMeter()

    async def block() -> None:
        time.sleep(1)
        meter.reset()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=meter.loop) as runner:
        runner.run(block())
    assert meter.longest < 1


def test_a_loop_that_waits_for_long_does_not_stall() -> None:
    meter = StallMeter()

    async def wait_for_something() -> None:
        meter.reset()
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(1, event.set)
        await event.wait()

    with asyncio.Runner(loop_factory=meter.loop) as runner:
        runner.run(wait_for_something())
    assert meter.longest < 1


def test_a_thread_that_keeps_the_interpreter_s_lock_stalls_a_loop_that_waits_for_it() -> None:
    meter = StallMeter()

    async def wait_for_a_thread() -> None:
        meter.reset()
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def keep() -> None:
            ctypes.PyDLL(None).usleep(500_000)
            loop.call_soon_threadsafe(event.set)

        thread = threading.Thread(target=keep)
        loop.call_later(0.02, thread.start)
        await event.wait()
        thread.join()

    with asyncio.Runner(loop_factory=meter.loop) as runner:
        runner.run(wait_for_a_thread())
    assert meter.longest >= 0.3
