"""The line that calls out: fail-over, redirects, giving up, and why a call did not come about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hallway import NotingLeg, StillClock
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import commands as c
from gateway.call.outbound_line import MAX_REDIRECTS, Attempt, Dialler, Order, OutboundLine
from gateway.call.sip_stream import SipLineOptions, Wires
from gateway.core import events as e
from gateway.media import commands as media
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.crypto import MASTER_OCTETS
from gateway.sip.flow import Flow
from gateway.sip.offer_answer import LocalMedia, answer

US = ("192.0.2.1", 5060)
FIRST, SECOND, THIRD = (Flow("udp", US, (f"192.0.2.{n}", 5060)) for n in (11, 12, 13))
CREDENTIALS = sip.Credentials("4711", "secret")

PLAIN = SipLineOptions()


class Caller:
    """A placed call with everything around it taking notes, and a clock in our hands."""

    def __init__(self, *flows: Flow, ring_s: float = 60.0, options: SipLineOptions = PLAIN) -> None:
        self.clock, self.leg = StillClock(), NotingLeg()
        self.sip: list[sip.AnyCommand] = []
        self.told: list[c.AnyInput | e.DigitPressed] = []
        self.rings: list[int] = []
        self.gone = 0
        self.due: float | None = None
        self.ways: dict[str, Attempt] = {}
        self.dialler = Dialler(Wires(self.sip.append, self.leg, self.clock), options, self._alarm)
        attempts = tuple(Attempt("sip:100@provider.example", flow, CREDENTIALS) for flow in flows or (FIRST, SECOND))
        self.line: OutboundLine = self.dialler.line(
            "c-1",
            Order(attempts, "sip:4711@provider.example", ring_s=ring_s),
            tell=self._tell,
            record="call.wav",
            trace=None,
            redirect=lambda uri, by: self.ways.get(uri),
            gone=self._forget,
        )
        assert self.sip == []
        self.line.media_said(media.LegOpened(100.0, "c-1", port=20000, ssrc=1))

    def _alarm(self, ring: Callable[[], None]) -> Callable[[float | None], None]:
        self.ring = ring

        def wake(at: float | None) -> None:
            self.due = at

        return wake

    def _tell(self, told: c.AnyInput | e.DigitPressed) -> None:
        if isinstance(told, c.LineRang):
            self.rings.append(told.status)
        else:
            self.told.append(told)

    def _forget(self) -> None:
        self.gone += 1

    def advance(self, seconds: float) -> None:
        end = self.clock.time + seconds
        while self.due is not None and self.due <= end:
            self.clock.time, self.due = max(self.clock.time, self.due), None
            self.ring()
        self.clock.time = end

    @property
    def placed(self) -> list[sip.Place]:
        return [command for command in self.sip if isinstance(command, sip.Place)]

    @property
    def dialog(self) -> str:
        return self.placed[-1].dialog

    def hears(self, kind: type[heard.SipEvent], *facts: Any) -> None:
        assert self.dialler.on_event(kind(self.clock.time, self.dialog, *facts))  # type: ignore[arg-type]

    def accepts(self) -> None:
        self.hears(heard.CallAccepted, answer(self.placed[-1].sdp, LocalMedia("192.0.2.50", 4000)).sdp)


def test_it_dials_at_once_and_is_answered_when_the_route_asks_and_the_called_party_picks_up() -> None:
    """Whichever comes last; and only after the leg is joined."""
    caller = Caller()
    (place,) = caller.placed
    assert (place.uri, place.flow, place.credentials) == ("sip:100@provider.example", FIRST, CREDENTIALS)
    assert b"m=audio 20000" in place.sdp
    caller.hears(heard.CallProgressed, 180, "Ringing")
    caller.line.answer()
    assert (caller.told, caller.rings) == ([], [180])
    caller.accepts()
    assert isinstance(caller.leg.sent[-1], media.ConnectLeg)
    assert caller.told == [c.LineAnswered("PCMU")]


def test_a_called_party_who_is_quicker_than_the_route_waits_for_it() -> None:
    """And the answer is told in a turn of its own, not from within the asking."""
    caller = Caller()
    caller.accepts()
    caller.line.answer()
    assert caller.told == []
    caller.advance(0)
    assert caller.told == [c.LineAnswered("PCMU")]
    caller.advance(1000)
    assert len(caller.told) == 1


EARLY = b"v=0\r\no=- 1 1 IN IP4 192.0.2.50\r\ns=-\r\nc=IN IP4 192.0.2.50\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def test_early_media_is_heard_and_is_no_answer() -> None:
    """Ringing and announcements of the network reach the leg; the route still waits for the called party."""
    caller = Caller()
    caller.line.answer()
    caller.hears(heard.CallProgressed, 183, "Progress", EARLY + b"a=sendonly\r\n")
    connected = caller.leg.sent[-1]
    assert isinstance(connected, media.ConnectLeg)
    assert (connected.host, connected.port) == ("192.0.2.50", 4000)
    assert caller.told == []
    caller.accepts()
    assert caller.told == [c.LineAnswered("PCMU")]


def test_a_session_that_changes_while_it_rings_is_followed() -> None:
    """RFC 3311: the callee's UPDATE is answered at once; a 2xx that brings nothing new leaves that as it is."""
    caller = Caller()
    caller.line.answer()
    caller.hears(heard.CallProgressed, 183, "Progress", EARLY)
    caller.hears(heard.OfferReceived, EARLY.replace(b"4000", b"4002"))
    assert isinstance(caller.sip[-1], sip.AnswerOffer)
    connected = caller.leg.sent[-1]
    assert isinstance(connected, media.ConnectLeg)
    assert connected.port == 4002
    caller.hears(heard.CallAccepted, None)
    assert caller.leg.sent[-1] is connected
    assert caller.told == [c.LineAnswered("PCMU")]


