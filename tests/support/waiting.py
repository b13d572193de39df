"""Waiting for what cannot tell us: other people's programs and files; and for turns of the event loop, which no clock
counts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(true: Callable[[], T], *, within_s: float, every_s: float = 0.03) -> T:
    """What `true` gives once it is true. Looks again and again: for files and processes that cannot tell us."""
    deadline = time.monotonic() + within_s
    while not (result := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s")
        threading.Event().wait(every_s)
    return result


async def turns(count: int = 1) -> None:
    """Let everything that is ready run so many times: tasks begin, hand over, and take note that they are cancelled."""
    for _ in range(count):
        await asyncio.sleep(0)
