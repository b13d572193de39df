"""Reliable provisional responses, both sides (RFC 3262)."""

from __future__ import annotations

import pytest
from sip_wire import OUR_SDP, SDP, UDP, Line, ack_of, invite, methods, reply, request, statuses

from gateway.sip.commands import Accept, HangUp, Place, Ring
from gateway.sip.events import CallAccepted, CallCancelled, CallConfirmed, CallProgressed
from gateway.sip.message import Request, Response

REQUIRED = ("Require: 100rel",)
SUPPORTED = ("Supported: 100rel",)


def prack(of: Request | Response, cseq: int = 2, body: bytes = b"", rack: str | None = None) -> bytes:
    rack = rack or f"{of.required('RSeq')} 1 INVITE"
    headers = (f"RAck: {rack}",)
    return request("PRACK", branch=f"z9hG4bK-p{cseq}", cseq=cseq, to_tag=of.to.tag, headers=headers, body=body)


def test_required_ringing_is_repeated_until_prack() -> None:
    """RFC 3262 3: T1, doubling without bound."""
    line = Line()
    line.receive(invite(headers=REQUIRED))
    (ringing,) = line.do(Ring(line.offered))
    assert (ringing.required("Require"), statuses([ringing])) == ("100rel", [180])
    assert statuses(line.advance(3.5)) == [180, 180, 180]
    assert statuses(line.receive(prack(ringing))) == [200]
    assert line.advance(40) == []


def test_a_caller_that_only_can_gets_it_for_early_media() -> None:
    """Plain ringing may be lost; a description may not."""
    line = Line()
    line.receive(invite(headers=SUPPORTED))
    (ringing,) = line.do(Ring(line.offered))
    assert ringing.first("RSeq") is None
    (media,) = line.do(Ring(line.offered, 183, OUR_SDP))
    assert media.first("RSeq") is not None


def test_a_caller_that_cannot_gets_none_of_it() -> None:
    """RFC 3262 3: never without Supported or Require."""
    line = Line()
    line.receive(invite())
    (media,) = line.do(Ring(line.offered, 183, OUR_SDP))
    assert media.first("RSeq") is None


def test_the_200_waits_for_the_prack() -> None:
    """RFC 3262 3."""
    line = Line()
    line.receive(invite(headers=REQUIRED))
    (ringing,) = line.do(Ring(line.offered))
    assert line.do(Accept(line.offered, OUR_SDP)) == []
    answers = line.receive(prack(ringing))
    assert [(m.status, m.cseq.method) for m in answers if isinstance(m, Response)] == [(200, "PRACK"), (200, "INVITE")]
    line.receive(ack_of(answers[1]))
    line.event(CallConfirmed)


def test_one_at_a_time_and_in_order() -> None:
    """RFC 3262 3: the second waits for the first one's PRACK, and is numbered one more."""
    line = Line()
    line.receive(invite(headers=REQUIRED))
    (first,) = line.do(Ring(line.offered))
    assert line.do(Ring(line.offered, 183, OUR_SDP)) == []
    _, second = line.receive(prack(first))
    assert statuses([second]) == [183]
    assert int(second.required("RSeq")) == int(first.required("RSeq")) + 1


@pytest.mark.parametrize(("rack", "status"), [("1 1 INVITE", 481), ("x", 400), ("{rseq} 7 INVITE", 481)])
def test_a_prack_for_something_else_is_refused(rack: str, status: int) -> None:
    """RFC 3262 3: it must match RSeq, CSeq and method; the response is repeated on."""
    line = Line()
    line.receive(invite(headers=REQUIRED))
    (ringing,) = line.do(Ring(line.offered))
    wrong = prack(ringing, rack=rack.format(rseq=ringing.required("RSeq")))
    assert statuses(line.receive(wrong)) == [status]
    assert 180 in statuses(line.advance(1))


def test_no_prack_ends_the_call_attempt() -> None:
    """RFC 3262 3: 64*T1, then a 5xx."""
    line = Line()
    line.receive(invite(headers=REQUIRED))
    line.do(Ring(line.offered))
    assert statuses(line.advance(32.1))[-1] == 504
    assert line.event(CallCancelled).reason == "No PRACK"
    line.advance(40)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)


