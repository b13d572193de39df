"""A phone without a face: places one call, speaks, presses keys, hears when the other side talks. For the command
line, the demo and tests. It is our own client side; what proves the gateway are the phones of others.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from gateway.call.agreed import connect_leg
from gateway.core import events as e
from gateway.core.clock import Clock, SystemClock
from gateway.core.errors import ConfigError, GatewayError, PeerError
from gateway.core.ids import Ids, RandomIds
from gateway.media import commands as media
from gateway.media.io import MediaPool
from gateway.media.plane import PlaneOptions
from gateway.media.ports import Said
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.flow import Transport
from gateway.sip.io import SipServer
from gateway.sip.offer_answer import LocalMedia, accept, offer

URI = re.compile(
    r"^sips?:(?:(?P<user>[^@]+)@)?(?P<host>\[[0-9a-fA-F:]+\]|[^:;\[\]]+)(?::(?P<port>\d+))?(?P<rest>;.*)?$"
)
LEG = "phone"
Note = Callable[[float, str], None]
"""Called with seconds since dialling and what happened, for a timeline."""


class CallRefused(GatewayError):
    """The called side gave a final refusal; `status` is its SIP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status


class Target:
    """Where to call: a SIP URI whose host is a literal address or `localhost`. Raises `ConfigError`."""

    def __init__(self, uri: str) -> None:
        parts = URI.match(uri if uri.startswith("sip") else f"sip:{uri}")
        if parts is None:
            raise ConfigError(f"not a SIP URI: {uri!r}; it looks like sip:desk@127.0.0.1:5060")
        self.uri = parts[0]
        self.host = "127.0.0.1" if parts["host"] == "localhost" else parts["host"].strip("[]")
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            raise ConfigError(f"the host of {uri!r} must be an IP address, as in sip:desk@127.0.0.1:5060") from None
        self.port = int(parts["port"] or 5060)
        transport = re.search(r";transport=(\w+)", parts["rest"] or "", re.IGNORECASE)
        self.transport: Transport = "tcp" if transport and transport[1].lower() == "tcp" else "udp"


