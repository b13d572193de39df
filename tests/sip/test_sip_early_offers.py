"""Offers before the call is up: in UPDATE and in PRACK, in both roles (RFC 3262 5, RFC 3311 5, RFC 6337 3)."""

from __future__ import annotations

from sip_wire import OUR_SDP, SDP, UDP, Line, ack_of, invite, methods, reply, request, statuses

from gateway.sip.commands import Accept, AnswerOffer, HangUp, Place, RefuseOffer, Ring
from gateway.sip.events import CallAccepted, CallConfirmed, OfferReceived
from gateway.sip.message import Request, Response

CAN = ("Supported: 100rel",)
MOVED = SDP.replace(b"4000", b"4002")
OUR_MOVED = OUR_SDP.replace(b"6000", b"6002")


def ringing(*, body: bytes = SDP) -> tuple[Line, Response]:
    """A call with reliable early media of ours, not acknowledged yet."""
    line = Line()
    line.receive(invite(headers=CAN, body=body))
    (media,) = line.do(Ring(line.offered, 183, OUR_SDP))
    assert isinstance(media, Response)
    return line, media


def prack(media: Response, body: bytes = b"") -> bytes:
    rack = f"RAck: {media.required('RSeq')} 1 INVITE"
    return request("PRACK", branch="z9hG4bK-p", cseq=2, to_tag=media.to.tag, headers=(rack,), body=body)


def update(media: Response, body: bytes = MOVED, cseq: int = 3) -> bytes:
    return request("UPDATE", branch=f"z9hG4bK-u{cseq}", cseq=cseq, to_tag=media.to.tag, body=body)


def settled() -> tuple[Line, Response]:
    """Offer and answer have both arrived for certain, and the call still rings."""
    line, media = ringing()
    line.receive(prack(media))
    return line, media


# Called


def test_an_offer_before_our_answer_is_certain_must_wait() -> None:
    """RFC 3311 5.2: 500 with Retry-After; it is nobody's business yet."""
    line, media = ringing()
    (refused,) = line.receive(update(media))
    assert statuses([refused]) == [500]
    assert 0 <= int(refused.required("Retry-After")) <= 10
    assert not [event for event in line.events if isinstance(event, OfferReceived)]


def test_an_offer_while_ours_is_unanswered_is_glare() -> None:
    """RFC 3311 5.2: 491; ours went in the reliable 183 of a late offer."""
    line, media = ringing(body=b"")
    assert statuses(line.receive(update(media))) == [491]


def test_a_session_that_is_settled_may_change_while_it_rings() -> None:
    """The UPDATE is answered, the 2xx repeats none of it, and what is agreed is the newest."""
    line, media = settled()
    assert line.receive(update(media)) == []
    assert line.event(OfferReceived).sdp == MOVED
    (granted,) = line.do(AnswerOffer(line.offered, OUR_MOVED))
    assert (statuses([granted]), granted.body) == ([200], OUR_MOVED)
    assert granted.first("Contact")
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert (statuses([ok]), ok.body) == ([200], b"")
    line.receive(ack_of(ok))
    assert line.event(CallConfirmed).sdp is None


def test_a_refused_offer_leaves_the_early_session_as_it_was() -> None:
    """488, and the 2xx may repeat the answer it had."""
    line, media = settled()
    line.receive(update(media))
    assert statuses(line.do(RefuseOffer(line.offered))) == [488]
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert ok.body == OUR_SDP


def test_one_offer_at_a_time() -> None:
    """RFC 3311 5.2."""
    line, media = settled()
    line.receive(update(media))
    assert statuses(line.receive(update(media, cseq=4))) == [500]


def test_the_2xx_waits_for_an_offer_that_is_open() -> None:
    """Nobody could tell otherwise which description holds."""
    line, media = settled()
    line.receive(update(media))
    assert line.do(Accept(line.offered, OUR_SDP)) == []
    assert statuses(line.do(AnswerOffer(line.offered, OUR_MOVED))) == [200, 200]


