"""Calls we place: progress, forks, refusals, challenges, and the races around CANCEL."""

from __future__ import annotations

import msgspec
import pytest
from sip_wire import OUR_SDP, PEER, SDP, UDP, US, Line, methods, reply, request, statuses

from gateway.core.errors import MisuseError
from gateway.sip.commands import Credentials, HangUp, Headers, Place
from gateway.sip.digest import Challenge, Subject, parse_fields, response_value
from gateway.sip.events import CallAccepted, CallEnded, CallFailed, CallProgressed
from gateway.sip.flow import Flow
from gateway.sip.message import Request


def place(flow: Flow = UDP, credentials: Credentials | None = None, headers: Headers = ()) -> Place:
    return Place(
        dialog="out",
        uri="sip:bob@example.net",
        flow=flow,
        sdp=OUR_SDP,
        from_uri="sip:desk@example.org",
        from_display="The Desk",
        headers=headers,
        credentials=credentials,
    )


def placed(command: Place | None = None) -> tuple[Line, Request]:
    """A line that has just sent its INVITE."""
    line = Line()
    (sent,) = line.do(command or place())
    assert isinstance(sent, Request)
    return line, sent


def up() -> tuple[Line, Request]:
    line, sent = placed()
    line.receive(reply(sent, 200, body=SDP))
    line.event(CallAccepted)
    return line, sent


def test_the_invite_carries_all_it_must() -> None:
    """RFC 3261 8.1.1 and 13.2.1."""
    _, sent = placed(place(headers=(("X-Campaign", "7"),)))
    assert (sent.method, sent.uri, str(sent.cseq)) == ("INVITE", "sip:bob@example.net", "1 INVITE")
    assert str(sent.from_).startswith('"The Desk" <sip:desk@example.org>;tag=')
    assert sent.to.tag == ""
    assert sent.via.branch.startswith("z9hG4bK")
    assert "rport" in sent.via.params
    assert sent.required("Max-Forwards") == "70"
    assert sent.contact is not None
    assert str(sent.contact.uri) == "sip:desk@192.0.2.1:5060"
    assert "INVITE" in sent.required("Allow")
    assert sent.required("X-Campaign") == "7"
    assert sent.body == OUR_SDP


def test_progress_and_acceptance_are_told_and_acknowledged() -> None:
    """The plain good case with early media; 100 is nobody's business but the transaction's."""
    line, sent = placed()
    line.receive(reply(sent, 100, tag=""))
    line.receive(reply(sent, 180))
    line.receive(reply(sent, 183, body=SDP))
    (ack,) = line.receive(reply(sent, 200, body=SDP))
    assert isinstance(ack, Request)
    assert [(e.status, e.sdp) for e in line.events if isinstance(e, CallProgressed)] == [(180, None), (183, SDP)]
    assert line.event(CallAccepted).sdp == SDP
    assert (ack.method, ack.uri, ack.cseq.number) == ("ACK", "sip:bob@192.0.2.9", 1)
    assert ack.to.tag == "remote"
    assert ack.via.branch != sent.via.branch
    (bye,) = line.do(HangUp("out"))
    assert str(bye.cseq) == "2 BYE"


def test_the_invite_is_repeated_doubling_until_silence_is_a_408() -> None:
    """Timers A and B."""
    line, _ = placed()
    assert methods(line.advance(3.5)) == ["INVITE"] * 3
    assert methods(line.advance(28.6)) == ["INVITE"] * 3
    assert line.event(CallFailed).status == 408
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)


def test_a_provisional_answer_ends_the_repetition() -> None:
    """RFC 3261 17.1.1.2: in "proceeding" nothing is repeated and nothing times out."""
    line, sent = placed()
    line.receive(reply(sent, 100, tag=""))
    assert line.advance(200) == []
    assert line.events == []


def test_on_a_stream_nothing_is_repeated() -> None:
    """Timer A never runs on a reliable transport, B does."""
    line = Line()
    line.do(place(Flow("tcp", US, PEER)))
    assert line.advance(31) == []
    line.advance(2)
    assert line.event(CallFailed).status == 408


