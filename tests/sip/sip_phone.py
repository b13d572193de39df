"""A phone on real sockets, with our own stack under it."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from sip_wire import OUR_SDP

from gateway.core.clock import SystemClock
from gateway.core.ids import SeededIds
from gateway.sip.commands import Accept, Place
from gateway.sip.events import AnySipEvent, CallOffered
from gateway.sip.io import EndpointOptions, SipServer

E = TypeVar("E")


class Phone:
    """Accepts every call; what it hears can be waited for."""

    def __init__(self, name: str = "phone", *, keep_alive_s: float = 25.0, **more: Any) -> None:
        """`more` is for `SipServer`: patience, TLS contexts."""
        self.heard: asyncio.Queue[AnySipEvent] = asyncio.Queue()
        self.server = SipServer(
            EndpointOptions(keep_alive_s=keep_alive_s),
            clock=SystemClock(),
            ids=SeededIds(name),
            on_event=self._on_event,
            **more,
        )

    def _on_event(self, event: AnySipEvent) -> None:
        self.heard.put_nowait(event)
        if isinstance(event, CallOffered):
            self.server.send(Accept(event.dialog, OUR_SDP))

    async def next(self, kind: type[E] = object) -> E:  # type: ignore[assignment]
        """The next thing it hears, of this kind; what comes before that is passed over."""
        async with asyncio.timeout(10):
            while not isinstance(event := await self.heard.get(), kind):
                pass
            return event

    def call(self, port: int, name: str = "out") -> None:
        flow = self.server.flow_to("127.0.0.1", port)
        self.server.send(Place(name, "sip:desk@127.0.0.1", flow, OUR_SDP, "sip:caller@127.0.0.1"))