def test_a_call_that_ends_refuses_the_offer_that_is_open() -> None:
    """RFC 3261 15.1.2: nothing stays unanswered."""
    line, media = settled()
    line.receive(update(media))
    assert sorted(statuses(line.do(HangUp(line.offered)))) == [487, 603]
    line.receive(ack_of(line.sent[-1]))
    line.advance(60)
    assert line.endpoint.transactions == 0


def test_an_update_without_an_offer_refreshes_the_target() -> None:
    """RFC 3311 5.2."""
    line, media = ringing()
    assert statuses(line.receive(update(media, body=b""))) == [200]


def test_a_prack_may_bring_an_offer() -> None:
    """RFC 3262 5: our answer came with what it acknowledges; its own is in the 200 of the PRACK."""
    line, media = ringing()
    assert line.receive(prack(media, MOVED)) == []
    assert line.event(OfferReceived).sdp == MOVED
    (granted,) = line.do(AnswerOffer(line.offered, OUR_MOVED))
    assert (statuses([granted]), granted.body, granted.cseq.method) == ([200], OUR_MOVED, "PRACK")
    assert statuses(line.advance(10)) == []
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert ok.body == b""


def test_a_prack_whose_offer_is_refused_acknowledges_all_the_same() -> None:
    """The repetition stops; the call goes on as it was."""
    line, media = ringing()
    line.receive(prack(media, MOVED))
    assert statuses(line.do(RefuseOffer(line.offered))) == [488]
    assert statuses(line.advance(10)) == []
    assert statuses(line.do(Accept(line.offered, OUR_SDP))) == [200]


def test_a_late_offer_settled_by_prack_may_be_followed_by_another() -> None:
    """What the ACK confirms is the newest, not the answer that PRACK brought."""
    line, media = ringing(body=b"")
    assert statuses(line.receive(prack(media, SDP))) == [200]
    line.receive(update(media))
    line.do(AnswerOffer(line.offered, OUR_MOVED))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert ok.body == b""
    line.receive(ack_of(ok))
    assert line.event(CallConfirmed).sdp is None


# Calling


def calling(*headers: str) -> tuple[Line, Request]:
    """A call of ours with early media from the callee."""
    line = Line()
    (placed,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1"))
    assert isinstance(placed, Request)
    line.receive(reply(placed, 183, headers=headers, body=SDP))
    return line, placed


def callees(method: str, placed: Request, cseq: int = 1, body: bytes = b"") -> bytes:
    """A request of the callee's in the early dialog."""
    message = request(
        method, branch=f"z9hG4bK-c{cseq}", cseq=cseq, call_id=placed.call_id, from_tag="remote", body=body
    )
    return message.replace(b"To: <sip:desk@192.0.2.1>", f"To: <sip:desk@192.0.2.1>;tag={placed.from_.tag}".encode())


def test_a_callee_may_change_what_it_answered_reliably() -> None:
    """RFC 3311: our answer to its UPDATE holds, whatever its 2xx repeats."""
    line, placed = calling("Require: 100rel", "RSeq: 7")
    assert methods(line.sent)[-1] == "PRACK"
    assert line.receive(callees("UPDATE", placed, body=MOVED)) == []
    assert line.event(OfferReceived).sdp == MOVED
    (granted,) = line.do(AnswerOffer("out", OUR_MOVED))
    assert (statuses([granted]), granted.body) == ([200], OUR_MOVED)
    line.receive(reply(placed, 200, body=SDP))
    assert line.event(CallAccepted).sdp is None


def test_a_callee_that_answered_unreliably_must_wait() -> None:
    """RFC 3311 5.2: for all we know, our offer is still unanswered."""
    line, placed = calling()
    assert statuses(line.receive(callees("UPDATE", placed, body=MOVED))) == [491]
    assert statuses(line.receive(callees("UPDATE", placed, cseq=2))) == [200]


def test_a_call_that_fails_refuses_the_callees_open_offer() -> None:
    """And leaves nothing."""
    line, placed = calling("Require: 100rel", "RSeq: 7")
    line.receive(reply(line.sent[-1], 200))
    line.receive(callees("UPDATE", placed, body=MOVED))
    sent = line.receive(reply(placed, 486))
    assert (statuses(sent), methods(sent)) == ([487], ["ACK"])
    line.advance(60)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)