def test_early_media_that_cannot_be_heard_harms_nothing() -> None:
    """The call goes on without."""
    caller = Caller()
    caller.hears(heard.CallProgressed, 183, "Progress", b"v=0")
    assert not any(isinstance(command, media.ConnectLeg) for command in caller.leg.sent)
    caller.line.answer()
    caller.accepts()
    assert caller.told == [c.LineAnswered("PCMU")]


def test_what_one_target_agreed_to_early_does_not_bind_the_next() -> None:
    """The next is offered what the first was: protection that is optional stays optional."""
    caller = Caller(FIRST, SECOND, options=SipLineOptions(srtp="optional", srtp_master=lambda: bytes(MASTER_OCTETS)))
    theirs = LocalMedia("192.0.2.50", 4000, srtp="required", master=bytes(MASTER_OCTETS))
    caller.hears(heard.CallProgressed, 183, "Progress", answer(caller.placed[0].sdp, theirs).sdp)
    assert isinstance(caller.leg.sent[-1], media.ConnectLeg)
    caller.hears(heard.CallFailed, 503, "No")
    assert caller.placed[1].sdp == caller.placed[0].sdp


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_a_target_without_room_or_voice_is_followed_by_the_next(status: int) -> None:
    """RFC 3263 4.3; with nobody left the called party is unreachable."""
    caller = Caller(FIRST, SECOND)
    caller.hears(heard.CallFailed, status, "No")
    assert [place.flow for place in caller.placed] == [FIRST, SECOND]
    assert caller.placed[0].dialog != caller.placed[1].dialog
    caller.hears(heard.CallFailed, status, "No")
    assert caller.told == [c.LineEnded("unreachable", "caller")]
    assert caller.line.status == status


@pytest.mark.parametrize(
    ("status", "reason"),
    [(486, "busy"), (600, "busy"), (480, "no_answer"), (603, "rejected"), (404, "rejected"), (403, "rejected")],
)
def test_a_refusal_is_a_refusal(status: int, reason: e.EndReason) -> None:
    """The called party has spoken; other targets would only ring them again."""
    caller = Caller(FIRST, SECOND)
    caller.hears(heard.CallFailed, status, "No")
    assert caller.told == [c.LineEnded(reason, "caller")]
    assert len(caller.placed) == 1


