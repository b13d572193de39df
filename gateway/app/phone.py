"""A phone without a face: places one call, speaks, presses keys, hears when the other side talks. For the command
line, the demo and tests. It is our own client side; what proves the gateway are the phones of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from gateway.app.callees import Callee, Target, Ways
from gateway.app.outbound import redirected
from gateway.app.resolver import Resolver
from gateway.call.commands import AnyInput, LineAnswered, LineEnded, LineHeld, TextCame
from gateway.call.outbound_line import Dialler, Order, OutboundLine
from gateway.call.ports import Tell
from gateway.call.sip_stream import SipLineOptions, Wires
from gateway.core import events as e
from gateway.core.clock import SystemClock
from gateway.core.errors import GatewayError
from gateway.core.ids import RandomIds
from gateway.core.loops import Alarm
from gateway.media import commands as media
from gateway.media.io import MediaPool
from gateway.media.plane import PlaneOptions
from gateway.media.ports import Said
from gateway.sip import events as heard
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.io import SipServer
from gateway.sip.tls import client_context

__all__ = ["CallRefused", "Phone", "PhoneLine", "Target"]

Note = Callable[[float, str], None]
"""Called with seconds since dialling and what happened, for a timeline."""


class CallRefused(GatewayError):
    """The call did not come about; `status` is the far side's last SIP status, `why` what that means."""

    def __init__(self, status: int, reason: str, why: e.EndReason) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.why = status, why


NO_STATUS: dict[e.EndReason, tuple[int, str]] = {
    "no_answer": (408, "nobody answers"),
    "unreachable": (503, "nobody can be reached"),
    "error": (488, "no audio in common"),
}
"""What to say of a call that ended without a word from the far side."""


