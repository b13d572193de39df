"""The browser's door: joins a `BrowserPeer` (WebRTC) to a line of the hallway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.call import commands as c
from gateway.call.io import Desk
from gateway.call.live import LiveCall
from gateway.call.ports import Incoming, Tell
from gateway.call.relayed_line import RelayedLine
from gateway.core import events as e
from gateway.core.clock import Clock
from gateway.media.commands import ConnectLeg, Srtp
from gateway.media.ports import MediaControl
from gateway.ops.ports import BrowserAnswer
from gateway.webrtc.peer import BrowserPeer, PeerOptions

OPUS_BITS_PER_S = 48_000
"""By wideband PESQ 4.5, of what a telephone is sent 4.3 (`python -m benchmarks.browser_sound`)."""


class _Caller:
    """One browser's call: the peer, and the line once the hallway has made one."""

    def __init__(self, door: BrowserDoor, token: str, options: PeerOptions) -> None:
        self._door = door
        self._line: RelayedLine | None = None
        self._keys: Srtp | None = None
        self._lost_early: str | None = None
        self.peer = BrowserPeer(token, self, options)

    def line(self, call_id: str, tell: Tell, record: str | None, trace: str | None) -> RelayedLine:
        self._call_id = self.peer.call_id = call_id
        self._tell = tell
        self._line = RelayedLine(
            connecting(call_id, self.peer),
            self,
            leg=self._door.leg,
            tell=tell,
            record=record,
            trace=trace,
            gone=lambda: self._door.gone(call_id),
        )
        if self._keys is not None:
            self._line.far_side_ready(self._keys)
        return self._line

    def admitted(self) -> None:
        """The hallway has the call; a browser that went away meanwhile is told of now."""
        if self._lost_early is not None:
            self.browser_lost(self._lost_early)

    def can_hear(self, keys: Srtp) -> None:
        self._keys = keys
        if self._line is not None:
            self._line.far_side_ready(keys)

    def send(self, packet: bytes) -> None:
        self.peer.send(packet)

    def hang_up(self) -> None:
        """The peer is closed by the door when the call is gone, with its last events delivered."""

    def packet_came(self, packet: bytes) -> None:
        if self._line is not None:
            self._line.receive(packet, self._door.clock.now())

    def browser_lost(self, reason: str) -> None:
        """A closed page is a goodbye; a peer that just stops is a lost line."""
        if self._line is None:
            self._lost_early = reason
        else:
            self._tell(c.LineEnded("hangup" if reason == "page_closed" else "line_lost", "caller"))

    def digit_pressed(self, digit: str) -> None:
        if self._line is not None:
            self._tell(e.DigitPressed(self._door.clock.now(), self._call_id, digit, 160, "page"))


def connecting(leg: str, peer: BrowserPeer) -> ConnectLeg:
    """What a browser's leg is told of what its peer has agreed on."""
    return ConnectLeg(leg, "", 0, peer.codec, peer.payload_type, copies=peer.copies, opus_bits_per_s=OPUS_BITS_PER_S)


class BrowserDoor:
    """Takes browsers' offers. The page hears of its call's events over the peer's data channel."""

    def __init__(self, desk: Desk, leg: MediaControl, clock: Clock, *, bind: str, advertise: str | None) -> None:
        self._desk, self.leg, self.clock = desk, leg, clock
        self._options = PeerOptions(bind_host=bind, advertise_host=advertise)
        self._callers: dict[str, _Caller] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        desk.watchers.append(self._tell_page)

    async def call(self, route: str, offer_sdp: str, caller: str) -> BrowserAnswer:
        """Raises `PeerError` for the offer, `CapacityError` when there is no room."""
        self._desk.board.check_room()
        one = _Caller(self, f"browser-{self._desk.services.ids.token(6)}", self._options)
        sdp = await one.peer.accept(offer_sdp)
        try:
            call_id = self._desk.incoming(Incoming(door="browser", caller=caller, called=route, route=route), one.line)
        except Exception:
            await one.peer.close()
            raise
        self._callers[call_id] = one
        one.admitted()
        return BrowserAnswer(call_id, sdp)

    def hang_up(self, call_id: str) -> bool:
        """The page says goodbye. False when it has no such call."""
        live = self._desk.board.find(call_id) if call_id in self._callers else None
        if live is None:
            return False
        live.tell(c.LineEnded("hangup", "caller"))
        return True

    def gone(self, call_id: str) -> None:
        """The call is over; let the page have its last events, then close the peer."""
        if one := self._callers.get(call_id):
            self.spawn(self._close(call_id, one))

    async def _close(self, call_id: str, one: _Caller) -> None:
        await asyncio.sleep(LAST_WORDS_S)
        self._callers.pop(call_id, None)
        await one.peer.close()

    def _tell_page(self, call: LiveCall, event: e.AnyEvent) -> None:
        if one := self._callers.get(call.id):
            one.peer.tell(event)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for one in list(self._callers.values()):
            await one.peer.close()
        self._callers.clear()


LAST_WORDS_S = 0.3
"""How long a peer stays after its call, for `CallEnded` to be recorded and to reach the page."""