class Phone:
    """One call at a time. Everything waits on events, never on guesses of how long something takes."""

    def __init__(
        self, server: SipServer, leg: MediaPool, clock: Clock, ids: Ids, *, host: str, number: str, note: Note
    ) -> None:
        self._server, self._leg, self._clock, self._ids = server, leg, clock, ids
        self._host, self._number, self._note = host, number, note
        self.dialog = ids.token()
        self._dialled_at = clock.now()
        self._changed = asyncio.Event()
        self._local: LocalMedia | None = None
        self._clip = 0
        self._finished_clips: set[int] = set()
        self._opened_port: int | None = None
        self._refused: CallRefused | None = None
        self._accepted: bytes | None = None
        self.ended = False
        self.stats: media.LegStats | None = None
        self.far_side_talks = False
        self.far_spoke_last = 0.0
        """When the far side was last known to speak, on the clock; 0 before it ever did."""
        self.far_stretches = 0
        """How many stretches of speech the far side has begun."""
        self.digits_heard = ""

    async def dial(self, target: Target, *, record: str | None = None, headers: sip.Headers = ()) -> None:
        """Call and return when answered. Raises `CallRefused`, or `ConfigError` when nobody is there."""
        self._dialled_at = self._clock.now()
        self._leg.subscribe(LEG, self._media_said)
        self._leg.send(media.OpenLeg(LEG, record=record))
        await self._until(lambda: self._opened_port is not None)
        assert self._opened_port is not None
        self._local = LocalMedia(host=self._host, port=self._opened_port, session_id=1, version=1)
        self._server.send(
            sip.Place(
                self.dialog,
                uri=target.uri,
                flow=self._server.flow_to(target.host, target.port, target.transport),
                sdp=offer(self._local),
                from_uri=f"sip:{self._number}@{self._host}",
                headers=headers,
            )
        )
        self._say_note(f"dialling {target.uri}")
        await self._until(lambda: self._accepted is not None or self._refused is not None)
        if self._refused is not None:
            raise self._refused

    async def speak(self, pcm_8k: bytes) -> None:
        """Speak; returns when the last sample has left, or the call is over."""
        self._clip += 1
        clip = self._clip
        self._leg.send(media.QueueAudio(LEG, clip, pcm_8k, last=True))
        await self._until(lambda: clip in self._finished_clips or self.ended)

    async def press(self, digits: str) -> None:
        self._say_note(f"pressing {digits}")
        self._leg.send(media.SendDigits(LEG, digits))

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
            self._server.send(sip.HangUp(self.dialog))
            self._end("hung up")
        await self._close_leg()

    async def vanish(self) -> None:
        """The line dies: no BYE, no more media."""
        self._note_end("line dropped")
        await self._close_leg()

    async def _close_leg(self) -> None:
        self._leg.send(media.CloseLeg(LEG))
        await self._until(lambda: self.stats is not None, within_s=2.0)

    def on_sip(self, event: heard.AnySipEvent) -> None:
        match event:
            case heard.CallProgressed(status=status, reason=reason):
                self._say_note(f"{status} {reason}")
            case heard.CallAccepted(sdp=sdp):
                self._take_answer(sdp)
            case heard.CallFailed(status=status, reason=reason):
                self._refused = CallRefused(status, reason)
                self._end(f"refused: {status} {reason}")
            case heard.CallEnded(by=by, reason=reason):
                self._end(f"far side ended the call ({by}{': ' + reason if reason else ''})")
            case heard.OfferReceived():
                self._server.send(sip.RefuseOffer(self.dialog, 488))
            case _:
                pass
        self._wake()

    def _take_answer(self, sdp: bytes | None) -> None:
        assert self._local is not None
        try:
            agreed = accept(self._local, sdp or b"")
        except PeerError as error:
            self._server.send(sip.HangUp(self.dialog))
            self._refused = CallRefused(error.status_hint, str(error))
            return
        self._leg.send(connect_leg(LEG, agreed))
        self._accepted = sdp or b""
        self._say_note(f"answered, {agreed.codec} to {agreed.host}:{agreed.port}")

    def _media_said(self, said: Said) -> None:
        match said:
            case media.LegOpened(port=port):
                self._opened_port = port
            case media.LegFailed(reason=reason):
                self._refused = CallRefused(503, reason)
                self._opened_port = 0
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
                self.digits_heard += digit
                self._say_note(f"far side pressed {digit}")
            case _:
                return
        self._wake()

    def _end(self, what: str) -> None:
        if not self.ended:
            self._note_end(what)

    def _note_end(self, what: str) -> None:
        self.ended = True
        self._say_note(what)

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
    """The sockets and the media process that phones share; a context manager."""

    def __init__(self, host: str = "127.0.0.1", rtp_ports: tuple[int, int] = (40000, 40199)) -> None:
        self._host = host
        self._clock, self._ids = SystemClock(), RandomIds()
        self._phones: list[Phone] = []
        self._server = SipServer(EndpointOptions(), clock=self._clock, ids=self._ids, on_event=self._on_event)
        self._leg = MediaPool(
            workers=1, bind=host, rtp_ports=rtp_ports, clock=self._clock, options=PlaneOptions(), vad="silero"
        )

    def phone(self, number: str, note: Note) -> Phone:
        """A fresh phone for one call. One call at a time on a line: each takes the same leg."""
        phone = Phone(self._server, self._leg, self._clock, self._ids, host=self._host, number=number, note=note)
        self._phones.append(phone)
        return phone

    def _on_event(self, event: heard.AnySipEvent) -> None:
        for phone in self._phones:
            if phone.dialog == event.dialog:
                phone.on_sip(event)

    async def __aenter__(self) -> Self:
        await self._server.start(self._host, 0)
        await self._leg.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for phone in self._phones:
            with suppress(GatewayError):
                await phone.hang_up()
        await self._server.close()
        await self._leg.close()
