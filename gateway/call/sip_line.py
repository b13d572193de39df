"""A call's line over SIP and RTP: answers offers, keeps the media leg in step with them, translates both ways."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal

import msgspec

from gateway.call import commands as c
from gateway.call.agreed import connect_leg
from gateway.call.ports import Incoming, LineFactory, Tell
from gateway.call.trunks import Screen, Screened, unscreened
from gateway.core.clock import Clock
from gateway.core.errors import CapacityError, GatewayError, PeerError
from gateway.core.events import DigitPressed
from gateway.media import commands as media
from gateway.media.ports import MediaControl
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.offer_answer import LocalMedia, Negotiated, accept, answer, offer

_DTMF_INFO = re.compile(rb"^\s*Signal\s*=\s*([0-9A-D*#])\s*$", re.IGNORECASE | re.MULTILINE)
_DTMF_DURATION = re.compile(rb"^\s*Duration\s*=\s*(\d{1,5})\s*$", re.IGNORECASE | re.MULTILINE)


class SipLineOptions(msgspec.Struct, frozen=True):
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """What we take, in our order of preference."""
    prefer: Literal["theirs", "ours"] = "theirs"
    """Whose order decides."""
    telephone_events: bool = True
    """Offer and take RFC 4733; else keys come by INFO alone."""
    advertise: str | None = None
    """The address in our SDP; None is the local address the INVITE came to."""
    silent_after_s: float = 2.0
    """When a line that carries no media is noticed; see `CallOptions.line_lost_after_s` for when it ends."""

    def local_media(self, host: str, port: int, session_id: int = 1) -> LocalMedia:
        return LocalMedia(
            host=host,
            port=port,
            codecs=self.codecs,
            session_id=session_id,
            dtmf=self.telephone_events,
            prefer=self.prefer,
        )

    def for_call(self, screened: Screened) -> SipLineOptions:
        """As the call's trunk wants it."""
        rules = screened.rules
        if rules is None:
            return self
        options = msgspec.structs.replace(self, telephone_events=rules.telephone_events)
        return msgspec.structs.replace(options, codecs=rules.codecs, prefer="ours") if rules.codecs else options