class Phone:
    """One call at a time. Everything waits on events, never on guesses of how long something takes."""

    def __init__(self, line: PhoneLine, number: str, note: Note) -> None:
        self._house, self._number, self._note = line, number, note
        self._clock, self._leg = line.clock, line.leg
        self.id = line.ids.token()
        self._dialled_at = self._clock.now()
        self._changed = asyncio.Event()
        self._clip = 0
        self._finished_clips: set[int] = set()
        self._line: OutboundLine | None = None
        self._refused: CallRefused | None = None
        self.answered = False
        self.ended = False
        self.stats: media.LegStats | None = None
        self.far_side_talks = False
        self.far_spoke_last = 0.0
        """When the far side was last known to speak, on the clock; 0 before it ever did."""
        self.far_stretches = 0
        """How many stretches of speech the far side has begun."""
        self.digits_heard = ""

    async def dial(self, callee: Callee, *, record: str | None = None) -> None:
        """Call and return when answered. Raises `CallRefused`, or `ConfigError` for who leads nowhere."""
        self._dialled_at = self._clock.now()
        order = await callee.order(self._house.ways, self._number)
        self._leg.subscribe(self.id, self._media_said)
        self._say_note(f"dialling {callee.uri}")
        self._line = self._house.call(self.id, callee, order, self._line_told, record)
        self._line.answer()
        patience_s = order.ring_s + len(order.attempts) * order.failover_after_s
        if not await self._until(lambda: self.answered or self._refused is not None, within_s=patience_s):
            await self.hang_up()
            raise CallRefused(*NO_STATUS["no_answer"], "no_answer")
        if self._refused is not None:
            raise self._refused

    async def speak(self, pcm_8k: bytes) -> None:
        """Speak; returns when the last sample has left, or the call is over."""
        self._clip += 1
        clip = self._clip
        self._leg.send(media.QueueAudio(self.id, clip, pcm_8k, last=True))
        await self._until(lambda: clip in self._finished_clips or self.ended)

    async def press(self, digits: str) -> None:
        self._say_note(f"pressing {digits}")
        self._leg.send(media.SendDigits(self.id, digits))

    async def far_side_begins(self, *, within_s: float) -> bool:
        """Wait for the next beginning of the far side's speech; false when none came in time."""
        before = self.far_stretches
        return (
            await self._until(lambda: self.far_stretches > before or self.ended, within_s=within_s) and not self.ended
        )

    async def far_side_finishes(self, *, quiet_s: float = 1.0, within_s: float = 30.0) -> bool:
        """Wait until the far side has spoken since the call of this, or speaks now, and was then quiet."""
        before = self.far_stretches - (1 if self.far_side_talks else 0)
        until = self._clock.now() + within_s

        def over() -> bool:
            return self.far_stretches > before and not self.far_side_talks

        while self._clock.now() < until and not self.ended:
            if not await self._until(lambda: over() or self.ended, within_s=max(0.0, until - self._clock.now())):
                return False
            stretch = self.far_stretches
            left = self.far_spoke_last + quiet_s - self._clock.now()
            if left <= 0:
                return not self.ended
            again = await self._until(lambda n=stretch: self.far_stretches > n or self.ended, within_s=left)  # type: ignore[misc]
            if not again:
                return True
        return False

    async def until_ended(self, *, within_s: float) -> bool:
        return await self._until(lambda: self.ended, within_s=within_s)

    async def hang_up(self) -> None:
        if not self.ended:
            if self._line is not None:
                self._line.hang_up()
            self._end("hung up")
        await self._close_leg()

    async def vanish(self) -> None:
        """The line dies: no BYE, no more media."""
        self._end("line dropped")
        await self._close_leg()

    async def _close_leg(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.release()
            await self._until(lambda: self.stats is not None, within_s=2.0)

    def on_sip(self, event: heard.AnySipEvent) -> None:
        """For the timeline; what the line makes of it comes by `_line_told`."""
        match event:
            case heard.CallProgressed(status=status, reason=reason, sdp=sdp):
                self._say_note(f"{status} {reason}{', with early media' if sdp else ''}")
            case heard.CallFailed(status=status, reason=reason):
                self._say_note(f"refused: {status} {reason}")
            case heard.CallEnded(by=by, reason=reason):
                self._end(f"far side ended the call ({by}{': ' + reason if reason else ''})")
            case _:
                pass

    def _line_told(self, told: AnyInput | e.DigitPressed) -> None:
        match told:
            case LineAnswered(codec=codec):
                self.answered = True
                self._say_note(f"answered, {codec}")
            case LineEnded(reason=reason):
                if not self.answered:
                    self._refused = self._refusal(reason)
                self._end(f"ended: {reason}")
            case LineHeld(on=on):
                self._say_note("held" if on else "retrieved")
            case e.DigitPressed(digit=digit):
                self._hear_digit(digit)
            case TextCame(text=text, number=number) if self._line is not None:
                self._say_note(f"far side writes: {text}")
                self._line.answer_text(number, taken=True)
            case _:
                pass
        self._wake()

    def _refusal(self, reason: e.EndReason) -> CallRefused:
        status, said = NO_STATUS.get(reason, (603, reason))
        line = self._line
        if line is not None and line.status and reason != "error":
            status, said = line.status, line.refusal
        return CallRefused(status, said, reason)

    def _hear_digit(self, digit: str) -> None:
        self.digits_heard += digit
        self._say_note(f"far side pressed {digit}")

    def _media_said(self, said: Said) -> None:
        match said:
            case media.ClipFinished(clip=clip):
                self._finished_clips.add(clip)
            case media.LegClosed(stats=stats):
                self.stats = stats
            case e.SpeechBegan(began_at=began_at):
                self.far_side_talks, self.far_spoke_last = True, self._clock.now()
                self.far_stretches += 1
                self._say_note("far side speaks", at=began_at)
            case e.SpeechEnded(ended_at=ended_at):
                self.far_side_talks, self.far_spoke_last = False, ended_at
                self._say_note("far side is quiet", at=ended_at)
            case e.DigitPressed(digit=digit):
                self._hear_digit(digit)
            case media.Report() if self._line is not None:
                self._line.media_said(said)
            case _:
                return
        self._wake()

    def _end(self, what: str) -> None:
        if not self.ended:
            self.ended = True
            self._say_note(what)
        self._wake()

    def note(self, what: str) -> None:
        """Put a line of the user's own into the timeline."""
        self._say_note(what)

    def _say_note(self, what: str, *, at: float | None = None) -> None:
        self._note((at if at is not None else self._clock.now()) - self._dialled_at, what)

    def _wake(self) -> None:
        self._changed.set()

    async def _until(self, true: Callable[[], bool], *, within_s: float = 60.0) -> bool:
        """One waiter at a time: a phone has one user."""
        try:
            async with asyncio.timeout(within_s):
                while not true():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


class PhoneLine:
    """The sockets and the media process that phones share; a context manager. Each phone has a leg of its own."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        rtp_ports: tuple[int, int] = (40000, 40199),
        *,
        options: SipLineOptions | None = None,
        dns_servers: Sequence[str] = (),
    ) -> None:
        self._host = host
        self.clock, self.ids = SystemClock(), RandomIds()
        self._phones: list[Phone] = []
        self._server = SipServer(
            EndpointOptions(), clock=self.clock, ids=self.ids, on_event=self._on_event, tls_client=client_context()
        )
        self.leg = MediaPool(
            workers=1, bind=host, rtp_ports=rtp_ports, clock=self.clock, options=PlaneOptions(), vad="silero"
        )
        self.ways = Ways(self._server, Resolver(dns_servers, ipv6=":" in host), self.ids)
        self._options = options or SipLineOptions()
        self._dialler = Dialler(Wires(self._server.send, self.leg, self.clock), self._options, self._alarm)

    def phone(self, number: str, note: Note) -> Phone:
        """A fresh phone for one call."""
        phone = Phone(self, number, note)
        self._phones.append(phone)
        return phone

    def call(self, call_id: str, callee: Callee, order: Order, tell: Tell, record: str | None) -> OutboundLine:
        return self._dialler.line(
            call_id,
            order,
            tell=tell,
            record=record,
            trace=None,
            redirect=lambda uri, by: redirected(self._server, callee.domain, uri, by),
            options=callee.options(self._options),
        )

    def _alarm(self, ring: Callable[[], None]) -> Callable[[float | None], None]:
        return Alarm(self.clock, ring).set

    def _on_event(self, event: heard.AnySipEvent) -> None:
        for phone in self._phones:
            if event.dialog.startswith(f"{phone.id}-"):
                phone.on_sip(event)
        self._dialler.on_event(event)

    async def __aenter__(self) -> Self:
        await self._server.start(self._host, 0)
        await self.leg.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for phone in self._phones:
            with suppress(GatewayError):
                await phone.hang_up()
        await self._server.close()
        await self.leg.close()
