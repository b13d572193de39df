"""Session timers in both roles (RFC 4028)."""

from __future__ import annotations

from sip_wire import OUR_SDP, SDP, UDP, Line, ack_of, invite, methods, reply, request, statuses

from gateway.sip.commands import Accept, AnswerOffer, HangUp, Place, SessionPolicy
from gateway.sip.events import CallAccepted, CallEnded, CallOffered, OfferAnswered, OfferReceived
from gateway.sip.message import Request, Response

UPDATE = "Allow: INVITE, ACK, BYE, UPDATE"


def accepted(*headers: str, **options: object) -> tuple[Line, Response]:
    """A call from the peer, answered and acknowledged; and our 200."""
    line = Line(**options)
    line.receive(invite(headers=headers))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert isinstance(ok, Response)
    line.receive(ack_of(ok))
    return line, ok


def placed(*headers: str) -> tuple[Line, Request]:
    """A call to the peer, whose 200 carried these headers; and our INVITE."""
    line = Line()
    (sent,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1"))
    assert isinstance(sent, Request)
    line.receive(reply(sent, 200, headers=headers, body=SDP))
    line.event(CallAccepted)
    return line, sent


# Called


def test_a_caller_that_refreshes_is_believed_and_missed() -> None:
    """RFC 4028 9 and 10: refresher=uac; without a refresh we say BYE a little before the end."""
    line, ok = accepted("Supported: timer", "Session-Expires: 600;refresher=uac")
    assert (ok.first("Session-Expires"), ok.first("Require")) == ("600;refresher=uac", "timer")
    assert line.advance(567) == []
    assert methods(line.advance(2))[:1] == ["BYE"]
    ended = line.event(CallEnded)
    assert (ended.by, ended.reason) == ("timeout", "Session Expired")


def test_a_refresh_by_update_keeps_the_call() -> None:
    """An UPDATE without SDP is nobody's business but the timer's."""
    line, ok = accepted("Supported: timer", "Session-Expires: 600;refresher=uac")
    line.advance(300)
    headers = ("Supported: timer", "Session-Expires: 600;refresher=uac")
    (again,) = line.receive(request("UPDATE", branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag, headers=headers))
    assert again.first("Session-Expires") == "600;refresher=uac"
    assert line.advance(500) == []
    assert methods(line.advance(100))[:1] == ["BYE"]


def test_a_refresh_by_re_invite_keeps_the_call() -> None:
    """It carries an offer, so the hallway answers it."""
    line, ok = accepted("Supported: timer", "Session-Expires: 600;refresher=uac")
    line.advance(300)
    headers = ("Supported: timer", "Session-Expires: 600;refresher=uac")
    line.receive(invite(branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag, headers=headers))
    line.event(OfferReceived)
    (again,) = line.do(AnswerOffer(line.offered, OUR_SDP))
    line.receive(ack_of(again))
    assert again.first("Session-Expires") == "600;refresher=uac"
    assert line.advance(500) == []


def test_asked_to_refresh_we_do_so_at_half_time() -> None:
    """refresher=uas, and the peer takes UPDATE: no SDP, no event."""
    line, ok = accepted("Supported: timer", "Session-Expires: 600;refresher=uas", UPDATE)
    assert (ok.first("Session-Expires"), ok.first("Require")) == ("600;refresher=uas", None)
    assert line.advance(299) == []
    (update,) = line.advance(1)
    assert isinstance(update, Request)
    assert (update.method, update.body) == ("UPDATE", b"")
    assert update.first("Session-Expires") == "600;refresher=uac"
    line.receive(reply(update, 200, headers=("Session-Expires: 600;refresher=uac",)))
    assert line.advance(299) == []
    assert methods(line.advance(1)) == ["UPDATE"]


def test_a_peer_without_update_gets_a_re_invite_that_changes_nothing() -> None:
    """The same description again; an unchanged answer is not told."""
    line, _ = accepted("Supported: timer", "Session-Expires: 600;refresher=uas")
    (sent,) = line.advance(300)
    assert isinstance(sent, Request)
    assert (sent.method, sent.body) == ("INVITE", OUR_SDP)
    line.receive(reply(sent, 200, headers=("Session-Expires: 600;refresher=uac",), body=SDP))
    assert not [e for e in line.events if isinstance(e, OfferAnswered)]
    assert methods(line.advance(300)) == ["INVITE"]


def test_a_refresh_nobody_answers_ends_the_call() -> None:
    """RFC 4028 10 by way of RFC 3261 12.2.1.2."""
    line, _ = accepted("Supported: timer", "Session-Expires: 600;refresher=uas", UPDATE)
    assert "BYE" in methods(line.advance(340))
    assert line.event(CallEnded).by == "timeout"


def test_a_refused_refresh_lets_the_session_run_out() -> None:
    """A 500 is not the end; the interval is."""
    line, _ = accepted("Supported: timer", "Session-Expires: 600;refresher=uas", UPDATE)
    (update,) = line.advance(300)
    line.receive(reply(update, 500))
    assert line.advance(260) == []
    assert methods(line.advance(10))[:1] == ["BYE"]


def test_too_short_an_interval_gets_422_with_ours() -> None:
    """RFC 4028 9."""
    line = Line(min_session_expires_s=120)
    (refused,) = line.receive(invite(headers=("Supported: timer", "Session-Expires: 90")))
    assert (statuses([refused]), refused.first("Min-SE")) == ([422], "120")
    assert line.events == []


def test_a_peer_that_knows_no_422_is_not_sent_one() -> None:
    """A proxy put the header in; we refresh, and keep to its interval."""
    line, ok = accepted("Session-Expires: 90")
    assert ok.first("Session-Expires") == "90;refresher=uas"
    assert methods(line.advance(45)) == ["INVITE"]


def test_a_capable_caller_that_asked_for_nothing_gets_our_interval() -> None:
    """We want to know when it vanishes, and do the refreshing ourselves."""
    _, ok = accepted("Supported: timer")
    assert ok.first("Session-Expires") == "1800;refresher=uas"


def test_a_caller_without_timer_gets_none() -> None:
    """Nothing to agree on."""
    line, ok = accepted()
    assert ok.first("Session-Expires") is None
    assert line.endpoint.next_deadline() is None or line.advance(4000) == []


def test_the_end_of_the_call_ends_its_timer() -> None:
    """A hang-up must free the call and its timers."""
    line, _ = accepted("Supported: timer", "Session-Expires: 600;refresher=uas")
    (bye,) = line.do(HangUp(line.event(CallOffered).dialog))
    line.receive(reply(bye, 200))
    line.advance(40)
    assert line.endpoint.next_deadline() is None


# Calling


def test_our_invite_asks_for_a_timer() -> None:
    """RFC 4028 7.1."""
    _, sent = placed()
    assert sent.first("Session-Expires") == "1800"
    assert "timer" in sent.tokens("Supported")


def test_the_answer_says_who_refreshes() -> None:
    """RFC 4028 7.2: uac, that is us."""
    line, _ = placed("Session-Expires: 400;refresher=uac", "Require: timer", UPDATE)
    assert line.advance(199) == []
    assert methods(line.advance(1)) == ["UPDATE"]


def test_a_callee_that_refreshes_is_missed() -> None:
    """refresher=uas."""
    line, _ = placed("Session-Expires: 400;refresher=uas")
    assert methods(line.advance(369))[:1] == ["BYE"]


def test_a_callee_without_timer_is_left_alone() -> None:
    """RFC 4028 7.2: no header, no timer."""
    line, _ = placed()
    assert line.advance(7200) == []


def test_a_422_is_followed_by_a_longer_interval() -> None:
    """RFC 4028 7.3: the same call again, with what the refusal asked for."""
    line = Line()
    (sent,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1"))
    ack, again = line.receive(reply(sent, 422, headers=("Min-SE: 3600",)))
    assert methods([ack, again]) == ["ACK", "INVITE"]
    assert (again.first("Session-Expires"), again.first("Min-SE")) == ("3600", "3600")
    assert again.call_id == sent.call_id


def test_a_422_that_asks_for_nothing_longer_is_a_failure() -> None:
    """No loop with a broken peer."""
    line = Line()
    (sent,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1"))
    assert methods(line.receive(reply(sent, 422, headers=("Min-SE: 60",)))) == ["ACK"]


# What a trunk's operator decides


def accepted_with(policy: SessionPolicy, *headers: str) -> Response:
    line = Line()
    line.receive(invite(headers=headers))
    (ok,) = line.do(Accept(line.offered, OUR_SDP, session=policy))
    assert isinstance(ok, Response)
    return ok


def placed_with(policy: SessionPolicy, *headers: str) -> tuple[Line, Request]:
    line = Line()
    (sent,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1", session=policy))
    assert isinstance(sent, Request)
    line.receive(reply(sent, 200, headers=headers, body=SDP))
    return line, sent


def test_a_policy_names_its_own_interval() -> None:
    """Both ways."""
    policy = SessionPolicy(expires_s=300)
    assert accepted_with(policy, "Supported: timer").first("Session-Expires") == "300;refresher=uas"
    assert placed_with(policy)[1].first("Session-Expires") == "300"


def test_who_only_takes_part_does_not_ask() -> None:
    """But does as the other side wishes."""
    policy = SessionPolicy("accept")
    assert accepted_with(policy, "Supported: timer").first("Session-Expires") is None
    asked = accepted_with(policy, "Supported: timer", "Session-Expires: 600;refresher=uac")
    assert asked.first("Session-Expires") == "600;refresher=uac"
    line, sent = placed_with(policy, "Require: timer", "Session-Expires: 600;refresher=uac", UPDATE)
    assert (sent.first("Session-Expires"), "timer" in sent.tokens("Supported")) == (None, True)
    assert methods(line.advance(301))[:1] == ["UPDATE"]


def test_who_wants_none_knows_of_none() -> None:
    """For peers whose timers are broken: neither offered, nor answered, nor believed."""
    policy = SessionPolicy("off")
    ok = accepted_with(policy, "Supported: timer", "Session-Expires: 600;refresher=uac")
    assert (ok.first("Session-Expires"), "timer" in ok.tokens("Supported")) == (None, False)
    assert "replaces" in ok.tokens("Supported")
    line, sent = placed_with(policy, "Session-Expires: 600;refresher=uas")
    assert (sent.first("Session-Expires"), "timer" in sent.tokens("Supported")) == (None, False)
    assert methods(line.advance(3000)) == []


def test_a_fork_that_lost_takes_no_timer_with_it() -> None:
    """Two callees answered; the one we hang up on must not end the refreshing of the other."""
    line = Line()
    (placed,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1"))
    expires = ("Session-Expires: 1800;refresher=uac", "Allow: UPDATE")
    line.receive(reply(placed, 200, tag="winner", body=SDP, headers=expires))
    _, bye = line.receive(reply(placed, 200, tag="loser", body=SDP, headers=expires))
    line.receive(reply(bye, 200))
    assert methods(line.advance(900.1)) == ["UPDATE"]
    assert line.endpoint.calls == 1
