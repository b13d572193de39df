"""What the HTTP office may see and do: `gateway.ops.ports.CallDesk` over the hallway's desk."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from gateway.app.browser import BrowserDoor
from gateway.app.outbound import check_numbers
from gateway.app.trunk_office import TrunkOffice
from gateway.call import commands as c
from gateway.call.io import Desk
from gateway.call.live import LiveCall
from gateway.core import events as e
from gateway.core.errors import PeerError
from gateway.dialplan import Dialplan
from gateway.media.relapses import Losses
from gateway.ops.ports import BrowserAnswer, CallSummary, RouteInfo, TrunkInfo
from gateway.sip.uri import parse_uri
from gateway.store.ports import Session, SessionInfo, SessionStore

CALL_ID = re.compile(r"c-[0-9a-z]+")
REMEMBERED_CALLS = 200
"""How many ended calls the office can still show from memory."""
SUBSCRIBER_LAG = 1000
"""A subscriber this many events behind is dropped."""


class Office:
    """Implements `CallDesk`."""

    def __init__(
        self,
        desk: Desk,
        browsers: BrowserDoor,
        store: SessionStore,
        dialplan: Callable[[], Dialplan],
        calls: Path,
        *,
        trunks: TrunkOffice,
        losses: Losses,
    ) -> None:
        self._trunks, self._losses = trunks, losses
        self._desk, self._browsers, self._store, self._dialplan, self._calls = desk, browsers, store, dialplan, calls
        self._logs: OrderedDict[str, list[e.AnyEvent]] = OrderedDict()
        self._subscribers: list[tuple[str, asyncio.Queue[e.AnyEvent | None]]] = []
        desk.watchers.append(self._watch)

    async def browser_call(self, route: str, offer_sdp: str, caller: str) -> BrowserAnswer:
        if route not in self._dialplan().routes:
            raise PeerError(f"there is no route {route!r}", status_hint=404)
        return await self._browsers.call(route, offer_sdp, caller)

    async def browser_hangup(self, call_id: str) -> bool:
        return self._browsers.hang_up(call_id)

    def routes(self) -> list[RouteInfo]:
        document = self._dialplan().document
        return [
            RouteInfo(name=name, title=name, description=route.about, default=name == document.default)
            for name, route in document.routes.items()
        ]

    def live_calls(self) -> list[CallSummary]:
        return [self._summary(call) for call in self._desk.board]

    async def stats(self, call_id: str) -> dict[str, Any]:
        call = self._desk.board.find(call_id)
        return await call.stats() if call is not None else {}

    def events(self, call_id: str) -> list[e.AnyEvent]:
        try:
            return list(self._logs[call_id])
        except KeyError:
            raise PeerError(f"no call {call_id!r}, or it is long over", status_hint=404) from None

    async def subscribe(self, call_id: str) -> AsyncIterator[e.AnyEvent]:
        queue: asyncio.Queue[e.AnyEvent | None] = asyncio.Queue(SUBSCRIBER_LAG)
        history = self.events(call_id) if call_id != "*" else []
        entry = (call_id, queue)
        self._subscribers.append(entry)
        try:
            for event in history:
                yield event
                if isinstance(event, e.CallEnded):
                    return
            while (event_or_end := await queue.get()) is not None:
                yield event_or_end
                if call_id != "*" and isinstance(event_or_end, e.CallEnded):
                    return
        finally:
            if entry in self._subscribers:
                self._subscribers.remove(entry)

    def hang_up(self, call_id: str) -> None:
        call = self._desk.board.find(call_id)
        if call is None:
            raise PeerError(f"no live call {call_id!r}", status_hint=404)
        call.tell(c.Stop("hangup", "gateway"))

    def transfer(self, call_id: str, to: str) -> None:
        call = self._desk.board.find(call_id)
        if call is None:
            raise PeerError(f"no live call {call_id!r}", status_hint=404)
        if ":" in to:
            parse_uri(to)
        else:
            check_numbers(to, "")
        call.transfer(to)

    def recording(self, call_id: str) -> Path | None:
        if not CALL_ID.fullmatch(call_id) or self._desk.board.find(call_id) is not None:
            return None
        path = self._calls / call_id / "call.wav"
        return path if path.is_file() else None

    async def sessions(self, limit: int) -> list[SessionInfo]:
        return await self._store.recent(limit)

    async def session(self, session_id: str) -> Session:
        return await self._store.load(session_id)

    def place_call(self, to: str, trunk: str, route: str, caller: str) -> str:
        if route not in self._dialplan().routes:
            raise PeerError(f"there is no route {route!r}", status_hint=404)
        return self._trunks.place_call(to, trunk, route, caller)

    def trunks(self) -> list[TrunkInfo]:
        return self._trunks.list()

    def media_losses(self) -> Losses:
        return self._losses

    def ready(self) -> bool:
        return not self._desk.board.draining

    def draining(self) -> bool:
        return self._desk.board.draining

    def _watch(self, call: LiveCall, event: e.AnyEvent) -> None:
        self._logs[call.id] = call.journal.events
        while len(self._logs) > REMEMBERED_CALLS + len(self._desk.board):
            self._logs.popitem(last=False)
        for entry in list(self._subscribers):
            wanted, queue = entry
            if wanted in ("*", call.id):
                self._deliver(entry, queue, event)

    def _deliver(
        self,
        entry: tuple[str, asyncio.Queue[e.AnyEvent | None]],
        queue: asyncio.Queue[e.AnyEvent | None],
        event: e.AnyEvent,
    ) -> None:
        if queue.qsize() >= SUBSCRIBER_LAG - 1:
            queue.put_nowait(None)
            self._subscribers.remove(entry)
        else:
            queue.put_nowait(event)

    def _summary(self, call: LiveCall) -> CallSummary:
        clock = self._desk.services.clock
        events = call.journal.events
        states = [event.state for event in events if isinstance(event, e.StateChanged)]
        return CallSummary(
            id=call.id,
            door=call.incoming.door,
            caller=call.incoming.caller,
            called=call.incoming.called,
            route=call.step.partition("/")[0],
            state=states[-1] if states else "initial",
            started_at=clock.wall() - (clock.now() - call.started_at),
            session=call.session or "",
            turns=sum(isinstance(event, e.UserTurnEnded) and not event.silent for event in events),
        )
