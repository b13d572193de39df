"""Letting time pass in tests: only ever a virtual loop's, where it costs nothing."""

from __future__ import annotations

import asyncio

from gateway.core.loops import VirtualLoop


async def elapse(seconds: float) -> None:
    """Let so much virtual time pass. On a real loop it refuses: a test that sleeps is slow, and right by luck."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop), "run this scenario with run_virtual"
    await asyncio.sleep(seconds)
