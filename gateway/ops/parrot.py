"""A call desk without a gateway behind it: a parrot that says back what the browser's user said.

For the page's tests and for working on the page: `python -m gateway.ops.parrot` serves it on http://127.0.0.1:8080/.
Its calls go through the states of real ones, with real audio over WebRTC; it understands nothing and keeps nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from pylibsrtp import Error
from pylibsrtp import Session as Protection

from gateway.core import events as e
from gateway.core.clock import Clock, SystemClock
from gateway.core.errors import CapacityError, PeerError, SessionError
from gateway.core.ids import RandomIds
from gateway.media import codecs, g711, rtp
from gateway.media.commands import Srtp
from gateway.media.relapses import Losses
from gateway.media.srtp import session_of_ours, session_of_theirs
from gateway.ops.http import HttpOffice
from gateway.ops.logs import configure
from gateway.ops.ports import BrowserAnswer, CallSummary, RouteInfo, TrunkInfo
from gateway.store.ports import Identity, Session, SessionInfo
from gateway.webrtc.peer import BrowserPeer, PeerOptions

PTIME_S = 0.02
"""What browsers put into a packet."""

LOUD = 400.0
"""Root mean square above which a packet counts as speech."""
BEGIN_PACKETS, END_PACKETS, MOST_PACKETS = 4, 30, 500
ROUTES = [
    RouteInfo("parrot", "Parrot", "Says back what you say.", default=True),
    RouteInfo("full", "Full house", "Always busy: shows what a caller sees then."),
]


class ParrotCall:
    """One browser's conversation with the parrot. Its packets drive everything."""

    def __init__(self, call_id: str, caller: str, clock: Clock, options: PeerOptions) -> None:
        self.id, self.caller, self.started_at = call_id, caller, clock.wall()
        self.events: list[e.AnyEvent] = []
        self.changed = asyncio.Event()
        self.state: e.State = "initial"
        self.turns = 0
        self.peer = BrowserPeer(call_id, self, options)
        self.ending: asyncio.Task[None] | None = None
        self._clock = clock
        self._opus: codecs.Decoder | None = None
        self._theirs: Protection | None = None
        self._ours: Protection | None = None
        self._sent = 0
        self._recent: deque[bytes] = deque(maxlen=15)
        """Payloads."""

        self._spoken: list[bytes] = []
        self._loud = self._quiet = 0
        self._to_say: deque[bytes] = deque()
        self._said = 0

    @property
    def over(self) -> bool:
        return self.state == "ended"

    def tell(self, kind: type[Any], *facts: Any) -> None:
        event = kind(self._clock.now(), self.id, *facts)
        self.events.append(event)
        self.peer.tell(event)
        self.changed.set()
        self.changed = asyncio.Event()

    def packet_came(self, packet: bytes) -> None:
        if self._theirs is None or rtp.is_rtcp(packet):
            return
        try:
            came = rtp.parse(self._theirs.unprotect(packet))
            loud = float(np.sqrt(np.mean(self._sound(came) ** 2))) > LOUD
        except (PeerError, Error):
            return
        self._hear(came.payload, loud)
        self._speak()

    def _hear(self, payload: bytes, loud: bool) -> None:
        self._loud = self._loud + 1 if loud else 0
        self._quiet = 0 if loud else self._quiet + 1
        if self._spoken:
            self._spoken.append(payload)
            if self._quiet == END_PACKETS or len(self._spoken) == MOST_PACKETS:
                self._turn_over()
        else:
            self._recent.append(payload)
            if self._loud == BEGIN_PACKETS:
                self._speech_began()

    def _sound(self, packet: rtp.RtpPacket) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Raises `PeerError` for what is none."""
        if packet.payload_type != self.peer.payload_type or not packet.payload:
            raise PeerError("another payload")
        if self.peer.codec != "opus":
            return g711.decode(np.frombuffer(packet.payload, np.uint8), 0).astype(np.float32)
        self._opus = self._opus or codecs.decoder("opus")
        return self._opus.decode(packet.payload).astype(np.float32)

    def end(self, reason: e.EndReason, by: e.Side) -> None:
        if not self.over:
            self._become("ended")
            self.tell(e.CallEnded, reason, by, self._clock.wall() - self.started_at)
            self.ending = asyncio.create_task(self.peer.close())

    def can_hear(self, keys: Srtp) -> None:
        self._ours, self._theirs = session_of_ours(keys), session_of_theirs(keys)
        self.tell(e.CallAnswered, self.peer.codec)
        self._become("listening")

    def _speech_began(self) -> None:
        self.tell(e.SpeechBegan, self._clock.now() - BEGIN_PACKETS * PTIME_S)
        if self._to_say:
            self.tell(e.BargedIn, self.turns, "duration")
            self._finish_saying(complete=False)
        self._spoken = list(self._recent)

    def _turn_over(self) -> None:
        self.turns += 1
        spoken, self._spoken = self._spoken, []
        self.tell(e.SpeechEnded, self._clock.now() - END_PACKETS * PTIME_S)
        text = f"{len(spoken) * PTIME_S:.1f} seconds of speech"
        self.tell(e.TranscriptHeard, self.turns, text, True)
        self.tell(e.UserTurnEnded, self.turns, text)
        self._become("processing")
        self.tell(e.AgentReplied, self.turns, f"You said: {text}")
        self.tell(e.UtteranceSynthesised, self.turns, f"You said: {text}", len(spoken) * PTIME_S)
        self.tell(e.UtteranceStarted, self.turns)
        self._become("speaking")
        self._to_say, self._said = deque(spoken), 0

    def _speak(self) -> None:
        if self._to_say:
            self._send(self._to_say.popleft())
            self._said += 1
            if not self._to_say:
                self._finish_saying(complete=True)

    def _send(self, payload: bytes) -> None:
        assert self._ours is not None, "the browser can hear"
        self._sent += 1
        timestamp = self._sent * (160 if self.peer.codec == "PCMU" else 960)
        packet = rtp.RtpPacket(self.peer.payload_type, self._sent & 0xFFFF, timestamp & 0xFFFFFFFF, 1, payload)
        self.peer.send(self._ours.protect(rtp.build(packet)))

    def _finish_saying(self, *, complete: bool) -> None:
        self._to_say.clear()
        heard = "You said" if not complete else f"You said: {self._said * PTIME_S:.1f} seconds of speech"
        self.tell(e.UtterancePlayed, self.turns, heard, self._said * PTIME_S, complete)
        self._become("listening")

    def _become(self, state: e.State) -> None:
        previous, self.state = self.state, state
        self.tell(e.StateChanged, previous, state)

    def digit_pressed(self, digit: str) -> None:
        self.tell(e.DigitPressed, digit, 100, "page")

    def browser_lost(self, reason: str) -> None:
        self.end("hangup" if reason == "page_closed" else "line_lost", "caller")


class ParrotDesk:
    """Implements `CallDesk`."""

    def __init__(self, options: PeerOptions | None = None) -> None:
        self._clock, self._ids = SystemClock(), RandomIds()
        self._options = options or PeerOptions(bind_host="127.0.0.1")
        self.calls: dict[str, ParrotCall] = {}

    async def browser_call(self, route: str, offer_sdp: str, caller: str) -> BrowserAnswer:
        if route not in [known.name for known in ROUTES]:
            raise PeerError(f"there is no route {route!r}", status_hint=404)
        if route == "full":
            raise CapacityError("all lines are taken")
        call = ParrotCall(self._ids.token(20), caller, self._clock, self._options)
        returned = any(other.caller == caller != "" for other in self.calls.values())
        self.calls[call.id] = call
        call.tell(e.CallStarted, "browser", caller, route, route)
        if returned:
            call.tell(e.SessionResumed, call.id, "parrot/0:echo", 1.0)
        else:
            call.tell(e.SessionStarted, call.id)
        try:
            return BrowserAnswer(call.id, await call.peer.accept(offer_sdp))
        except PeerError:
            call.end("rejected", "gateway")
            raise

    async def browser_hangup(self, call_id: str) -> bool:
        call = self.calls.get(call_id)
        if call is None or call.over:
            return False
        call.end("hangup", "caller")
        return True

    def routes(self) -> list[RouteInfo]:
        return ROUTES

    def live_calls(self) -> list[CallSummary]:
        return [
            CallSummary(c.id, "browser", c.caller, "parrot", "parrot", c.state, c.started_at, c.id, c.turns)
            for c in self.calls.values()
            if not c.over
        ]

    async def stats(self, call_id: str) -> dict[str, Any]:
        return {}

    def events(self, call_id: str) -> list[e.AnyEvent]:
        return list(self._call(call_id).events)

    async def subscribe(self, call_id: str) -> AsyncIterator[e.AnyEvent]:
        if call_id == "*":
            await asyncio.Event().wait()
        call, given = self._call(call_id), 0
        while True:
            for event in call.events[given:]:
                given += 1
                yield event
            if call.over:
                return
            await call.changed.wait()

    def hang_up(self, call_id: str) -> None:
        self._call(call_id).end("hangup", "gateway")

    def transfer(self, call_id: str, to: str) -> None:
        self._call(call_id)
        raise PeerError("a parrot cannot be transferred", status_hint=409)

    def recording(self, call_id: str) -> Path | None:
        self._call(call_id)
        return None

    async def sessions(self, limit: int) -> list[SessionInfo]:
        return [self._info(call) for call in list(self.calls.values())[::-1][:limit]]

    async def session(self, session_id: str) -> Session:
        if session_id not in self.calls:
            raise SessionError("no such session", code="session_not_found")
        call = self.calls[session_id]
        return Session(self._info(call), tuple(call.events))

    def place_call(self, to: str, trunk: str, route: str, caller: str) -> str:
        raise PeerError(f"there is no trunk {trunk!r}", status_hint=404)

    def trunks(self) -> list[TrunkInfo]:
        return []

    def media_losses(self) -> Losses:
        return Losses()

    def ready(self) -> bool:
        return True

    def draining(self) -> bool:
        return False

    async def close(self) -> None:
        for call in self.calls.values():
            call.end("shutdown", "gateway")
            if call.ending is not None:
                await call.ending

    def _call(self, call_id: str) -> ParrotCall:
        if call_id not in self.calls:
            raise PeerError("no such call", status_hint=404)
        return self.calls[call_id]

    def _info(self, call: ParrotCall) -> SessionInfo:
        identity = Identity(call.caller, "parrot")
        return SessionInfo(call.id, identity, call.started_at, call.started_at, events=len(call.events))


async def _serve(host: str, port: int) -> None:
    desk = ParrotDesk(PeerOptions(bind_host=host))
    office = HttpOffice(desk)
    await office.start(host, port)
    try:
        await asyncio.Event().wait()
    finally:
        await desk.close()
        await office.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    chosen = parser.parse_args()
    configure("console")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(chosen.host, chosen.port))


if __name__ == "__main__":
    main()