def test_a_transport_that_fails_is_a_503() -> None:
    """RFC 3261 8.1.3.1."""
    line = Line()
    flow = Flow("tcp", US, PEER)
    line.do(place(flow))
    line.lose(flow)
    assert line.event(CallFailed).status == 503


def test_each_repetition_of_the_200_gets_the_same_ack() -> None:
    """RFC 3261 13.2.2.4; the call is accepted once."""
    line, sent = placed()
    line.receive(reply(sent, 200, body=SDP))
    first = line.raw[-1]
    line.receive(reply(sent, 200, body=SDP))
    assert line.raw[-1] == first
    line.event(CallAccepted)


@pytest.mark.parametrize("status", [302, 404, 486, 503, 603])
def test_a_refusal_is_acknowledged_each_time_and_told_once(status: int) -> None:
    """RFC 3261 17.1.1.3: the ACK goes in the INVITE's own transaction."""
    line, sent = placed()
    (ack,) = line.receive(reply(sent, status))
    assert (ack.via.branch, ack.cseq.method, ack.to.tag) == (sent.via.branch, "ACK", "remote")
    assert line.event(CallFailed).status == status
    assert methods(line.receive(reply(sent, status))) == ["ACK"]
    assert len(line.events) == 1
    line.advance(33)
    assert line.endpoint.transactions == 0


def test_a_redirect_is_reported_best_first() -> None:
    """RFC 3261 8.1.3.4: who placed the call decides whether to follow."""
    line, sent = placed()
    line.receive(reply(sent, 302, headers=("Contact: <sip:a@h>;q=0.3, <sip:b@h>;q=0.9, <sip:c@h>",)))
    assert line.event(CallFailed).targets == ("sip:c@h", "sip:b@h", "sip:a@h")


# CANCEL


def test_giving_up_while_it_rings_sends_a_cancel() -> None:
    """RFC 3261 9.1: same branch, same CSeq number; nothing more is told."""
    line, sent = placed()
    line.receive(reply(sent, 180))
    line.clear()
    (cancelled,) = line.do(HangUp("out"))
    assert (cancelled.via.branch, str(cancelled.cseq)) == (sent.via.branch, "1 CANCEL")
    line.receive(reply(cancelled, 200))
    assert methods(line.receive(reply(sent, 487))) == ["ACK"]
    assert line.events == []
    line.advance(70)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)


def test_giving_up_before_any_answer_waits_for_one() -> None:
    """RFC 3261 9.1: a CANCEL might overtake its INVITE."""
    line, sent = placed()
    assert line.do(HangUp("out")) == []
    assert methods(line.receive(reply(sent, 100, tag=""))) == ["CANCEL"]
    assert line.receive(reply(sent, 180)) == []


def test_a_200_that_crosses_the_cancel_is_acknowledged_and_hung_up() -> None:
    """The classical race: the call is up, and nobody wants it."""
    line, sent = placed()
    line.receive(reply(sent, 180))
    line.do(HangUp("out"))
    line.clear()
    assert methods(line.receive(reply(sent, 200, body=SDP))) == ["ACK", "BYE"]
    assert line.events == []
    line.advance(70)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)


def test_a_cancelled_invite_without_final_answer_is_forgotten() -> None:
    """RFC 3261 9.1: 64*T1 after the CANCEL it counts as cancelled."""
    line, sent = placed()
    line.receive(reply(sent, 180))
    (cancelled,) = line.do(HangUp("out"))
    line.receive(reply(cancelled, 200))
    line.advance(33)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)


# Forks


def test_the_first_fork_to_answer_wins_and_the_others_are_hung_up() -> None:
    """RFC 3261 13.2.2.4: each 2xx makes a dialog; the losers get ACK and BYE in theirs."""
    line, sent = placed()
    line.receive(reply(sent, 180, tag="one"))
    line.receive(reply(sent, 180, tag="two"))
    assert methods(line.receive(reply(sent, 200, tag="two", body=SDP))) == ["ACK"]
    loser = line.receive(reply(sent, 200, tag="one", contact="<sip:late@192.0.2.9>", body=SDP))
    assert methods(loser) == ["ACK", "BYE"]
    assert {m.to.tag for m in loser} == {"one"}
    line.event(CallAccepted)
    assert line.endpoint.calls == 1
    (bye,) = line.do(HangUp("out"))
    assert bye.to.tag == "two"


