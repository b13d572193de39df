"""Offers within a call, and what happens when they meet (RFC 3261 14, RFC 3311, RFC 6337)."""

from __future__ import annotations

import pytest
from sip_wire import OUR_SDP, SDP, Line, ack_of, invite, methods, reply, request, statuses

from gateway.sip.commands import Accept, AnswerOffer, HangUp, Offer, RefuseOffer
from gateway.sip.events import CallConfirmed, CallEnded, OfferAnswered, OfferReceived, OfferRefused
from gateway.sip.message import Request, Response

HELD = SDP + b"a=sendonly\r\n"


def call() -> tuple[Line, str]:
    """A call that is up, and our tag in it."""
    line = Line()
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    return line, ok.to.tag


def test_a_re_invite_is_offered_and_answered() -> None:
    """Hold and resume: 100 at once, 200 with Contact until the ACK."""
    line, tag = call()
    assert statuses(line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag, body=HELD))) == [100]
    assert line.event(OfferReceived).sdp == HELD
    (ok,) = line.do(AnswerOffer(line.offered, OUR_SDP))
    assert (statuses([ok]), ok.body) == ([200], OUR_SDP)
    assert ok.contact is not None
    assert statuses(line.advance(0.5)) == [200]
    line.receive(ack_of(ok))
    assert line.advance(5) == []
    line.event(CallConfirmed)


def test_a_re_invite_moves_the_peer() -> None:
    """RFC 3261 12.2: it refreshes the remote target."""
    line, tag = call()
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag, contact="<sip:alice@192.0.2.9:5099>"))
    (ok,) = line.do(AnswerOffer(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    (bye,) = line.do(HangUp(line.offered))
    assert isinstance(bye, Request)
    assert bye.uri == "sip:alice@192.0.2.9:5099"


def test_a_refused_re_invite_leaves_the_call_as_it_was() -> None:
    """RFC 3261 14.2."""
    line, tag = call()
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag, contact="<sip:alice@192.0.2.9:5099>"))
    (refused,) = line.do(RefuseOffer(line.offered, 488))
    assert statuses([refused]) == [488]
    line.receive(ack_of(refused))
    (bye,) = line.do(HangUp(line.offered))
    assert isinstance(bye, Request)
    assert bye.uri == "sip:alice@192.0.2.9"


def test_a_re_invite_without_sdp_asks_for_our_offer() -> None:
    """RFC 3261 14.2 with the answer in the ACK."""
    line, tag = call()
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag, body=b""))
    assert line.event(OfferReceived).sdp is None
    (ok,) = line.do(AnswerOffer(line.offered, OUR_SDP))
    line.receive(ack_of(ok, body=SDP))
    assert line.event(OfferAnswered).sdp == SDP


def test_an_update_is_answered_without_ack() -> None:
    """RFC 3311."""
    line, tag = call()
    line.receive(request("UPDATE", branch="z9hG4bK-2", cseq=2, to_tag=tag, body=HELD))
    assert line.event(OfferReceived).sdp == HELD
    (ok,) = line.do(AnswerOffer(line.offered, OUR_SDP))
    assert (statuses([ok]), ok.body) == ([200], OUR_SDP)
    assert line.advance(5) == []


def test_an_update_without_sdp_is_a_refresh() -> None:
    """RFC 4028: nothing for the hallway to decide."""
    line, tag = call()
    (ok,) = line.receive(request("UPDATE", branch="z9hG4bK-2", cseq=2, to_tag=tag))
    assert (statuses([ok]), ok.body) == ([200], b"")


def test_a_second_offer_before_the_first_is_answered_gets_500() -> None:
    """RFC 3261 14.2, RFC 3311 5.2, with a time to come back."""
    line, tag = call()
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag))
    for method, branch, cseq in (("INVITE", "z9hG4bK-3", 3), ("UPDATE", "z9hG4bK-4", 4)):
        (refused,) = line.receive(request(method, branch=branch, cseq=cseq, to_tag=tag, body=SDP))
        assert statuses([refused]) == [500]
        assert 0 <= int(refused.required("Retry-After")) <= 10


def test_a_re_invite_that_is_cancelled_gets_487_and_the_call_goes_on() -> None:
    """RFC 3261 9.2 and 14.2."""
    line, tag = call()
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag))
    assert statuses(line.receive(request("CANCEL", branch="z9hG4bK-2", cseq=2, to_tag=tag))) == [200, 487]
    assert line.do(AnswerOffer(line.offered, OUR_SDP)) == []
    assert line.endpoint.calls == 1


