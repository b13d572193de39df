"""SRTP in the hallway: what was agreed on reaches the leg, and what is protected stays so."""

from __future__ import annotations

from itertools import count

import msgspec
import pytest
from hallway import NotingLeg, StillClock

from gateway.call.ports import Incoming, LineFactory
from gateway.call.sip_line import SipDoor, SipLineOptions
from gateway.call.sip_stream import SipStream, Wires
from gateway.core.errors import MisuseError, PeerError
from gateway.media import commands as media
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.crypto import MASTER_OCTETS, SrtpPolicy
from gateway.sip.flow import Flow
from gateway.sip.offer_answer import LocalMedia, Negotiated, accept, answer, offer

FLOW = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.7", 5060))
PLAIN = LocalMedia("192.0.2.7", 4000)
SECURE = LocalMedia("192.0.2.7", 4000, srtp="required", master=bytes(MASTER_OCTETS))
MIXED = LocalMedia("192.0.2.7", 4000, srtp="optional", master=bytes(MASTER_OCTETS))


class Hall:
    """The door with a policy; keys are numbered by call."""

    def __init__(self, policy: SrtpPolicy) -> None:
        self.sip: list[sip.AnyCommand] = []
        self.leg = NotingLeg()
        numbers = count(1)
        options = self.options = SipLineOptions(srtp=policy, srtp_master=lambda: bytes([next(numbers)]) * MASTER_OCTETS)
        self.door = SipDoor(
            send=self.sip.append, leg=self.leg, clock=StillClock(), options=options, incoming=self._incoming
        )

    @property
    def connected(self) -> list[media.ConnectLeg]:
        return [command for command in self.leg.sent if isinstance(command, media.ConnectLeg)]

    def _incoming(self, incoming: Incoming, line: LineFactory) -> None:
        self.line = line("c-1", lambda told: None, None, None)

    def call(self, sdp: bytes | None) -> bytes:
        """Our 200's description."""
        self.door.on_event(
            heard.CallOffered(1.0, "d-1", FLOW, "call-id", "1001", "desk", "sip:1001@x", "sip:desk@x", "", sdp, ())
        )
        assert not self.sip, self.sip
        self.line.answer()
        self.line.media_said(media.LegOpened(1.0, "c-1", port=20000, ssrc=1))
        accepted = self.sip.pop()
        assert isinstance(accepted, sip.Accept)
        return accepted.sdp

    def reoffer(self, sdp: bytes | None) -> sip.AnyCommand:
        self.door.on_event(heard.OfferReceived(2.0, "d-1", sdp))
        return self.sip.pop()


def fits(leg: media.Srtp | None, phone: Negotiated) -> bool:
    assert leg is not None
    assert phone.srtp is not None
    return (leg.suite, leg.ours, leg.theirs) == (phone.srtp.suite, phone.srtp.theirs, phone.srtp.ours)


@pytest.mark.parametrize("policy", ["optional", "required"])
@pytest.mark.parametrize("theirs", [SECURE, MIXED])
def test_the_leg_gets_the_keys_that_the_phone_has(policy: SrtpPolicy, theirs: LocalMedia) -> None:
    """Ours are theirs and theirs ours."""
    hall = Hall(policy)
    phone = accept(theirs, hall.call(offer(theirs)))
    assert fits(hall.connected[0].srtp, phone)


@pytest.mark.parametrize(
    ("policy", "theirs", "refused"),
    [
        ("off", PLAIN, False),
        ("off", MIXED, False),
        ("off", SECURE, True),
        ("optional", PLAIN, False),
        ("required", PLAIN, True),
    ],
)
def test_who_cannot_agree_gets_488_at_once(policy: SrtpPolicy, theirs: LocalMedia, refused: bool) -> None:
    """And everybody else a plain leg, as ever."""
    hall = Hall(policy)
    if refused:
        with pytest.raises(AssertionError, match="488"):
            hall.call(offer(theirs))
        assert hall.connected == []
    else:
        assert b"crypto" not in hall.call(offer(theirs))
        assert hall.connected[0].srtp is None


def test_an_invite_without_offer_is_offered_keys() -> None:
    """And its ACK brings the phone's."""
    hall = Hall("required")
    phone = answer(hall.call(None), SECURE)
    hall.door.on_event(heard.CallConfirmed(1.1, "d-1", phone.sdp))
    assert fits(hall.connected[0].srtp, phone)


@pytest.mark.parametrize(("policy", "callee"), [("optional", PLAIN), ("optional", MIXED), ("required", SECURE)])
def test_a_call_that_we_place_offers_keys(policy: SrtpPolicy, callee: LocalMedia) -> None:
    """The stream under an outbound line: the answer decides, as far as the policy lets it."""
    hall = Hall(policy)
    stream = SipStream("c-1", Wires(hall.sip.append, hall.leg, StillClock()), hall.options, lambda told: None)
    stream.listens_on("192.0.2.1", 20000)
    phone = answer(stream.offer(), callee)
    stream.take_answer(phone.sdp)
    if callee is PLAIN:
        assert hall.connected[0].srtp is None
    else:
        assert fits(hall.connected[0].srtp, phone)


def test_a_called_party_that_cannot_protect_is_not_talked_to() -> None:
    """With SRTP required, an answer in the open is no answer."""
    hall = Hall("required")
    stream = SipStream("c-1", Wires(hall.sip.append, hall.leg, StillClock()), hall.options, lambda told: None)
    stream.listens_on("192.0.2.1", 20000)
    with pytest.raises(PeerError):
        stream.take_answer(answer(offer(PLAIN), PLAIN).sdp)
    assert hall.connected == []


def test_a_hold_keeps_the_keys() -> None:
    """A new key would be a new count of packets for both."""
    hall = Hall("optional")
    hall.call(offer(SECURE))
    held = hall.reoffer(offer(msgspec.structs.replace(SECURE, direction="sendonly", version=2)))
    assert isinstance(held, sip.AnswerOffer)
    assert hall.connected[1].direction == "recvonly"
    assert hall.connected[1].srtp == hall.connected[0].srtp


def test_what_is_protected_is_not_led_into_the_open() -> None:
    """A re-offer without keys is refused though the policy would take it from a new call; our own has keys only."""
    hall = Hall("optional")
    hall.call(offer(MIXED))
    assert hall.reoffer(offer(PLAIN)) == sip.RefuseOffer("d-1", 488)
    ours = hall.reoffer(None)
    assert isinstance(ours, sip.AnswerOffer)
    assert b"RTP/SAVP" in ours.sdp
    assert len(hall.connected) == 1


def test_a_plain_call_may_become_protected() -> None:
    """The other way round is welcome."""
    hall = Hall("optional")
    hall.call(offer(PLAIN))
    answered = hall.reoffer(offer(SECURE))
    assert isinstance(answered, sip.AnswerOffer)
    assert fits(hall.connected[-1].srtp, accept(SECURE, answered.sdp))


def test_each_call_has_keys_of_its_own() -> None:
    """A key used in two calls is a key stream used twice."""
    hall = Hall("required")
    hall.call(offer(SECURE))
    hall.call(offer(SECURE))
    first, second = (connect.srtp for connect in hall.connected)
    assert first is not None
    assert second is not None
    assert first.ours != second.ours


def test_there_are_no_default_keys() -> None:
    """Whoever switches protection on brings the randomness along."""
    with pytest.raises(MisuseError):
        SipLineOptions(srtp="optional").local_media("192.0.2.1", 4000)