def test_the_losers_repeated_200_gets_its_own_ack_again() -> None:
    """Its ACK may have been lost."""
    line, sent = placed()
    line.receive(reply(sent, 200, tag="one", body=SDP))
    line.receive(reply(sent, 200, tag="two", body=SDP))
    (again,) = line.receive(reply(sent, 200, tag="two", body=SDP))
    assert (methods([again]), again.to.tag) == (["ACK"], "two")


# Challenges

CHALLENGE = 'WWW-Authenticate: Digest realm="pbx", nonce="abc", algorithm=SHA-256, qop="auth,auth-int", opaque="xyz"'
CREDENTIALS = Credentials("desk", "secret")


def test_a_challenge_is_answered_with_all_headers_kept() -> None:
    """RFC 3261 22.2: new CSeq and branch, same Call-ID, and the extra headers come along."""
    line, sent = placed(place(credentials=CREDENTIALS, headers=(("X-Campaign", "7"),)))
    ack, again = line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    assert methods([ack, again]) == ["ACK", "INVITE"]
    assert isinstance(again, Request)
    assert (again.call_id, again.from_.tag, str(again.cseq)) == (sent.call_id, sent.from_.tag, "2 INVITE")
    assert again.via.branch != sent.via.branch
    assert (again.required("X-Campaign"), again.body) == ("7", OUR_SDP)
    fields = parse_fields(again.required("Authorization"))
    challenge = Challenge("pbx", "abc", "SHA-256", "auth")
    subject = Subject("INVITE", "sip:bob@example.net")
    expected = response_value(challenge, subject, "desk", "secret", fields["cnonce"], "00000001")
    assert (fields["response"], fields["opaque"], fields["nc"]) == (expected, "xyz", "00000001")
    (ack,) = line.receive(reply(again, 200, body=SDP))
    assert ack.first("Authorization") == again.first("Authorization")
    line.event(CallAccepted)


def test_a_proxys_challenge_is_answered_in_its_own_header() -> None:
    """407 and Proxy-Authorization; requests later in the call carry it at once, with the next nc."""
    line, sent = placed(place(credentials=CREDENTIALS))
    proxy = CHALLENGE.replace("WWW-Authenticate", "Proxy-Authenticate")
    _, again = line.receive(reply(sent, 407, headers=(proxy,)))
    assert again.first("Proxy-Authorization") is not None
    line.receive(reply(again, 200, body=SDP))
    (bye,) = line.do(HangUp("out"))
    assert parse_fields(bye.required("Proxy-Authorization"))["nc"] == "00000002"


def test_a_wrong_password_is_not_tried_twice() -> None:
    """A second challenge without stale means no; asking on would be a loop."""
    line, sent = placed(place(credentials=CREDENTIALS))
    _, again = line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    assert methods(line.receive(reply(again, 401, headers=(CHALLENGE.replace("abc", "def"),)))) == ["ACK"]
    assert line.event(CallFailed).status == 401


def test_a_stale_nonce_is_replaced() -> None:
    """RFC 7616 3.3: stale says that the password was right."""
    line, sent = placed(place(credentials=CREDENTIALS))
    _, again = line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    stale = CHALLENGE.replace("abc", "def") + ", stale=true"
    assert methods(line.receive(reply(again, 401, headers=(stale,)))) == ["ACK", "INVITE"]


def test_without_credentials_a_challenge_is_a_failure() -> None:
    """Nothing to answer with."""
    line, sent = placed()
    line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    assert line.event(CallFailed).status == 401


# The rest


def test_the_callee_hangs_up() -> None:
    """A BYE from the other end of a call we placed."""
    line, sent = up()
    bye = request("BYE", branch="z9hG4bK-b", call_id=sent.call_id, from_tag="remote", to_tag=sent.from_.tag)
    assert statuses(line.receive(bye)) == [200]
    assert line.event(CallEnded).by == "bye"


