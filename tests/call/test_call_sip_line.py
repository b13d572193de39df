"""The line over SIP: what offers, ACKs, holds and INFO become, with a leg and a dialog that only take notes."""

import time

import pytest
from hallway import NotingLeg, StillClock

from gateway.call import commands as c
from gateway.call.ports import Incoming, LineFactory
from gateway.call.sip_line import SipDoor, SipLineOptions
from gateway.core import events as e
from gateway.core.errors import CapacityError
from gateway.media import commands as media
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.flow import Flow

OFFER = b"""v=0\r
o=- 1 1 IN IP4 192.0.2.7\r
s=-\r
c=IN IP4 192.0.2.7\r
t=0 0\r
m=audio 4000 RTP/AVP 0 8 101\r
a=rtpmap:101 telephone-event/8000\r
"""
HOLD = OFFER.replace(b"o=- 1 1", b"o=- 1 2") + b"a=sendonly\r\n"
NO_AUDIO = OFFER.replace(b"m=audio", b"m=video")
FLOW = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.7", 5060))


class Hall:
    """The door, with everything around it taking notes."""

    def __init__(self, options: SipLineOptions | None = None) -> None:
        self.sip: list[sip.AnyCommand] = []
        self.leg = NotingLeg()
        self.told: list[c.AnyInput | e.DigitPressed] = []
        self.full = False
        self.door = SipDoor(
            send=self.sip.append,
            leg=self.leg,
            clock=StillClock(),
            options=options or SipLineOptions(),
            incoming=self._incoming,
        )

    def _incoming(self, incoming: Incoming, line: LineFactory) -> None:
        if self.full:
            raise CapacityError("full", retry_after_s=7)
        self.incoming = incoming
        self.line = line("c-1", self.told.append, None, None)

    def offer(self, sdp: bytes | None = OFFER) -> None:
        self.door.on_event(
            heard.CallOffered(
                1.0, "d-1", FLOW, "call-id", "1001", "desk", "sip:1001@x", "sip:desk@x", "", sdp, (("X-Shop", "7"),)
            )
        )

    def answer(self) -> None:
        self.line.answer()
        self.line.media_said(media.LegOpened(1.0, "c-1", port=20000, ssrc=1))


@pytest.fixture
def hall() -> Hall:
    return Hall()


def test_an_answered_call_speaks_only_after_the_ack(hall: Hall) -> None:
    """A greeting must not play to a 200 that was lost: the line is up when the ACK has come."""
    hall.offer()
    hall.answer()
    [accepted] = hall.sip
    assert isinstance(accepted, sip.Accept)
    assert b"m=audio 20000 RTP/AVP" in accepted.sdp
    assert hall.told == []
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1"))
    assert hall.told == [c.LineAnswered("PCMU")]
    [_, connect] = hall.leg.sent
    assert isinstance(connect, media.ConnectLeg)
    assert (connect.host, connect.port, connect.dtmf_payload_type) == ("192.0.2.7", 4000, 101)


@pytest.mark.parametrize(("codecs", "wideband"), [(("PCMU",), False), (("PCMU", "G722"), True)])
def test_a_line_knows_whether_it_carries_wideband(codecs: tuple[str, ...], wideband: bool) -> None:
    """By what was agreed, from the answer on: before that nobody is spoken to at 16 kHz."""
    hall = Hall(SipLineOptions(codecs=codecs))
    hall.offer(OFFER.replace(b"RTP/AVP 0 8", b"RTP/AVP 9 0 8"))
    assert not hall.line.wideband
    hall.answer()
    assert hall.line.wideband == wideband


def test_a_late_offer_is_answered_with_our_offer_and_connected_by_the_ack(hall: Hall) -> None:
    """RFC 3261 13.2.1: an INVITE without SDP gets our offer, and its answer comes in the ACK."""
    hall.offer(None)
    hall.answer()
    assert isinstance(hall.sip[0], sip.Accept)
    assert not any(isinstance(command, media.ConnectLeg) for command in hall.leg.sent)
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1", OFFER))
    assert hall.told == [c.LineAnswered("PCMU")]


def test_a_late_offer_that_is_never_answered_ends_the_call(hall: Hall) -> None:
    """Without an answer there is nothing to hear or say."""
    hall.offer(None)
    hall.answer()
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1", NO_AUDIO))
    assert isinstance(hall.sip[-1], sip.HangUp)
    assert hall.told == [c.LineEnded("error", "caller")]


@pytest.mark.parametrize(("sdp", "status"), [(NO_AUDIO, 488), (b"rubbish", 400)])
def test_an_unusable_offer_is_refused_before_anything_is_set_up(hall: Hall, sdp: bytes, status: int) -> None:
    """No leg, no session, no dialplan for a call that cannot be."""
    hall.offer(sdp)
    assert [(type(one), one.status) for one in hall.sip if isinstance(one, sip.Reject)] == [(sip.Reject, status)]
    assert hall.leg.sent == []


def test_no_room_is_503_with_retry_after(hall: Hall) -> None:
    """RFC 3261 21.5.4: say when to come again."""
    hall.full = True
    hall.offer()
    assert hall.sip == [sip.Reject("d-1", 503, headers=(("Retry-After", "7"),))]


