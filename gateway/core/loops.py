"""Loops: one whose time is virtual, and what rings, latches and collects on any of them."""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from gateway.core.clock import Clock
from gateway.core.errors import MisuseError

T = TypeVar("T")


class _SkippingSelector(selectors.DefaultSelector):
    """Instead of sleeping, moves the loop's clock to where the sleep would have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise MisuseError("the virtual loop would wait for ever: nothing is scheduled and no task can go on")
        self.elapsed += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks and timers in order without ever sleeping. Real sockets and threads have no place on it."""

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)
        # asyncio takes a timer for due within the resolution of its clock; the system's nanosecond is below a
        # float's own step once virtual months have passed, and the loop would spin for ever before the timer.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._skipping.elapsed


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end under a fresh `VirtualLoop` that starts at 0 s."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def rarely_collect() -> None:
    """Look for cyclic garbage seldom, and never among what is here already: call it when the process has started.

    Thousands of calls hold hundreds of thousands of objects, hardly any in cycles. At Python's default threshold of
    700 the search costs a fifth of the signalling and stops the loop for milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


async def all_of(*steps: Coroutine[Any, Any, None]) -> None:
    """All at once. The first fault ends the others, and is raised when they have come to their ends."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Alarm:
    """Rings once at a moment on the clock; setting it anew forgets the former moment."""

    def __init__(self, clock: Clock, on_ring: Callable[[], None]) -> None:
        self._clock, self._on_ring = clock, on_ring
        self._at: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float | None) -> None:
        """`at` None silences it. A moment in the past rings at the loop's next turn."""
        if at == self._at:
            return
        self.cancel()
        if at is not None:
            self._at = at
            delay = max(0.0, at - self._clock.now())
            self._handle = asyncio.get_running_loop().call_later(delay, self._ring)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._at = self._handle = None

    def _ring(self) -> None:
        self._at = self._handle = None
        self._on_ring()


class Latch(Generic[T]):
    """One value that comes once, and may be waited for."""

    def __init__(self) -> None:
        self._come = asyncio.Event()
        self._value: T | None = None

    def set(self, value: T) -> None:
        """The first value stays; later ones change nothing."""
        if not self._come.is_set():
            self._value = value
            self._come.set()

    async def get(self, *, within_s: float) -> T | None:
        """The value, or None when it has not come in time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._come.wait(), within_s)
        return self._value