def test_the_route_is_the_record_route_reversed() -> None:
    """RFC 3261 12.1.2."""
    line, sent = placed()
    routes = ("Record-Route: <sip:192.0.2.31;lr>", "Record-Route: <sip:192.0.2.30;lr>")
    (ack,) = line.receive(reply(sent, 200, headers=routes, body=SDP))
    assert ack.values("Route") == ["<sip:192.0.2.30;lr>", "<sip:192.0.2.31;lr>"]
    assert line.flows[-1].remote == ("192.0.2.30", 5060)


def test_answers_nobody_asked_for_are_counted_and_dropped() -> None:
    """RFC 6026: a stray response is forwarded to nobody."""
    line, sent = placed()
    line.clear()
    line.receive(reply(sent, 200).replace(sent.via.branch.encode(), b"z9hG4bK-other"))
    assert (line.sent, line.events) == ([], [])
    assert line.endpoint.counters["stray_responses"] == 1


def test_a_hundred_forks_are_no_forking() -> None:
    """What a broken or hostile peer makes up must not fill the memory."""
    line, sent = placed()
    for number in range(100):
        line.receive(reply(sent, 180, tag=f"fork-{number}"))
    assert len(line.events) == 64
    for number in range(100):
        line.receive(reply(sent, 200, tag=f"fork-{number}", body=SDP))
    assert methods(line.sent).count("BYE") == 63


def test_line_ends_in_what_we_are_given_add_no_headers() -> None:
    """A dialplan's variable or a web form may hold anything."""
    line = Line()
    headers = (("X-Note", "a\r\nX-Forged: 1"), ("X-Other", "b\nc"))
    (sent,) = line.do(Place("out", "sip:bob@h", UDP, OUR_SDP, "sip:desk@h", 'The "\r\nDesk', headers))
    assert sent.first("X-Forged") is None
    assert sent.required("X-Note") == "a X-Forged: 1"
    assert sent.body == OUR_SDP


def test_a_response_with_two_vias_is_for_somebody_else() -> None:
    """RFC 3261 8.1.3.3."""
    line, sent = placed()
    line.receive(reply(sent, 200, headers=("Via: SIP/2.0/UDP 192.0.2.66;branch=z9hG4bK-x",)))
    assert line.events == []


def test_addresses_we_cannot_call_are_our_own_mistake() -> None:
    """Nothing is sent."""
    line = Line()
    with pytest.raises(MisuseError):
        line.do(Place("out", "bob", UDP, OUR_SDP, "sip:desk@example.org"))
    line.do(place())
    with pytest.raises(MisuseError):
        line.do(place())


def test_a_full_house_places_no_call() -> None:
    """503 as the transport's failure would be: try elsewhere."""
    line = Line(max_calls=0)
    assert line.do(place()) == []
    assert line.event(CallFailed).status == 503


def test_a_target_that_says_nothing_is_given_up_early_when_wished() -> None:
    """So that another can be tried before the caller gives up; whoever wakes up late is sent away."""
    line, sent = placed(msgspec.structs.replace(place(), silent_for_s=4.0))
    line.advance(3.9)
    assert line.events == []
    line.advance(0.2)
    assert line.event(CallFailed).status == 408
    assert methods(line.receive(reply(sent, 180))) == ["CANCEL"]
    assert methods(line.receive(reply(sent, 200, body=SDP))) == ["ACK", "BYE"]


@pytest.mark.parametrize("status", [100, 180])
def test_a_target_that_has_said_anything_is_waited_for(status: int) -> None:
    """A telephone network may take its time after 100."""
    line, sent = placed(msgspec.structs.replace(place(), silent_for_s=4.0))
    line.receive(reply(sent, status))
    line.advance(100)
    assert not any(isinstance(event, CallFailed) for event in line.events)
    line.receive(reply(sent, 200, body=SDP))
    line.event(CallAccepted)
    line.advance(100)
    assert not any(isinstance(event, CallFailed) for event in line.events)


def test_a_redirect_to_what_is_not_text_leads_nowhere() -> None:
    """The others are still told."""
    line, sent = placed()
    contacts = ("Contact: <sip:\udcff@192.0.2.77>;q=0.9, <sip:new@192.0.2.78>",)
    line.receive(reply(sent, 302, headers=contacts))
    assert line.event(CallFailed).targets == ("sip:new@192.0.2.78",)