def test_hold_and_retrieve_reach_the_call_and_the_leg(hall: Hall) -> None:
    """A held caller is not spoken to; the answer to `sendonly` is `recvonly` (RFC 3264 8.4)."""
    hall.offer()
    hall.answer()
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1"))
    hall.door.on_event(heard.OfferReceived(2.0, "d-1", HOLD))
    assert hall.told[-1] == c.LineHeld(True)
    assert isinstance(hall.sip[-1], sip.AnswerOffer)
    assert b"a=recvonly" in hall.sip[-1].sdp
    assert isinstance(hall.leg.sent[-1], media.ConnectLeg)
    assert hall.leg.sent[-1].direction == "recvonly"
    hall.door.on_event(heard.OfferReceived(3.0, "d-1", OFFER))
    assert hall.told[-1] == c.LineHeld(False)


def test_an_offer_asked_of_us_in_a_re_invite_is_taken_up_by_its_answer(hall: Hall) -> None:
    """RFC 3261 14.1: a re-INVITE without a description gets our offer, and its ACK the answer."""
    hall.offer()
    hall.answer()
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1"))
    hall.door.on_event(heard.OfferReceived(2.0, "d-1", None))
    assert isinstance(hall.sip[-1], sip.AnswerOffer)
    hall.door.on_event(heard.OfferAnswered(2.1, "d-1", OFFER.replace(b"audio 4000", b"audio 5000")))
    assert isinstance(hall.leg.sent[-1], media.ConnectLeg)
    assert hall.leg.sent[-1].port == 5000
    sent = list(hall.leg.sent)
    hall.door.on_event(heard.OfferAnswered(2.2, "d-1", NO_AUDIO))
    assert hall.leg.sent == sent


def test_a_bad_re_offer_is_refused_and_the_call_goes_on(hall: Hall) -> None:
    """RFC 3261 14.2: a refused re-INVITE leaves the session as it was."""
    hall.offer()
    hall.answer()
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1"))
    told = list(hall.told)
    hall.door.on_event(heard.OfferReceived(2.0, "d-1", NO_AUDIO))
    assert hall.sip[-1] == sip.RefuseOffer("d-1", 488)
    assert hall.told == told


@pytest.mark.parametrize(
    ("kind", "body", "digit", "duration_ms"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=240\r\n", "5", 240),
        ("application/dtmf-relay; charset=x", b"Signal= #\r\n", "#", 160),
        ("application/dtmf-relay", b"Signal=10\r\nDuration=100\r\n", "*", 100),
        ("application/dtmf-relay", b"Signal=11", "#", 160),
        ("application/dtmf", b"*", "*", 160),
        ("application/dtmf", b"15", "D", 160),
        ("application/dtmf", b"\r\nb\r\n", "B", 160),
    ],
)
def test_digits_by_info_are_digits(hall: Hall, kind: str, body: bytes, digit: str, duration_ms: int) -> None:
    """Both dialects of DTMF by INFO that phones speak, and the keys by the numbers of their events."""
    hall.offer()
    hall.door.on_event(heard.InfoReceived(2.0, "d-1", kind, body))
    assert hall.told == [e.DigitPressed(100.0, "c-1", digit, duration_ms, "info")]


@pytest.mark.parametrize("body", [b"", b"Signal=", b"Signal=55", b"Signal=16", b"16", b"!", b"Duration=5", b"\xff"])
@pytest.mark.parametrize("kind", ["application/dtmf-relay", "application/dtmf"])
def test_an_info_that_is_no_digit_is_none(hall: Hall, kind: str, body: bytes) -> None:
    """Rubbish in an INFO presses nothing; neither does the hook, which some phones flash."""
    hall.offer()
    hall.door.on_event(heard.InfoReceived(2.0, "d-1", kind, body))
    assert hall.told == []


def test_no_leg_is_503_and_ends_the_call(hall: Hall) -> None:
    """Out of ports: the caller hears it at once, and when to come again."""
    hall.offer()
    hall.line.answer()
    hall.line.media_said(media.LegFailed(1.0, "c-1", "no port"))
    assert hall.sip == [sip.Reject("d-1", 503, headers=(("Retry-After", "5"),))]
    assert hall.told == [c.LineEnded("error", "gateway")]


def test_a_released_line_hears_nothing_more(hall: Hall) -> None:
    """What comes late for a dialog that is over reaches nobody."""
    hall.offer()
    hall.answer()
    hall.line.release()
    assert hall.leg.sent[-1] == media.CloseLeg("c-1")
    hall.door.on_event(heard.CallEnded(9.0, "d-1", "bye"))
    assert hall.told == []


def test_a_transfer_is_declined_and_the_call_goes_on(hall: Hall) -> None:
    """RFC 3515: a REFER wants an answer, also where nobody follows it."""
    hall.offer()
    hall.answer()
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1"))
    told = list(hall.told)
    hall.door.on_event(heard.TransferRequested(2.0, "d-1", "sip:1002@192.0.2.7"))
    assert hall.sip[-1] == sip.AnswerTransfer("d-1", 603)
    assert hall.told == told


@pytest.mark.parametrize("unit", [b"\n", b" ", b"\r\n", b"Signal=", b"Duration = ", b"Signal=1"])
def test_no_info_takes_long_to_read(hall: Hall, unit: bytes) -> None:
    """Not a measurement: only what grows with the square of its length comes near half a second of processor time."""
    hall.offer()
    hall.answer()
    begun = time.process_time()
    hall.door.on_event(heard.InfoReceived(2.0, "d-1", "application/dtmf-relay", unit * (60_000 // len(unit))))
    assert time.process_time() - begun < 0.5
