"""The audio of one SIP dialog: its media leg kept in step with offers and answers, and keys that come by INFO.

What both directions of calls have in common; `sip_line` answers with it, `outbound_line` calls with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import msgspec

from gateway.call import commands as c
from gateway.call.agreed import connect_leg
from gateway.call.ports import Tell
from gateway.call.trunks import DtmfMode, TrunkRules
from gateway.core.clock import Clock
from gateway.core.errors import MisuseError, PeerError
from gateway.core.events import DigitPressed
from gateway.media import commands as media
from gateway.media.codecs import WIDE
from gateway.media.ports import MediaControl
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.crypto import SrtpPolicy
from gateway.sip.offer_answer import LocalMedia, Negotiated, accept, answer, offer
from gateway.sip.uri import escape_user, parse_uri

_DTMF_KEY = re.compile(rb"[0-9A-D*#]|1[0-5]", re.IGNORECASE)
_DTMF_INFO = re.compile(rb"^[ \t]*+Signal[ \t]*=[ \t]*([0-9A-D*#]|1[0-5])\s*$", re.IGNORECASE | re.MULTILINE)
_KEY_OF_NUMBER = {b"10": b"*", b"11": b"#", b"12": b"A", b"13": b"B", b"14": b"C", b"15": b"D"}
"""Some phones say the number of the RTP event (RFC 4733) instead of the key."""

INFO_KEY_MS = 160
_DTMF_DURATION = re.compile(rb"^[ \t]*+Duration[ \t]*=[ \t]*(\d{1,5})\s*$", re.IGNORECASE | re.MULTILINE)


class SipLineOptions(msgspec.Struct, frozen=True):
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """What we take, in our order of preference."""
    prefer: Literal["theirs", "ours"] = "theirs"
    """Whose order decides."""
    comfort_noise: bool = False
    """Send nothing while nothing is said, to peers that take RFC 3389."""
    dtmf: DtmfMode = "rfc4733"
    """How keys go. Those that come by INFO are taken always."""
    session: sip.SessionPolicy = sip.SessionPolicy()
    accept_transfers: bool = False
    """Let the other side send us to somebody else (REFER), and others take its place (Replaces)."""
    advertise: str | None = None
    """The address in our SDP; None is the local address of the signalling."""
    silent_after_s: float = 2.0
    """When a line that carries no media is noticed; see `CallOptions.line_lost_after_s` for when it ends."""
    srtp: SrtpPolicy = "off"
    """Whether audio is protected: never, where the other side can, or else there is no call."""
    srtp_master: Callable[[], bytes] | None = None
    """Gives `MASTER_OCTETS` unguessable octets for each call's keys. Needed unless `srtp` is off."""

    def local_media(self, host: str, port: int, session_id: int = 1) -> LocalMedia:
        return LocalMedia(
            host=host,
            port=port,
            codecs=self.codecs,
            session_id=session_id,
            dtmf=self.dtmf == "rfc4733",
            comfort_noise=self.comfort_noise,
            prefer=self.prefer,
            srtp=self.srtp,
            master=b"" if self.srtp == "off" else self._master(),
        )

    def _master(self) -> bytes:
        if self.srtp_master is None:
            raise MisuseError("SRTP needs a source of keys")
        return self.srtp_master()

    def for_trunk(self, rules: TrunkRules | None) -> SipLineOptions:
        """As the call's trunk wants it."""
        if rules is None:
            return self
        srtp = rules.srtp or self.srtp
        options = msgspec.structs.replace(
            self, dtmf=rules.dtmf, session=rules.session, srtp=srtp, accept_transfers=rules.transfers
        )
        return msgspec.structs.replace(options, codecs=rules.codecs, prefer="ours") if rules.codecs else options


def host_of(uri: str) -> str:
    """With its port, as it stands in a URI; "" for what is none."""
    try:
        parsed = parse_uri(uri)
    except PeerError:
        return ""
    return f"{parsed.host}:{parsed.port}" if parsed.port else parsed.host


class Wires(msgspec.Struct, frozen=True):
    """What every line over SIP is joined to."""

    send: Callable[[sip.AnyCommand], None]
    leg: MediaControl
    clock: Clock