def test_hanging_up_answers_what_is_open() -> None:
    """RFC 3261 15.1.2: no INVITE may stay without a final answer."""
    line, tag = call()
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag))
    sent = line.do(HangUp(line.offered))
    assert (statuses(sent), methods(sent)) == ([487], ["BYE"])


def test_a_re_invite_overtaking_the_first_ack_confirms_the_call() -> None:
    """It could only follow from our 200."""
    line = Line()
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag))
    assert [type(e) for e in line.events[1:]] == [CallConfirmed, OfferReceived]
    assert line.advance(3) == []


# Our own


def test_our_offer_is_a_re_invite() -> None:
    """Answered, acknowledged, and its repeated 200 acknowledged again."""
    line, _ = call()
    (sent,) = line.do(Offer(line.offered, HELD))
    assert isinstance(sent, Request)
    assert (sent.method, sent.body) == ("INVITE", HELD)
    assert sent.contact is not None
    assert methods(line.receive(reply(sent, 200, body=SDP))) == ["ACK"]
    assert line.event(OfferAnswered).sdp == SDP
    assert methods(line.receive(reply(sent, 200, body=SDP))) == ["ACK"]
    assert len([e for e in line.events if isinstance(e, OfferAnswered)]) == 1


def test_our_refused_offer_is_told_and_the_call_goes_on() -> None:
    """RFC 3261 14.1."""
    line, _ = call()
    (sent,) = line.do(Offer(line.offered, HELD))
    assert methods(line.receive(reply(sent, 488))) == ["ACK"]
    assert line.event(OfferRefused).status == 488
    assert line.endpoint.calls == 1


def test_glare_is_answered_491_and_ours_retried() -> None:
    """RFC 3261 14.1: who did not choose the Call-ID comes back within 2 s, so theirs does not meet ours again."""
    line, tag = call()
    (ours,) = line.do(Offer(line.offered, HELD))
    (refused,) = line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag))
    assert statuses([refused]) == [491]
    line.receive(ack_of(refused))
    line.receive(reply(ours, 491))
    (again,) = [m for m in line.advance(2.01) if isinstance(m, Request) and m.method == "INVITE"][:1]
    assert (again.cseq.number, again.body) == (ours.cseq.number + 1, HELD)
    line.receive(reply(again, 200, body=SDP))
    line.event(OfferAnswered)
    assert not [e for e in line.events if isinstance(e, OfferRefused)]


def test_our_offer_waits_for_what_is_open() -> None:
    """RFC 3261 14.1: no INVITE while another one is under way, in either direction."""
    line, tag = call()
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=tag))
    assert line.do(Offer(line.offered, HELD)) == []
    (ok,) = line.do(AnswerOffer(line.offered, OUR_SDP))
    assert isinstance(ok, Response)
    assert methods(line.receive(ack_of(ok))) == ["INVITE"]


def test_of_two_offers_in_a_row_the_second_follows_the_first() -> None:
    """Hold and resume in quick succession end resumed."""
    line, _ = call()
    (first,) = line.do(Offer(line.offered, HELD))
    assert line.do(Offer(line.offered, OUR_SDP)) == []
    sent = line.receive(reply(first, 200, body=SDP))
    assert methods(sent) == ["ACK", "INVITE"]
    assert sent[1].body == OUR_SDP


@pytest.mark.parametrize("status", [408, 481])
def test_an_offer_into_a_dead_call_ends_it(status: int) -> None:
    """RFC 3261 12.2.1.2, with a BYE in case somebody is there after all."""
    line, _ = call()
    (sent,) = line.do(Offer(line.offered, HELD))
    assert methods(line.receive(reply(sent, status))) == ["ACK", "BYE"]
    assert line.event(CallEnded).by == "timeout"


def test_a_200_to_our_offer_after_we_hung_up_is_still_acknowledged() -> None:
    """Else the peer repeats it for 32 s."""
    line, _ = call()
    (sent,) = line.do(Offer(line.offered, HELD))
    line.do(HangUp(line.offered))
    line.clear()
    assert methods(line.receive(reply(sent, 200, body=SDP))) == ["ACK"]
    assert line.events == []
