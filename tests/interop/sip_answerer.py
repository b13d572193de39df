"""A small user agent on `SipServer` for independent programs to call: it answers, holds, and counts what happened."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter

from gateway.core.clock import SystemClock
from gateway.core.errors import PeerError
from gateway.core.ids import RandomIds
from gateway.sip.commands import Accept, AnswerOffer, Credentials, HangUp, Place, Reject, Ring
from gateway.sip.events import AnySipEvent, CallAccepted, CallFailed, CallOffered, CallProgressed, OfferReceived
from gateway.sip.flow import Transport
from gateway.sip.io import EndpointOptions, SipServer
from gateway.sip.offer_answer import LocalMedia, answer, offer


class Answerer:
    """Rings and accepts every call; `busy` and `ring` (never answered) as called user parts do what they say.

    `early` gets early media, and is accepted once it has offered another session. `tls` protects connections.
    """

    def __init__(
        self, options: EndpointOptions | None = None, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.counts: Counter[str] = Counter()
        self.events: list[AnySipEvent] = []
        self.media = LocalMedia(host, 40_000)
        self._early: set[str] = set()
        self.server = SipServer(
            options or EndpointOptions(),
            clock=SystemClock(),
            ids=RandomIds(),
            on_event=self._on_event,
            tls_server=tls,
        )
        self._transports: tuple[Transport, ...] = ("tls",) if tls else ("udp", "tcp")

    async def __aenter__(self) -> Answerer:
        await self.server.start(self.host, 0, self._transports)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    def _on_event(self, event: AnySipEvent) -> None:
        self.counts[type(event).__name__] += 1
        self.events.append(event)
        if isinstance(event, CallOffered):
            self._offered(event)
        elif isinstance(event, OfferReceived):
            sdp = answer(event.sdp, self.media).sdp if event.sdp else offer(self.media)
            self.server.send(AnswerOffer(event.dialog, sdp))
            if event.dialog in self._early:
                self._early.discard(event.dialog)
                self.server.send(Accept(event.dialog, sdp))

    def _offered(self, event: CallOffered) -> None:
        if event.called == "busy":
            self.server.send(Reject(event.dialog, 486))
            return
        if event.called == "early" and event.sdp:
            self._early.add(event.dialog)
            self.server.send(Ring(event.dialog, 183, answer(event.sdp, self.media).sdp))
            return
        self.server.send(Ring(event.dialog))
        if event.called == "ring":
            return
        try:
            sdp = answer(event.sdp, self.media).sdp if event.sdp else offer(self.media)
        except PeerError as error:
            self.server.send(Reject(event.dialog, error.status_hint))
            return
        self.server.send(Accept(event.dialog, sdp))


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


class Caller:
    """Places calls and says BYE `hold_s` after they are accepted; `outcomes` holds how each attempt ended."""

    def __init__(self, credentials: Credentials | None = None, hold_s: float = 0.0) -> None:
        self.credentials = credentials
        self.hold_s = hold_s
        self.outcomes: list[AnySipEvent] = []
        self.progress: Counter[int] = Counter()
        self._done = asyncio.Event()
        self._wanted = 0
        self.server = SipServer(EndpointOptions(), clock=SystemClock(), ids=RandomIds(), on_event=self._on_event)

    async def __aenter__(self) -> Caller:
        await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    def _on_event(self, event: AnySipEvent) -> None:
        if isinstance(event, CallProgressed):
            self.progress[event.status] += 1
        elif isinstance(event, CallAccepted | CallFailed):
            self.outcomes.append(event)
            if isinstance(event, CallAccepted):
                asyncio.get_running_loop().call_later(self.hold_s, self.server.send, HangUp(event.dialog))
            if len(self.outcomes) == self._wanted:
                self._done.set()

    async def call(self, port: int, transport: Transport, calls: int, per_s: int = 50, within_s: float = 60) -> None:
        """Place `calls` calls and wait for all their outcomes."""
        self._wanted = calls
        flow = self.server.flow_to("127.0.0.1", port, transport)
        sdp = offer(LocalMedia("127.0.0.1", 40_000))
        uri = f"sip:bob@127.0.0.1:{port}" + ("" if transport == "udp" else f";transport={transport}")
        loop = asyncio.get_running_loop()
        for number in range(calls):
            placed = Place(f"out-{number}", uri, flow, sdp, "sip:desk@127.0.0.1", credentials=self.credentials)
            loop.call_later(number / per_s, self.server.send, placed)
        await asyncio.wait_for(self._done.wait(), within_s)
