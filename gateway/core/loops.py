"""An asyncio loop whose time is virtual: waiting costs nothing, and every run is the same."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

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

    def time(self) -> float:
        return self._skipping.elapsed


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end under a fresh `VirtualLoop` that starts at 0 s."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
