"""Virtual time: waiting costs nothing, order never varies, and waiting for nothing is an error."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import elapse

from gateway.core.clock import LoopClock, SystemClock
from gateway.core.errors import MisuseError
from gateway.core.loops import VirtualLoop, all_of, run_virtual


def test_a_month_passes_at_once() -> None:
    """Waiting moves the loop's clock and nobody's life: this test would else outlive its timeout."""

    async def main() -> float:
        await elapse(30 * 86400.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 30 * 86400.0


@given(delays=st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_timers_fire_in_order_of_time(delays: list[int]) -> None:
    """The same program gives the same order in every run. (Ties are asyncio's: always the same, but not always in
    the order of making.)"""

    async def main() -> list[tuple[float, int]]:
        fired: list[tuple[float, int]] = []
        loop = asyncio.get_running_loop()

        async def wait(index: int, delay: float) -> None:
            await elapse(delay)
            fired.append((loop.time(), index))

        await asyncio.gather(*(wait(index, float(delay)) for index, delay in enumerate(delays)))
        return fired

    fired = run_virtual(main())
    assert fired == run_virtual(main())
    assert fired == [(float(delays[index]), index) for _, index in fired]
    assert [at for at, _ in fired] == sorted(delays)


def test_timeouts_count_virtual_seconds() -> None:
    """What protects live calls from hanging protects replayed ones, at the same second."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(32.0):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(32.0)


def test_waiting_for_ever_is_an_error() -> None:
    """A replay in which nobody will ever do anything again ends with a message and does not hang."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(MisuseError, match="wait for ever"):
        run_virtual(main())


def test_work_that_is_ready_takes_no_time() -> None:
    """Tasks that hand over to each other do so within one instant."""

    async def main() -> float:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for number in range(100):
                await queue.put(number)

        producer = asyncio.create_task(produce())
        assert [await queue.get() for _ in range(100)] == list(range(100))
        await producer
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 0.0


def test_the_result_and_the_error_come_out() -> None:
    """`run_virtual` is `asyncio.run` in everything but time; each run starts at zero."""

    async def fail() -> None:
        await elapse(1.0)
        raise ValueError("mine")

    async def succeed() -> tuple[str, float]:
        await elapse(1.0)
        return "done", asyncio.get_running_loop().time()

    with pytest.raises(ValueError, match="mine"):
        run_virtual(fail())
    assert run_virtual(succeed()) == ("done", 1.0)


def test_the_loop_clock_reads_the_loop() -> None:
    """Under a virtual loop, `now`, `wall` and `sleep_until` all run on virtual time; the past is not waited for."""

    async def main() -> None:
        clock = LoopClock(asyncio.get_running_loop(), wall_at_zero=1_000_000.0)
        assert (clock.now(), clock.wall()) == (0.0, 1_000_000.0)
        await clock.sleep_until(90.0)
        assert (clock.now(), clock.wall()) == pytest.approx((90.0, 1_000_090.0))
        await clock.sleep_until(10.0)
        assert clock.now() == pytest.approx(90.0)

    run_virtual(main())


def test_the_loop_closes_cleanly() -> None:
    """A loop that was never run, or was, leaves no file descriptor behind."""
    loop = VirtualLoop()
    assert loop.time() == 0.0
    loop.run_until_complete(elapse(0.0))
    loop.close()
    assert loop.is_closed()


def test_steps_go_on_at_once() -> None:
    """Three steps of one to three seconds take three."""

    async def main() -> float:
        await all_of(elapse(1.0), elapse(3.0), elapse(2.0))
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 3.0


def test_a_step_that_fails_ends_the_others_first() -> None:
    """Whoever is told of the fault finds nothing still under way, not even what others had to put in order."""
    ended: list[float] = []

    async def fail() -> None:
        await elapse(1.0)
        raise ValueError("mine")

    async def tidy_up_slowly() -> None:
        try:
            await elapse(60.0)
        finally:
            await elapse(2.0)
            ended.append(asyncio.get_running_loop().time())

    async def main() -> float:
        with pytest.raises(ValueError, match="mine"):
            await all_of(tidy_up_slowly(), fail(), tidy_up_slowly())
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 3.0
    assert ended == [3.0, 3.0]


async def test_the_system_clock_is_the_loops_own() -> None:
    """Live, `now` may be compared with loop deadlines, `wall` with other machines, and the past is not waited for."""
    clock = SystemClock()
    assert clock.now() == pytest.approx(asyncio.get_running_loop().time(), abs=1.0)
    assert clock.wall() == pytest.approx(time.time(), abs=1.0)
    before = clock.now()
    await clock.sleep_until(before - 5.0)
    await clock.sleep_until(before + 0.01)
    assert clock.now() >= before + 0.01


def test_a_virtual_year_passes_like_a_second() -> None:
    """Far from zero a float's step exceeds a nanosecond; timers must still come due."""

    async def wait() -> float:
        await elapse(3.2e7)
        await elapse(0.02)
        return asyncio.get_running_loop().time()

    assert run_virtual(wait()) == pytest.approx(3.2e7 + 0.02)