class SipStream:
    """Sans-IO: `wires` only take commands. `dialog` is the handle of the dialog at hand, "" before there is one.

    Implements `gateway.call.ports.Referral`. A call that moves on to another peer keeps its leg: what takes another
    stream's place (`succeeds`) offers the same leg from the beginning, and has it once there is an answer.
    """

    def __init__(
        self,
        call_id: str,
        wires: Wires,
        options: SipLineOptions,
        tell: Tell,
        record: str | None = None,
        trace: str | None = None,
        succeeds: SipStream | None = None,
    ) -> None:
        self._id, self._wires, self._options, self._tell = call_id, wires, options, tell
        self._record, self._trace = record, trace
        self._local: LocalMedia | None = None
        self._first: LocalMedia | None = None
        self._joined: media.ConnectLeg | None = None
        self._opened = self._held = False
        self._former = succeeds
        self.port: int = 0 if succeeds is None else succeeds.port
        """Of the leg; 0 while there is none."""
        self.dialog = ""
        self.realm = ""
        """The domain of numbers at the other side."""
        self.refers = True
        """Whether the other side does transfers, as far as we know."""
        self.codec = ""
        self.session = options.session
        """What is agreed about session timers."""

    # The leg

    @property
    def leg(self) -> str:
        return self._id

    def open(self) -> None:
        """Ends in a report of the leg: `LegOpened` or `LegFailed`."""
        self._opened = True
        silent_after_s = self._options.silent_after_s
        self._wires.leg.send(
            media.OpenLeg(self._id, record=self._record, trace=self._trace, silent_after_s=silent_after_s)
        )

    @property
    def wideband(self) -> bool:
        return self._joined is not None and self._joined.codec in WIDE

    def close(self) -> None:
        if self._opened:
            self._wires.leg.send(media.CloseLeg(self._id))

    def listens_on(self, host: str, port: int) -> None:
        """Where the leg turned out to be; `host` unless another is advertised."""
        self.port = port
        host = self._options.advertise or host
        self._local = self._first = self._options.local_media(host, port, int(self._wires.clock.wall()))

    def begin(self, dialog: str) -> None:
        """Another dialog: what was agreed with the one before it counts no more."""
        self.dialog, self._local = dialog, self._first

    def press(self, digits: str) -> None:
        """Keys of ours: as INFO where that is agreed; else the leg sends events, or tones to who takes none."""
        if self._options.dtmf != "info":
            self._wires.leg.send(media.SendDigits(self._id, digits))
            return
        for digit in digits:
            body = f"Signal={digit}\r\nDuration={INFO_KEY_MS}\r\n"
            self._wires.send(sip.SendInfo(self.dialog, "application/dtmf-relay", body.encode()))

    def answer_text(self, number: int, *, taken: bool) -> None:
        refusal = () if taken else (480, "Nobody Reads Now")
        self._wires.send(sip.AnswerMessage(self.dialog, number, *refusal))

    # Offers and answers; each raises `PeerError` for a description that cannot be used

    def offer(self) -> bytes:
        assert self._local is not None, "an offer needs a leg"
        return offer(self._local)

    def answer(self, their_offer: bytes) -> bytes:
        assert self._local is not None, "an answer needs a leg"
        agreed = answer(their_offer, self._local)
        self._connect(agreed)
        return agreed.sdp

    def take_answer(self, their_answer: bytes) -> None:
        """To our offer."""
        if self._local is not None:
            self._connect(accept(self._local, their_answer))

    def take_early(self, their_answer: bytes) -> str:
        """Hear what comes before the call is answered; the codec, or "" when that cannot be heard."""
        if self._local is None or self._former is not None:
            return ""
        try:
            agreed = accept(self._local, their_answer)
        except PeerError:
            return ""
        self._join(agreed)
        return agreed.codec

    def _join(self, agreed: Negotiated, *, newcomer: bool = False) -> None:
        """Not anew to where it is: an answer that early media brought already must not be heard to click."""
        joined = connect_leg(self._id, agreed, inband_digits=self._options.dtmf == "inband")
        if joined != self._joined:
            self._joined = joined
            self._wires.leg.send(msgspec.structs.replace(joined, newcomer=newcomer))

    def _connect(self, agreed: Negotiated) -> None:
        newcomer = self._former is not None
        if self._former is not None:
            self._former._opened, self._opened, self._former = False, True, None
        self.codec = agreed.codec
        if agreed.srtp is not None and self._local is not None:
            # What is protected stays so: a re-offer without keys is refused, not followed into the open.
            self._local = msgspec.structs.replace(self._local, srtp="required")
        self._join(agreed, newcomer=newcomer)
        if agreed.held != self._held:
            self._held = agreed.held
            self._tell(c.LineHeld(agreed.held))

    # A call that is up

    def handle(self, event: heard.AnySipEvent) -> None:
        """What comes in a confirmed dialog."""
        match event:
            case heard.CallEnded(by=by):
                self._tell(c.LineEnded("hangup" if by == "bye" else "timeout", "caller"))
            case heard.OfferReceived(sdp=sdp):
                self._renegotiate(sdp)
            case heard.OfferAnswered(sdp=sdp):
                self._take_late_answer(sdp)
            case heard.InfoReceived(content_type=kind, body=body):
                self._take_info(kind, body)
            case heard.MessageReceived(number=number, text=text):
                self._tell(c.TextCame(text, number))
            case heard.TransferRequested(target=target, replaces=replaces, referred_by=referred_by):
                if self.accepts_transfers:
                    self._tell(c.TransferAsked(target, replaces, referred_by))
                else:
                    self.answer_transfer(603)
            case heard.TransferProgressed(status=status, refused=refused):
                self._tell(c.TransferTold(status, refused))
            case _:
                pass

    # Transfers

    @property
    def accepts_transfers(self) -> bool:
        return self._options.accept_transfers

    def refer(self, to: str, replaces: str) -> None:
        target = to if not to or ":" in to else f"sip:{escape_user(to)}@{self.realm}"
        try:
            if not self.refers:
                raise MisuseError("the other side does not take REFER")
            self._wires.send(sip.Transfer(self.dialog, target, replaces))
        except MisuseError:
            self._tell(c.TransferTold(405, refused=True))

    def answer_transfer(self, status: int) -> None:
        self._wires.send(sip.AnswerTransfer(self.dialog, status))

    def report_transfer(self, status: int) -> None:
        self._wires.send(sip.ReportTransfer(self.dialog, status))

    def fail(self, reason: str) -> None:
        """Something of ours broke: say goodbye, and end."""
        self._wires.send(sip.HangUp(self.dialog, reason))
        self._tell(c.LineEnded("error", "gateway"))

    def _renegotiate(self, sdp: bytes | None) -> None:
        """A re-INVITE or UPDATE: hold, retrieve, a moved address, a new codec (RFC 3264 section 8)."""
        before = self._local
        if before is None or not self._opened:
            self._wires.send(sip.RefuseOffer(self.dialog, 491))
            return
        self._local = msgspec.structs.replace(before, version=before.version + 1)
        try:
            ours = self.offer() if sdp is None else self.answer(sdp)
        except PeerError as error:
            self._local = before
            self._wires.send(sip.RefuseOffer(self.dialog, error.status_hint))
            return
        self._wires.send(sip.AnswerOffer(self.dialog, ours))

    def _take_late_answer(self, sdp: bytes) -> None:
        """To the offer that a re-INVITE without one asked of us; a useless one leaves the audio as it was."""
        with suppress(PeerError):
            if self._opened:
                self.take_answer(sdp)

    def _take_info(self, content_type: str, body: bytes) -> None:
        """DTMF by INFO: `application/dtmf-relay` is key-value lines, `application/dtmf` the bare key."""
        kind = content_type.split(";")[0].strip().lower()
        if kind == "application/dtmf-relay" and (signal := _DTMF_INFO.search(body)):
            length = _DTMF_DURATION.search(body)
            self._press(signal[1], int(length[1]) if length else 160)
        elif kind == "application/dtmf" and _DTMF_KEY.fullmatch(key := body.strip()):
            self._press(key, 160)

    def _press(self, key: bytes, duration_ms: int) -> None:
        key = _KEY_OF_NUMBER.get(key, key)
        now = self._wires.clock.now()
        self._tell(DigitPressed(now, self._id, key.decode("ascii").upper(), duration_ms, "info"))


class StreamedLine:
    """What a line over SIP leaves to its stream, whichever side called."""

    _stream: SipStream

    def press(self, digits: str) -> None:
        self._stream.press(digits)

    def answer_text(self, number: int, *, taken: bool) -> None:
        self._stream.answer_text(number, taken=taken)

    @property
    def referral(self) -> SipStream:
        return self._stream

    @property
    def wideband(self) -> bool:
        return self._stream.wideband
