"""What the office needs from the rest of the house, and the words in which it gets it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from gateway.core.events import AnyEvent, Door, State
from gateway.media.relapses import Losses
from gateway.store.ports import Session, SessionInfo


class BrowserAnswer(msgspec.Struct, frozen=True):
    """The call a browser got, and the SDP answer to its offer, candidates included."""

    call_id: str
    sdp: str


class RouteInfo(msgspec.Struct, frozen=True):
    """A route a browser may call. `title` and `description` are for people; `default` is chosen for them."""

    name: str
    title: str = ""
    description: str = ""
    default: bool = False


class CallSummary(msgspec.Struct, frozen=True):
    """One live call. `started_at` is wall-clock seconds."""

    id: str
    door: Door
    caller: str
    called: str
    route: str
    state: State
    started_at: float
    session: str = ""
    turns: int = 0


class TargetInfo(msgspec.Struct, frozen=True):
    """One address of a trunk, and the name that leads there. `reachable` is None while it has not been asked.

    `fault` says why it is not reachable.
    """

    address: str
    reachable: bool | None = None
    round_trip_ms: float | None = None
    name: str = ""
    fault: str = ""


class TrunkInfo(msgspec.Struct, frozen=True):
    """One trunk as it is now. `fault` says what is wrong, with the remedy; `max_calls` 0 is no limit."""

    name: str
    up: bool
    registration: Literal["off", "trying", "registered", "failed"]
    transport: str
    targets: tuple[TargetInfo, ...]
    calls: int = 0
    max_calls: int = 0
    fault: str = ""
    registered_at: str = ""


class CallDesk(Protocol):
    """The live calls and what is remembered of others, as HTTP sees them.

    An id nobody knows raises `PeerError(status_hint=404)`. `StoreError` passes through from the session store.
    """

    async def browser_call(self, route: str, offer_sdp: str, caller: str) -> BrowserAnswer:
        """Take a browser's call. `caller` is the page's own identity, `web:...`, or empty for an anonymous one.

        Raises `PeerError`, with hint 404 for an unknown route, 400 or 488 for the offer, or what the dialplan
        rejects the call with; `CapacityError` when there is no room or the gateway drains.
        """
        ...

    async def browser_hangup(self, call_id: str) -> bool:
        """The page's goodbye. False when there is no such browser call (any more)."""
        ...

    def routes(self) -> list[RouteInfo]: ...

    def live_calls(self) -> list[CallSummary]: ...

    async def stats(self, call_id: str) -> dict[str, Any]:
        """How a live call's audio is doing: codec, packets, loss, jitter, MOS. Empty when there is nothing to say."""
        ...

    def events(self, call_id: str) -> list[AnyEvent]:
        """What the log of a live, or recently ended, call holds so far."""
        ...

    def subscribe(self, call_id: str) -> AsyncIterator[AnyEvent]:
        """One call's events from its first on, then live, ending after its `CallEnded`.

        `"*"` gives the events of all calls from now on, without end. A subscriber that does not keep up is dropped
        (its iterator ends), never waited for.
        """
        ...

    def hang_up(self, call_id: str) -> None:
        """End any call, as an operator."""
        ...

    def transfer(self, call_id: str, to: str) -> None:
        """Ask a caller's side to call `to`, a number or an address, instead; the call's events tell how it goes.

        Raises `PeerError`, with hint 409 for a call that is not up or under way elsewhere, 400 for what is no address.
        """
        ...

    def recording(self, call_id: str) -> Path | None:
        """The call's stereo WAV, if one was made and is complete."""
        ...

    async def sessions(self, limit: int) -> list[SessionInfo]:
        """Newest first."""
        ...

    async def session(self, session_id: str) -> Session:
        """Raises `SessionError(code="session_not_found")`."""
        ...

    def place_call(self, to: str, trunk: str, route: str, caller: str) -> str:
        """Call the number `to` through a trunk and run `route` when it is answered; the call's id.

        `caller` is the number to show, "" for the trunk's own. Raises `PeerError`, with hint 404 for a trunk or route
        that does not exist; `CapacityError` when the trunk or the gateway has no room, or no address to call.
        """
        ...

    def trunks(self) -> list[TrunkInfo]: ...

    def media_losses(self) -> Losses: ...

    def ready(self) -> bool:
        """All doors are open and the store answers."""
        ...

    def draining(self) -> bool:
        """No new calls are taken."""
        ...
