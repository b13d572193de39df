"""A line that calls out: one target after the other until somebody answers, refuses, or nobody is left (RFC 3263 4.3).

It dials as soon as it exists; the route runs on, and waits at its first `answer` until the called party has picked up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from gateway.call import commands as c
from gateway.call.ports import Tell
from gateway.call.sip_stream import SipLineOptions, SipStream, StreamedLine, Wires, host_of
from gateway.core.errors import PeerError
from gateway.core.events import EndReason
from gateway.media import commands as media
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.flow import Flow

BUSY, NO_ANSWER = frozenset((486, 600)), frozenset((408, 480, 487))
TRY_NEXT = frozenset((408, 502, 503, 504))
"""What another target may do better; 408 only when the target has said nothing."""
MAX_REDIRECTS = 5
"""Addresses of 3xx answers followed in one call."""

Phase: TypeAlias = Literal["opening", "dialling", "ringing", "answered", "up", "over"]


class Attempt(msgspec.Struct, frozen=True):
    """Whom to call, and which way."""

    uri: str
    flow: Flow
    credentials: sip.Credentials | None = None
    route: tuple[str, ...] = ()
    """Route values to begin with (RFC 3608)."""


class Order(msgspec.Struct, frozen=True):
    """A call to place. `attempts` in order of preference; there is at least one."""

    attempts: tuple[Attempt, ...]
    from_uri: str
    from_display: str = ""
    headers: sip.Headers = ()
    ring_s: float = 60.0
    """How long it may ring, all targets together, from the first INVITE on."""
    failover_after_s: float = 4.0
    """How long a target may say nothing at all before the next one is tried."""


Redirect: TypeAlias = Callable[[str, Attempt], Attempt | None]
"""How to call an address that a 3xx to that attempt names; None when that cannot be."""


class OutboundLine(StreamedLine):
    """Implements `gateway.call.ports.Line`. Sans-IO: `on_deadline` is due at the moment last given to `wake`."""

    def __init__(
        self,
        call_id: str,
        order: Order,
        stream: SipStream,
        wires: Wires,
        *,
        tell: Tell,
        redirect: Redirect,
        wake: Callable[[float | None], None],
        dialled: Callable[[str, OutboundLine], None],
        gone: Callable[[], None],
    ) -> None:
        """`dialled` is told of each dialog begun, `wake` of the next deadline."""
        self._id, self._order, self._stream, self._wires = call_id, order, stream, wires
        self._tell, self._redirect, self._wake, self._dialled, self._gone = tell, redirect, wake, dialled, gone
        self._waiting = deque(order.attempts)
        self._current = order.attempts[0]
        self._tried: set[tuple[str, Flow]] = set()
        self._attempts = self._redirects = 0
        self._wanted = False
        self._ends_at = 0.0
        self.phase: Phase = "opening"
        self.status = 0
        self.refusal = ""
        """The last refusal, as the far side put it."""
        if stream.port:
            # Another line's leg; and not at once, as nobody knows this line yet.
            wake(wires.clock.now())
        else:
            stream.open()

    # What the call wants

    def ring(self) -> None:
        """It is the other side that rings."""

    def answer(self) -> None:
        self._wanted = True
        if self.phase == "answered":
            # Not at once: whoever asks is still carrying out commands.
            self._wake(self._wires.clock.now())

    def reject(self, status: int, reason: str | None) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        if self._stream.dialog and self.phase != "over":
            self._wires.send(sip.HangUp(self._stream.dialog))
        self._over()

    def release(self) -> None:
        self._over()
        self._stream.close()
        self._gone()

    # What comes of it

    def media_said(self, report: media.AnyReport) -> None:
        match report:
            case media.LegOpened(port=port) if self.phase == "opening":
                self._begin(port)
            case media.LegFailed():
                self._end("error", "gateway")
            case media.MediaDied() if self.phase != "over":
                self._over()
                self._stream.fail("media failure")
            case _:
                pass

    def _begin(self, port: int) -> None:
        self._stream.listens_on(self._order.attempts[0].flow.local[0], port)
        self._ends_at = self._wires.clock.now() + self._order.ring_s
        self._next()

    def handle(self, event: heard.AnySipEvent) -> None:
        if event.dialog != self._stream.dialog or self.phase == "over":
            return
        match event:
            case heard.CallProgressed(status=status, sdp=sdp) if self._unanswered:
                self.phase = "ringing"
                if sdp is not None:
                    # Ringing and announcements of the network: for the recording, and for whoever is joined to us.
                    self._stream.take_early(sdp)
                if status > 100:
                    self._tell(c.LineRang(status))
            case heard.CallAccepted(sdp=sdp) if self._unanswered:
                self._accepted(sdp)
            case heard.CallFailed() if self._unanswered:
                self._failed(event)
            case heard.CallEnded():
                self._over()
                self._stream.handle(event)
            case _:
                self._stream.handle(event)

    @property
    def _unanswered(self) -> bool:
        return self.phase in ("dialling", "ringing")

    def on_deadline(self, now: float) -> None:
        if self.phase == "opening":
            self._begin(self._stream.port)
        elif self.phase == "answered":
            self._pick_up()
        elif self._unanswered and now >= self._ends_at:
            self._wires.send(sip.HangUp(self._stream.dialog))
            self._end("no_answer")

    # One target after the other

    def _next(self) -> None:
        while self._waiting:
            attempt = self._waiting.popleft()
            if (attempt.uri, attempt.flow) not in self._tried:
                self._dial(attempt)
                return
        self._end("unreachable")

    def _dial(self, attempt: Attempt) -> None:
        order = self._order
        self._current = attempt
        self._tried.add((attempt.uri, attempt.flow))
        self._attempts += 1
        self.phase = "dialling"
        self._stream.begin(f"{self._id}-{self._attempts}")
        self._stream.realm = host_of(attempt.uri)
        self._dialled(self._stream.dialog, self)
        self._wake(self._ends_at)
        self._wires.send(
            sip.Place(
                self._stream.dialog,
                uri=attempt.uri,
                flow=attempt.flow,
                sdp=self._stream.offer(),
                from_uri=order.from_uri,
                from_display=order.from_display,
                headers=order.headers,
                credentials=attempt.credentials,
                silent_for_s=order.failover_after_s,
                route=attempt.route,
                session=self._stream.session,
            )
        )

    def _failed(self, event: heard.CallFailed) -> None:
        self.status, self.refusal = event.status, event.reason
        if 300 <= event.status < 400:
            self._follow(event.targets)
        elif event.status in TRY_NEXT and not (event.status == 408 and self.phase == "ringing"):
            self._next()
        else:
            self._end(_reason(event.status))

    def _follow(self, uris: tuple[str, ...]) -> None:
        """A 3xx names where else to call, its best first; before whatever else we would try."""
        for uri in reversed(uris[: MAX_REDIRECTS - self._redirects]):
            if (attempt := self._redirect(uri, self._current)) is not None:
                self._waiting.appendleft(attempt)
        self._redirects += len(uris)
        if self._waiting:
            self._next()
        else:
            self._end("rejected")

    def _accepted(self, sdp: bytes | None) -> None:
        try:
            # None: what was agreed on while it rang holds (RFC 3311).
            if sdp is not None or not self._stream.codec:
                self._stream.take_answer(sdp or b"")
        except PeerError:
            self._wires.send(sip.HangUp(self._stream.dialog, "unusable answer"))
            self._end("error")
            return
        self.phase = "answered"
        self._wake(None)
        if self._wanted:
            self._pick_up()

    def _pick_up(self) -> None:
        if self._wanted:
            self.phase = "up"
            self._tell(c.LineAnswered(self._stream.codec))

    def _end(self, reason: EndReason, by: Literal["caller", "gateway"] = "caller") -> None:
        self._over()
        self._tell(c.LineEnded(reason, by))

    def _over(self) -> None:
        self.phase = "over"
        self._wake(None)


def _reason(status: int) -> EndReason:
    if status in BUSY:
        return "busy"
    return "no_answer" if status in NO_ANSWER else "rejected"


class Dialler:
    """Places calls and keeps each dialog's line. Sans-IO, but for the alarms that `alarm` makes."""

    def __init__(
        self,
        wires: Wires,
        options: SipLineOptions,
        alarm: Callable[[Callable[[], None]], Callable[[float | None], None]],
    ) -> None:
        """`alarm(ring)` gives a way to set the moment at which `ring` is called; None silences it."""
        self._wires, self._options, self._alarm = wires, options, alarm
        self._lines: dict[str, OutboundLine] = {}

    def on_event(self, event: heard.AnySipEvent) -> bool:
        """Whether it was about a call of ours."""
        line = self._lines.get(event.dialog)
        if line is not None:
            line.handle(event)
        return line is not None

    def line(
        self,
        call_id: str,
        order: Order,
        *,
        tell: Tell,
        record: str | None,
        trace: str | None,
        redirect: Redirect,
        options: SipLineOptions | None = None,
        gone: Callable[[], None] = lambda: None,
        succeeds: SipStream | None = None,
    ) -> OutboundLine:
        """Begins to dial as soon as the call's leg is there; that of `succeeds`, whose place the line takes, is."""
        options = options or self._options
        stream = SipStream(succeeds.leg if succeeds else call_id, self._wires, options, tell, record, trace, succeeds)

        def forget() -> None:
            for dialog in [dialog for dialog, one in self._lines.items() if one is line]:
                del self._lines[dialog]
            gone()

        line = OutboundLine(
            call_id,
            order,
            stream,
            self._wires,
            tell=tell,
            redirect=redirect,
            wake=self._alarm(lambda: line.on_deadline(self._wires.clock.now())),
            dialled=self._lines.__setitem__,
            gone=forget,
        )
        return line