def test_hanging_up_meanwhile_stops_the_repetition() -> None:
    """The final answer is what is repeated from then on."""
    line = Line()
    line.receive(invite(headers=REQUIRED))
    line.do(Ring(line.offered))
    (declined,) = line.do(HangUp(line.offered))
    assert statuses([declined]) == [603]
    assert set(statuses(line.advance(40))) == {603}


def test_a_late_offer_is_made_in_the_reliable_response_and_answered_in_the_prack() -> None:
    """RFC 3262 5: the 200 then repeats no description, and the answer is told with the confirmation."""
    line = Line()
    line.receive(invite(headers=REQUIRED, body=b""))
    assert line.do(Ring(line.offered)) == []
    (media,) = line.do(Ring(line.offered, 183, OUR_SDP))
    assert media.body == OUR_SDP
    assert statuses(line.receive(prack(media, body=SDP))) == [200]
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert ok.body == b""
    line.receive(ack_of(ok))
    assert line.event(CallConfirmed).sdp == SDP


# Calling


def calling() -> tuple[Line, Request]:
    line = Line()
    (sent,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1"))
    assert isinstance(sent, Request)
    assert "100rel" in sent.tokens("Supported")
    return line, sent


def reliable(sent: Request, number: int, status: int = 183, tag: str = "remote") -> bytes:
    return reply(sent, status, tag=tag, headers=("Require: 100rel", f"RSeq: {number}"), body=SDP)


def test_a_reliable_response_is_acknowledged_and_told_once() -> None:
    """RFC 3262 4: PRACK in the early dialog; repetitions are swallowed."""
    line, sent = calling()
    (prack,) = line.receive(reliable(sent, 41))
    assert isinstance(prack, Request)
    assert (prack.method, prack.uri, prack.to.tag) == ("PRACK", "sip:bob@192.0.2.9", "remote")
    assert (prack.required("RAck"), str(prack.cseq)) == ("41 1 INVITE", "2 PRACK")
    assert line.receive(reliable(sent, 41)) == []
    assert line.event(CallProgressed).sdp == SDP
    line.receive(reply(prack, 200))
    (ack,) = line.receive(reply(sent, 200, body=SDP))
    assert str(ack.cseq) == "1 ACK"
    line.event(CallAccepted)
    (bye,) = line.do(HangUp("out"))
    assert str(bye.cseq) == "3 BYE"


def test_one_that_overtook_another_waits_for_its_turn() -> None:
    """RFC 3262 4: only the next number is acknowledged."""
    line, sent = calling()
    assert methods(line.receive(reliable(sent, 41, 180))) == ["PRACK"]
    assert line.receive(reliable(sent, 43)) == []
    assert methods(line.receive(reliable(sent, 42))) == ["PRACK"]


def test_each_fork_counts_for_itself() -> None:
    """RSeq is of one early dialog."""
    line, sent = calling()
    assert methods(line.receive(reliable(sent, 41, tag="one"))) == ["PRACK"]
    (prack,) = line.receive(reliable(sent, 7, tag="two"))
    assert (prack.to.tag, prack.required("RAck")) == ("two", "7 1 INVITE")


def test_two_endpoints_do_it_with_each_other() -> None:
    """Wired back to back, early media and all."""
    caller, callee = Line(seed="caller"), Line(seed="callee")

    def exchange(messages: list[Request | Response], to: Line, back: Line) -> None:
        while messages:
            messages = [answer for message in messages for answer in to.receive(message.to_bytes())]
            to, back = back, to

    exchange(caller.do(Place("out", "sip:bob@192.0.2.9", UDP, SDP, "sip:desk@192.0.2.1")), callee, caller)
    exchange(callee.do(Ring(callee.offered, 183, OUR_SDP)), caller, callee)
    exchange(callee.do(Accept(callee.offered, OUR_SDP)), caller, callee)
    assert caller.event(CallProgressed).sdp == OUR_SDP
    caller.event(CallAccepted)
    callee.event(CallConfirmed)
    assert "PRACK" in methods(caller.sent)
