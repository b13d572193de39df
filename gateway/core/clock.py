"""Time as something you are handed. Only shells hold a Clock; the machines take `now` as an argument."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds on a clock that never steps (`now`), seconds since 1970 (`wall`), and waiting on the former."""

    def now(self) -> float: ...

    def wall(self) -> float: ...

    async def sleep_until(self, t: float) -> None: ...


class SystemClock:
    """The machine's own. `now` is CLOCK_MONOTONIC, which all processes of one machine share."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep_until(self, t: float) -> None:
        await asyncio.sleep(max(0.0, t - time.monotonic()))


class LoopClock:
    """The running event loop's time. Under a `VirtualLoop` this is the virtual clock; `wall` runs in step with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, wall_at_zero: float = 0.0) -> None:
        self._loop = loop
        self._wall_at_zero = wall_at_zero

    def now(self) -> float:
        return self._loop.time()

    def wall(self) -> float:
        return self._wall_at_zero + self._loop.time()

    async def sleep_until(self, t: float) -> None:
        await asyncio.sleep(max(0.0, t - self._loop.time()))
