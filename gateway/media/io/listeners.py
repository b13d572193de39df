"""Who hears what of which leg."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from gateway.media.ports import Said

log = structlog.get_logger()

Listener = Callable[[Said], None]


class Listeners:
    """A listener that raises is our caller's bug, and must not stop the others."""

    def __init__(self) -> None:
        self._by_leg: dict[str, Listener] = {}

    def subscribe(self, leg: str, listener: Listener) -> None:
        self._by_leg[leg] = listener

    def unsubscribe(self, leg: str) -> None:
        self._by_leg.pop(leg, None)

    def deliver(self, leg: str, news: Iterable[Said]) -> None:
        for said in news:
            # Looked up each time: who hears the first of them may be gone for the next.
            if (listener := self._by_leg.get(leg)) is not None:
                try:
                    listener(said)
                except Exception:
                    log.exception("media.listener_failed", leg=leg, said=type(said).__name__)

    def deliver_soon(self, leg: str, news: Iterable[Said]) -> None:
        """Not at once: whoever gave a command is still about it."""
        asyncio.get_running_loop().call_soon(self.deliver, leg, news)