def test_a_timeout_after_ringing_is_nobody_home() -> None:
    """The target did its part."""
    caller = Caller(FIRST, SECOND)
    caller.hears(heard.CallProgressed, 180, "Ringing")
    caller.hears(heard.CallFailed, 408, "Request Timeout")
    assert caller.told == [c.LineEnded("no_answer", "caller")]


def test_ringing_without_end_is_given_up() -> None:
    """By CANCEL, which is what hanging up means before an answer."""
    caller = Caller(FIRST, ring_s=20)
    caller.hears(heard.CallProgressed, 180, "Ringing")
    caller.advance(19.9)
    assert caller.told == []
    caller.advance(0.2)
    assert caller.sip[-1] == sip.HangUp(caller.dialog)
    assert caller.told == [c.LineEnded("no_answer", "caller")]
    assert caller.due is None


def test_a_redirection_is_followed_its_best_first() -> None:
    """Before the targets that were left."""
    caller = Caller(FIRST, SECOND)
    caller.ways = {"sip:a@x": Attempt("sip:a@x", THIRD), "sip:b@x": Attempt("sip:b@x", THIRD)}
    caller.hears(heard.CallFailed, 302, "Moved", ("sip:a@x", "mailto:nobody", "sip:b@x"))
    caller.hears(heard.CallFailed, 503, "No")
    caller.hears(heard.CallFailed, 503, "No")
    assert [place.uri for place in caller.placed] == [
        "sip:100@provider.example", "sip:a@x", "sip:b@x", "sip:100@provider.example",
    ]  # fmt: skip
    assert caller.placed[1].credentials is None


def test_redirections_in_a_circle_end() -> None:
    """What has been tried is not tried again, and new addresses run out, too."""
    caller = Caller(FIRST)
    caller.ways = {f"sip:{n}@x": Attempt(f"sip:{n}@x", THIRD) for n in range(100)}
    for n in range(100):
        if caller.told:
            break
        caller.hears(heard.CallFailed, 302, "Moved", (f"sip:{n}@x", "sip:0@x"))
    assert isinstance(caller.told[0], c.LineEnded)
    assert len(caller.placed) <= 1 + MAX_REDIRECTS


def test_a_redirection_to_nowhere_is_a_refusal() -> None:
    """Nothing of what it names can be called."""
    caller = Caller(FIRST)
    caller.hears(heard.CallFailed, 302, "Moved", ("mailto:nobody",))
    assert caller.told == [c.LineEnded("rejected", "caller")]


def test_hanging_up_cancels_and_late_news_changes_nothing() -> None:
    """The endpoint sees to a 200 that crosses; the call is over."""
    caller = Caller()
    caller.line.hang_up()
    assert caller.sip[-1] == sip.HangUp(caller.dialog)
    caller.accepts()
    caller.line.hang_up()
    assert len(caller.sip) == 2
    assert caller.told == []


def test_release_frees_the_leg_and_the_dialogs() -> None:
    """Once, and nothing is heard afterwards."""
    caller = Caller()
    caller.hears(heard.CallFailed, 503, "No")
    caller.line.release()
    assert caller.leg.sent[-1] == media.CloseLeg("c-1")
    assert caller.gone == 1
    assert not caller.dialler.on_event(heard.CallFailed(1.0, caller.dialog, 503, "No"))


def test_an_unusable_answer_ends_the_call() -> None:
    """Nothing could be heard or said."""
    caller = Caller()
    caller.hears(heard.CallAccepted, None)
    assert isinstance(caller.sip[-1], sip.HangUp)
    assert caller.told == [c.LineEnded("error", "caller")]


