"""A call's line over SIP and RTP: answers offers, keeps the media leg in step with them, translates both ways."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from gateway.call import commands as c
from gateway.call.ports import Incoming, Line, LineFactory, SuccessorFactory, Tell
from gateway.call.sip_stream import SipLineOptions, SipStream, StreamedLine, Wires, host_of
from gateway.call.trunks import Screen, Screened, unscreened
from gateway.core.clock import Clock
from gateway.core.errors import ROOM_AGAIN_S, CapacityError, GatewayError, PeerError
from gateway.media import commands as media
from gateway.media.ports import MediaControl
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.offer_answer import answer
from gateway.sip.uri import bracketed

__all__ = ["SipDoor", "SipLine", "SipLineOptions"]


def nobody_to_replace(dialog: str, incoming: Incoming, line: SuccessorFactory) -> None:
    raise PeerError("no such call", status_hint=481)


def _retry_after(seconds: float) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", str(math.ceil(seconds))),)


class SipLine(StreamedLine):
    """Implements `gateway.call.ports.Line` for a call that came. Sans-IO: `send` and the stream only take commands."""

    def __init__(
        self,
        offered: heard.CallOffered,
        stream: SipStream,
        *,
        send: Callable[[sip.AnyCommand], None],
        tell: Tell,
        gone: Callable[[], None],
    ) -> None:
        stream.dialog = self._dialog = offered.dialog
        stream.realm = _realm(offered)
        allowed = [value.upper() for name, value in offered.headers if name == "Allow"]
        stream.refers = not allowed or any("REFER" in value for value in allowed)
        self._offer, self._host = offered.sdp, offered.flow.local[0]
        self._stream, self._send, self._tell, self._gone = stream, send, tell, gone
        self._confirmed = False

    def ring(self) -> None:
        self._send(sip.Ring(self._dialog))

    def answer(self) -> None:
        if self._stream.port:
            # The leg of the line whose place this one takes.
            self._stream.listens_on(self._host, self._stream.port)
            self._accept()
        else:
            self._stream.open()

    def reject(self, status: int, reason: str | None) -> None:
        self._send(sip.Reject(self._dialog, status, reason))

    def hang_up(self) -> None:
        self._send(sip.HangUp(self._dialog))

    def release(self) -> None:
        self._stream.close()
        self._gone()

    def media_said(self, report: media.AnyReport) -> None:
        match report:
            case media.LegOpened(port=port):
                self._stream.listens_on(self._host, port)
                self._accept()
            case media.LegFailed():
                self._send(sip.Reject(self._dialog, 503, headers=_retry_after(ROOM_AGAIN_S)))
                self._tell(c.LineEnded("error", "gateway"))
            case media.MediaDied():
                self._stream.fail("media failure")
            case _:
                pass

    def handle(self, event: heard.AnySipEvent) -> None:
        match event:
            case heard.CallConfirmed(sdp=sdp):
                self._confirm(sdp)
            case heard.CallCancelled():
                self._tell(c.LineEnded("cancelled", "caller"))
            case _:
                self._stream.handle(event)

    def _accept(self) -> None:
        try:
            sdp = self._stream.offer() if self._offer is None else self._stream.answer(self._offer)
        except PeerError as error:
            self._send(sip.Reject(self._dialog, error.status_hint))
            self._tell(c.LineEnded("rejected", "gateway"))
            return
        self._send(sip.Accept(self._dialog, sdp, session=self._stream.session))

    def _confirm(self, sdp: bytes | None) -> None:
        """The ACK. Audio flows from here on, not before: a greeting must not play to a lost 200."""
        if sdp is not None:
            try:
                self._stream.take_answer(sdp)
            except PeerError:
                self._send(sip.HangUp(self._dialog, "unusable answer"))
                self._tell(c.LineEnded("error", "caller"))
                return
        if not self._confirmed and self._stream.codec:
            self._confirmed = True
            self._tell(c.LineAnswered(self._stream.codec))


def _realm(offered: heard.CallOffered) -> str:
    """Where the caller's numbers are at home: in its own domain, unless it hides that or names none (`tel:`)."""
    domain = host_of(offered.from_uri)
    return domain if domain and not domain.endswith(".invalid") else bracketed(offered.flow.remote[0])


class SipDoor:
    """Turns SIP events into calls for the desk and keeps each dialog's line."""

    def __init__(
        self,
        *,
        send: Callable[[sip.AnyCommand], None],
        leg: MediaControl,
        clock: Clock,
        options: SipLineOptions,
        incoming: Callable[[Incoming, LineFactory], object],
        screen: Screen = unscreened,
        replace: Callable[[str, Incoming, SuccessorFactory], None] = nobody_to_replace,
    ) -> None:
        """`screen` says by which trunk a call came and who calls, or refuses it.

        `replace` gives the call of a dialog a new line (RFC 3891); it may raise, as `incoming` may.
        """
        self._wires, self._options = Wires(send, leg, clock), options
        self._send, self._incoming, self._screen, self._replace = send, incoming, screen, replace
        self._lines: dict[str, SipLine] = {}

    def on_event(self, event: heard.AnySipEvent) -> None:
        if isinstance(event, heard.CallOffered):
            self._offered(event)
        elif line := self._lines.get(event.dialog):
            line.handle(event)

    def _offered(self, event: heard.CallOffered) -> None:
        """Refuse what cannot become a call before anything is set up for it."""
        try:
            screened = self._screen(event)
            try:
                self._bring_in(event, screened)
            except GatewayError:
                screened.release()
                raise
        except PeerError as error:
            self._send(sip.Reject(event.dialog, error.status_hint))
        except CapacityError as error:
            self._send(sip.Reject(event.dialog, 503, headers=_retry_after(error.retry_after_s)))

    def _bring_in(self, event: heard.CallOffered, screened: Screened) -> None:
        options = self._options.for_trunk(screened.rules)
        if event.sdp is not None:
            answer(event.sdp, options.local_media("0.0.0.0", 9))

        def line(call_id: str, tell: Tell, record: str | None, trace: str | None) -> SipLine:
            return enter(SipStream(call_id, self._wires, options, tell, record, trace), tell)

        def successor(name: str, tell: Tell, former: Line | None) -> SipLine:
            if former is None or not isinstance(former.referral, SipStream):
                raise PeerError("not a line over SIP", status_hint=603)
            place = former.referral
            return enter(SipStream(place.leg, self._wires, options, tell, succeeds=place), tell)

        def enter(stream: SipStream, tell: Tell) -> SipLine:
            self._lines[event.dialog] = SipLine(event, stream, send=self._send, tell=tell, gone=gone)
            return self._lines[event.dialog]

        def gone() -> None:
            self._lines.pop(event.dialog, None)
            screened.release()

        who = Incoming("sip", screened.caller, event.called, screened.headers, screened.trunk, facts=screened.facts)
        replaced = next((handle for name, handle in event.facts if name == "replaces"), None)
        if replaced is None:
            self._incoming(who, line)
        else:
            trusted = screened.rules is not None and screened.rules.trusted
            self._replace(replaced, who if trusted else msgspec.structs.replace(who, caller=""), successor)