class SipLine:
    """Implements `gateway.call.ports.Line` for one dialog. Sans-IO: `sip` and `leg` only take commands."""

    def __init__(
        self,
        call_id: str,
        offered: heard.CallOffered,
        *,
        send: Callable[[sip.AnyCommand], None],
        leg: MediaControl,
        clock: Clock,
        options: SipLineOptions,
        tell: Tell,
        record: str | None,
        trace: str | None,
        gone: Callable[[], None],
    ) -> None:
        self._id, self._dialog, self._offer = call_id, offered.dialog, offered.sdp
        self._send, self._leg, self._clock, self._tell, self._gone = send, leg, clock, tell, gone
        self._options = options
        self._record, self._trace = record, trace
        self._host = options.advertise or offered.flow.local[0]
        self._local: LocalMedia | None = None
        self._codec = ""
        self._confirmed = self._held = self._opened = False

    def ring(self) -> None:
        self._send(sip.Ring(self._dialog))

    def answer(self) -> None:
        self._opened = True
        self._leg.send(
            media.OpenLeg(self._id, record=self._record, trace=self._trace, silent_after_s=self._options.silent_after_s)
        )

    def reject(self, status: int, reason: str | None) -> None:
        self._send(sip.Reject(self._dialog, status, reason))

    def hang_up(self) -> None:
        self._send(sip.HangUp(self._dialog))

    def release(self) -> None:
        if self._opened:
            self._leg.send(media.CloseLeg(self._id))
        self._gone()

    def media_said(self, report: media.AnyReport) -> None:
        match report:
            case media.LegOpened(port=port):
                self._answer_with(port)
            case media.LegFailed():
                self._send(sip.Reject(self._dialog, 503))
                self._tell(c.LineEnded("error", "gateway"))
            case media.MediaDied():
                self._send(sip.HangUp(self._dialog, "media failure"))
                self._tell(c.LineEnded("error", "gateway"))
            case _:
                pass

    def handle(self, event: heard.AnySipEvent) -> None:
        match event:
            case heard.CallConfirmed(sdp=sdp):
                self._confirm(sdp)
            case heard.CallCancelled():
                self._tell(c.LineEnded("cancelled", "caller"))
            case heard.CallEnded(by=by):
                self._tell(c.LineEnded("hangup" if by == "bye" else "timeout", "caller"))
            case heard.OfferReceived(sdp=sdp):
                self._renegotiate(sdp)
            case heard.InfoReceived(content_type=kind, body=body):
                self._take_info(kind, body)
            case heard.TransferRequested():
                # Nobody here may send us elsewhere yet; without an answer the peer would wait in vain.
                self._send(sip.AnswerTransfer(self._dialog, 603))
            case _:
                pass

    def _answer_with(self, port: int) -> None:
        self._local = self._options.local_media(self._host, port, int(self._clock.wall()))
        try:
            if self._offer is None:
                self._send(sip.Accept(self._dialog, offer(self._local)))
            else:
                agreed = answer(self._offer, self._local)
                self._connect(agreed)
                self._send(sip.Accept(self._dialog, agreed.sdp))
        except PeerError as error:
            self._send(sip.Reject(self._dialog, error.status_hint))
            self._tell(c.LineEnded("rejected", "gateway"))

    def _confirm(self, sdp: bytes | None) -> None:
        """The ACK. Audio flows from here on, not before: a greeting must not play to a lost 200."""
        if sdp is not None and self._local is not None:
            try:
                self._connect(accept(self._local, sdp))
            except PeerError:
                self._send(sip.HangUp(self._dialog, "unusable answer"))
                self._tell(c.LineEnded("error", "caller"))
                return
        if not self._confirmed and self._codec:
            self._confirmed = True
            self._tell(c.LineAnswered(self._codec))

    def _renegotiate(self, sdp: bytes | None) -> None:
        """A re-INVITE or UPDATE: hold, retrieve, a moved address, a new codec (RFC 3264 section 8)."""
        if self._local is None:
            self._send(sip.RefuseOffer(self._dialog, 491))
            return
        local = msgspec.structs.replace(self._local, version=self._local.version + 1)
        try:
            if sdp is None:
                self._send(sip.AnswerOffer(self._dialog, offer(local)))
            else:
                agreed = answer(sdp, local)
                self._connect(agreed)
                self._send(sip.AnswerOffer(self._dialog, agreed.sdp))
        except PeerError as error:
            self._send(sip.RefuseOffer(self._dialog, error.status_hint))
            return
        self._local = local

    def _connect(self, agreed: Negotiated) -> None:
        self._codec = agreed.codec
        self._leg.send(connect_leg(self._id, agreed))
        if agreed.held != self._held:
            self._held = agreed.held
            self._tell(c.LineHeld(agreed.held))

    def _take_info(self, content_type: str, body: bytes) -> None:
        """DTMF by INFO: `application/dtmf-relay` is key-value lines, `application/dtmf` the bare key."""
        kind = content_type.split(";")[0].strip().lower()
        if kind == "application/dtmf-relay" and (signal := _DTMF_INFO.search(body)):
            length = _DTMF_DURATION.search(body)
            self._press(signal[1], int(length[1]) if length else 160)
        elif kind == "application/dtmf" and len(body.strip()) == 1:
            self._press(body.strip(), 160)

    def _press(self, key: bytes, duration_ms: int) -> None:
        self._tell(DigitPressed(self._clock.now(), self._id, key.decode("ascii").upper(), duration_ms, "info"))


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
    ) -> None:
        """`screen` says by which trunk a call came and who calls, or refuses it."""
        self._send, self._leg, self._clock, self._options = send, leg, clock, options
        self._incoming, self._screen = incoming, screen
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
            retry = (("Retry-After", str(math.ceil(error.retry_after_s))),)
            self._send(sip.Reject(event.dialog, 503, headers=retry))

    def _bring_in(self, event: heard.CallOffered, screened: Screened) -> None:
        options = self._options.for_call(screened)
        if event.sdp is not None:
            answer(event.sdp, options.local_media("0.0.0.0", 9))
        incoming = Incoming("sip", screened.caller, event.called, screened.headers, screened.trunk)

        def line(call_id: str, tell: Tell, record: str | None, trace: str | None) -> SipLine:
            def gone() -> None:
                self._lines.pop(event.dialog, None)
                screened.release()

            self._lines[event.dialog] = SipLine(
                call_id,
                event,
                send=self._send,
                leg=self._leg,
                clock=self._clock,
                options=options,
                tell=tell,
                record=record,
                trace=trace,
                gone=gone,
            )
            return self._lines[event.dialog]

        self._incoming(incoming, line)