def test_once_up_it_is_a_line_like_any_other() -> None:
    """Hold, keys by INFO, and the other side's goodbye."""
    caller = Caller()
    caller.line.answer()
    caller.accepts()
    offer = caller.placed[0].sdp.replace(b"a=sendrecv", b"a=sendonly").replace(b"192.0.2.1", b"192.0.2.50")
    caller.hears(heard.OfferReceived, offer)
    caller.hears(heard.InfoReceived, "application/dtmf", b"5")
    caller.hears(heard.CallEnded, "bye", "")
    assert caller.told[1] == c.LineHeld(True)
    assert isinstance(caller.told[2], e.DigitPressed)
    assert caller.told[3] == c.LineEnded("hangup", "caller")
    assert caller.due is None


def test_without_a_leg_nobody_is_called() -> None:
    """And a media process that dies takes its calls along."""
    caller = Caller()
    caller.line.media_said(media.MediaDied(1.0, "c-1"))
    assert isinstance(caller.sip[-1], sip.HangUp)
    assert caller.told == [c.LineEnded("error", "gateway")]


@pytest.mark.parametrize(("dtmf", "events"), [("rfc4733", True), ("inband", False)])
def test_keys_are_the_legs_business(dtmf: str, events: bool) -> None:
    """As events where they are negotiated, else as tones: the leg knows."""
    caller = Caller(options=SipLineOptions(dtmf=dtmf))  # type: ignore[arg-type]
    assert (b"telephone-event" in caller.placed[0].sdp) == events
    caller.accepts()
    caller.line.press("1#")
    assert caller.leg.sent[-1] == media.SendDigits("c-1", "1#")


def test_keys_go_by_info_where_that_is_agreed() -> None:
    """One request a key, in order; no telephone-event is offered then."""
    caller = Caller(options=SipLineOptions(dtmf="info"))
    assert b"telephone-event" not in caller.placed[0].sdp
    caller.accepts()
    caller.line.press("1#")
    bodies = [command.body for command in caller.sip if isinstance(command, sip.SendInfo)]
    assert bodies == [b"Signal=1\r\nDuration=160\r\n", b"Signal=#\r\nDuration=160\r\n"]
    assert not any(isinstance(command, media.SendDigits) for command in caller.leg.sent)


def test_a_call_goes_by_its_trunks_route_and_timer() -> None:
    """Service-Route of the registrar; the session timer's policy of the operator."""
    options = SipLineOptions(session=sip.SessionPolicy("accept", 600))
    caller = Caller(options=options)
    assert caller.placed[0].session == sip.SessionPolicy("accept", 600)
    assert caller.placed[0].route == ()


REPORTS = st.sampled_from(
    ["ring", "accept", "refuse", "silence", "no room", "moved", "bye", "answer", "hang up", "wait"]
)


@given(st.lists(REPORTS, max_size=12))
def test_whatever_happens_it_ends_once_and_answers_once(happens: list[str]) -> None:
    """The call must not be told of two ends, nor of an answer after one."""
    caller = Caller(FIRST, SECOND)
    caller.ways = {"sip:a@x": Attempt("sip:a@x", THIRD)}
    for what in happens:
        match what:
            case "ring":
                caller.hears(heard.CallProgressed, 180, "Ringing")
            case "accept":
                caller.accepts()
            case "refuse":
                caller.hears(heard.CallFailed, 486, "Busy")
            case "silence":
                caller.hears(heard.CallFailed, 408, "Timeout")
            case "no room":
                caller.hears(heard.CallFailed, 503, "No")
            case "moved":
                caller.hears(heard.CallFailed, 302, "Moved", ("sip:a@x",))
            case "bye":
                caller.hears(heard.CallEnded, "bye", "")
            case "answer":
                caller.line.answer()
            case "hang up":
                caller.line.hang_up()
            case _:
                caller.advance(30)
    ends = [told for told in caller.told if isinstance(told, c.LineEnded)]
    assert len(ends) <= 1
    assert sum(isinstance(told, c.LineAnswered) for told in caller.told) <= 1
    assert not ends or caller.told[-1] is ends[0]
    if caller.line.phase == "over":
        assert caller.due is None
