"""Calls that come in, from the INVITE to the last BYE."""

from __future__ import annotations

import pytest
from sip_wire import OUR_SDP, SDP, TCP, UDP, Line, ack_of, invite, methods, reply, request, statuses

from gateway.core.errors import MisuseError
from gateway.sip.commands import Accept, HangUp, Reject, Ring, SendInfo
from gateway.sip.events import CallCancelled, CallConfirmed, CallEnded, CallOffered, InfoReceived
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response


def answered(**fields: object) -> tuple[Line, Response]:
    """A line with one call up, and the 200 that made it so."""
    line = Line()
    line.receive(invite(**fields))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert isinstance(ok, Response)
    line.receive(ack_of(ok))
    line.event(CallConfirmed)
    return line, ok


def test_an_invite_gets_100_at_once_and_is_offered_with_all_it_said() -> None:
    """RFC 3261 17.2.1: the caller stops repeating at once; the hallway learns everything it may route by."""
    line = Line()
    sent = line.receive(invite(headers=("X-Queue: blue", "s: compact subject")))
    assert statuses(sent) == [100]
    offer = line.event(CallOffered)
    assert (offer.caller, offer.called, offer.display) == ("alice", "desk", "Alice")
    assert (offer.from_uri, offer.to_uri) == ("sip:alice@example.org", "sip:desk@192.0.2.1")
    assert offer.sdp == SDP
    assert ("X-Queue", "blue") in offer.headers
    assert ("Subject", "compact subject") in offer.headers
    assert offer.flow == UDP


def test_a_call_is_rung_accepted_confirmed_and_ended_by_the_caller() -> None:
    """The plain good case, with tags that stay the same throughout (RFC 3261 12.1.1)."""
    line = Line()
    line.receive(invite())
    (ringing,) = line.do(Ring(line.offered))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert statuses([ringing, ok]) == [180, 200]
    assert ringing.to.tag == ok.to.tag != ""
    assert ok.body == OUR_SDP
    assert ok.contact is not None
    assert str(ok.contact.uri) == "sip:desk@192.0.2.1:5060"
    line.receive(ack_of(ok))
    assert line.event(CallConfirmed).sdp is None
    bye = line.receive(
        request("BYE", branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag, headers=("Reason: Q.850;cause=16",))
    )
    assert statuses(bye) == [200]
    ended = line.event(CallEnded)
    assert (ended.by, ended.reason) == ("bye", "Q.850;cause=16")
    assert line.endpoint.calls == 0


def test_an_anonymous_caller_has_an_empty_number() -> None:
    """RFC 3323: nobody may be recognised by the user part `anonymous`."""
    line = Line()
    line.receive(invite().replace(b"Alice <sip:alice@example.org>", b'"Anonymous" <sip:anonymous@anonymous.invalid>'))
    assert line.event(CallOffered).caller == ""


def test_a_repeated_invite_repeats_the_last_answer_and_offers_nothing_new() -> None:
    """RFC 3261 17.2.1: the transaction absorbs repetitions."""
    line = Line()
    line.receive(invite())
    assert statuses(line.receive(invite())) == [100]
    line.do(Ring(line.offered, sdp=OUR_SDP, status=183))
    (again,) = line.receive(invite())
    assert statuses([again]) == [183]
    assert again.body == OUR_SDP
    assert len(line.events) == 1


def test_the_200_is_repeated_until_the_ack_comes() -> None:
    """RFC 3261 13.3.1.4: at T1, doubling up to T2."""
    line = Line()
    line.receive(invite())
    line.do(Accept(line.offered, OUR_SDP))
    line.clear()
    assert statuses(line.advance(0.49)) == []
    assert statuses(line.advance(0.01)) == [200]
    assert statuses(line.advance(1.0)) == [200]
    assert statuses(line.advance(2.0)) == [200]
    assert statuses(line.advance(8.0)) == [200, 200]
    assert isinstance(line.sent[-1], Response)
    line.receive(ack_of(line.sent[-1]))
    assert line.advance(60) == []
    line.event(CallConfirmed)


def test_the_200_is_repeated_on_a_stream_too() -> None:
    """RFC 3261 13.3.1.4: over any transport, as a later hop may lose it."""
    line = Line(TCP)
    line.receive(invite())
    line.do(Accept(line.offered, OUR_SDP))
    assert statuses(line.advance(1.6)) == [200, 200]


def test_a_200_never_acknowledged_ends_the_call_with_bye() -> None:
    """RFC 3261 13.3.1.4: after 64*T1 the callee says BYE; the call does not hang on for ever."""
    line = Line()
    line.receive(invite())
    line.do(Accept(line.offered, OUR_SDP))
    sent = line.advance(32.0)
    assert methods(sent) == ["BYE"]
    assert line.event(CallEnded).by == "no_ack"
    line.advance(40)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)
    assert line.endpoint.next_deadline() is None


def test_a_second_ack_confirms_nothing_again() -> None:
    """Every repetition of the 200 may bring another ACK."""
    line, ok = answered()
    line.clear()
    line.receive(ack_of(ok))
    assert line.events == []


def test_a_late_offer_is_answered_in_the_ack() -> None:
    """RFC 3261 13.2.2.4: an INVITE without SDP makes ours the offer."""
    line = Line()
    line.receive(invite(body=b""))
    assert line.event(CallOffered).sdp is None
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok, body=SDP))
    assert line.event(CallConfirmed).sdp == SDP


def test_a_cancel_before_the_answer_gets_200_and_the_invite_487() -> None:
    """RFC 3261 9.2; the ACK of the 487 ends it."""
    line = Line()
    line.receive(invite())
    line.do(Ring(line.offered))
    sent = line.receive(request("CANCEL", headers=("Reason: SIP;cause=200",)))
    assert [(m.status, m.cseq.method) for m in sent if isinstance(m, Response)] == [(200, "CANCEL"), (487, "INVITE")]
    assert sent[0].to.tag == sent[1].to.tag
    assert line.event(CallCancelled).reason == "SIP;cause=200"
    line.receive(ack_of(sent[1]))
    assert line.advance(60) == []
    assert line.endpoint.transactions == 0


def test_a_refusal_is_repeated_until_its_ack() -> None:
    """RFC 3261 17.2.1, timers G and H."""
    line = Line()
    line.receive(invite())
    (busy,) = line.do(Reject(line.offered, 486))
    assert statuses(line.advance(3.5)) == [486, 486, 486]
    line.receive(ack_of(busy))
    assert line.advance(60) == []
    assert line.endpoint.transactions == 0


def test_a_refusal_without_ack_is_given_up_after_64_t1() -> None:
    """Timer H: a caller that vanished leaves nothing behind."""
    line = Line()
    line.receive(invite())
    line.do(Reject(line.offered, 404, "No such desk"))
    assert statuses(line.advance(31.9))[:1] == [404]
    line.advance(0.2)
    assert line.endpoint.transactions == 0


def test_a_refusal_on_a_stream_is_sent_once() -> None:
    """Timer G never runs on a reliable transport."""
    line = Line(TCP)
    line.receive(invite())
    line.do(Reject(line.offered, 486))
    assert statuses(line.advance(31)) == []


def test_a_cancel_after_the_200_changes_nothing() -> None:
    """RFC 3261 9.2: the race is decided; the caller will ACK and say BYE."""
    line = Line()
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    sent = line.receive(request("CANCEL"))
    assert [(m.status, m.cseq.method) for m in sent if isinstance(m, Response)] == [(200, "CANCEL")]
    line.receive(ack_of(ok))
    line.event(CallConfirmed)


def test_accepting_a_call_that_was_just_cancelled_does_nothing() -> None:
    """The hallway's command may cross the CANCEL."""
    line = Line()
    line.receive(invite())
    line.receive(request("CANCEL"))
    handle = line.offered
    assert line.do(Accept(handle, OUR_SDP)) == []
    assert line.do(HangUp(handle)) == []


def test_a_cancel_for_nothing_gets_481() -> None:
    """RFC 3261 9.2."""
    line = Line()
    assert statuses(line.receive(request("CANCEL"))) == [481]


def test_hanging_up_while_ringing_declines() -> None:
    """HangUp ends a call whatever its phase: 603 here."""
    line = Line()
    line.receive(invite())
    assert statuses(line.do(HangUp(line.offered))) == [603]


def test_our_bye_follows_the_dialog_and_ends_with_its_200() -> None:
    """RFC 3261 12.2.1.1: the remote target, both tags, our own CSeq."""
    line, ok = answered(contact="<sip:alice@192.0.2.9:5070;x=y>")
    (bye,) = line.do(HangUp(line.offered, headers=(("Reason", "Q.850;cause=16"),)))
    assert isinstance(bye, Request)
    assert (bye.method, bye.uri) == ("BYE", "sip:alice@192.0.2.9:5070;x=y")
    assert line.flows[-1].remote == ("192.0.2.9", 5070)
    assert (bye.from_.tag, bye.to.tag) == (ok.to.tag, "theirs")
    assert bye.required("Reason") == "Q.850;cause=16"
    line.clear()
    line.receive(reply(bye, 200))
    line.advance(5)
    assert line.events == []
    assert line.advance(60) == []


def test_hanging_up_before_the_ack_waits_for_it() -> None:
    """RFC 3261 15: the callee's BYE must not overtake the caller's ACK."""
    line = Line()
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert line.do(HangUp(line.offered)) == []
    sent = line.receive(ack_of(ok))
    assert methods(sent) == ["BYE"]
    assert [type(e) for e in line.events] == [CallOffered]


def test_hanging_up_before_an_ack_that_never_comes() -> None:
    """The BYE goes when the wait for the ACK is over."""
    line = Line()
    line.receive(invite())
    line.do(Accept(line.offered, OUR_SDP))
    line.do(HangUp(line.offered))
    assert methods(line.advance(32.0)) == ["BYE"]
    line.advance(60)
    assert [type(e) for e in line.events] == [CallOffered]
    assert line.endpoint.transactions == 0


def test_a_bye_is_repeated_until_answered_and_silence_ends_it_too() -> None:
    """Timers E and F: 0.5, 1, 2, 4, 4 ... for 32 s."""
    line, _ = answered()
    line.do(HangUp(line.offered))
    assert methods(line.advance(7.5)) == ["BYE"] * 4
    line.advance(60)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)


def test_byes_that_cross_are_both_answered() -> None:
    """RFC 3261 15.1.2: our own BYE under way does not make theirs a stranger's."""
    line, ok = answered()
    line.do(HangUp(line.offered))
    assert statuses(line.receive(request("BYE", branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag))) == [200]
    assert not [e for e in line.events if isinstance(e, CallEnded)]


def test_a_repeated_bye_gets_its_200_again() -> None:
    """The transaction outlives the dialog; 481 would make the peer report an error."""
    line, ok = answered()
    bye = request("BYE", branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag)
    assert statuses(line.receive(bye)) == [200]
    assert statuses(line.receive(bye)) == [200]


def test_a_request_for_a_dialog_that_is_not_ours_gets_481() -> None:
    """RFC 3261 12.2.2: the tags count, not the Call-ID alone."""
    line, ok = answered()
    assert statuses(line.receive(request("BYE", branch="z9hG4bK-2", cseq=2, to_tag="other"))) == [481]
    stranger = request("BYE", branch="z9hG4bK-3", cseq=2, to_tag=ok.to.tag, from_tag="other")
    assert statuses(line.receive(stranger)) == [481]
    assert line.endpoint.calls == 1


def test_a_request_out_of_order_gets_500() -> None:
    """RFC 3261 12.2.2: CSeq only ever grows."""
    line, ok = answered(cseq=10)
    old = request("INFO", branch="z9hG4bK-2", cseq=9, to_tag=ok.to.tag)
    assert statuses(line.receive(old)) == [500]


def test_the_caller_may_say_bye_while_it_rings() -> None:
    """RFC 3261 15: BYE ends an early dialog as CANCEL would; the INVITE gets 487."""
    line = Line()
    line.receive(invite())
    (ringing,) = line.do(Ring(line.offered))
    sent = line.receive(request("BYE", branch="z9hG4bK-2", cseq=2, to_tag=ringing.to.tag))
    assert statuses(sent) == [200, 487]
    line.event(CallCancelled)


def test_digits_by_info_are_told() -> None:
    """RFC 6086's predecessor as phones speak it: `application/dtmf-relay`."""
    line, ok = answered()
    body = b"Signal=5\r\nDuration=160\r\n"
    info = request(
        "INFO", branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag, body=body, content_type="application/dtmf-relay"
    )
    assert statuses(line.receive(info)) == [200]
    event = line.event(InfoReceived)
    assert (event.content_type, event.body) == ("application/dtmf-relay", body)


def test_our_info_carries_its_body() -> None:
    """SendInfo reaches the peer within the dialog."""
    line, _ = answered()
    (info,) = line.do(SendInfo(line.offered, "application/dtmf-relay", b"Signal=1\r\n"))
    assert methods([info]) == ["INFO"]
    assert (info.content_type, info.body) == ("application/dtmf-relay", b"Signal=1\r\n")


def test_silence_to_a_request_in_the_call_ends_it() -> None:
    """RFC 3261 12.2.1.2: 408 and 481 mean that nobody is there any more."""
    line, _ = answered()
    line.do(SendInfo(line.offered, "text/plain", b"?"))
    assert methods(line.advance(32.0))[-1] == "BYE"
    assert line.event(CallEnded).by == "timeout"


def test_options_in_a_call_is_answered_in_it() -> None:
    """Peers use it as a keep-alive."""
    line, ok = answered()
    (answer,) = line.receive(request("OPTIONS", branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag))
    assert statuses([answer]) == [200]
    assert answer.first("Accept") == "application/sdp"


def test_a_long_ringing_is_repeated_each_minute() -> None:
    """RFC 3261 13.3.1.1: or a proxy gives the call up after three minutes."""
    line = Line()
    line.receive(invite())
    line.do(Ring(line.offered))
    assert statuses(line.advance(125)) == [180, 180]


def test_statuses_out_of_range_are_our_own_mistake() -> None:
    """A provisional is 101..199, a refusal 300..699."""
    line = Line()
    line.receive(invite())
    with pytest.raises(MisuseError):
        line.do(Ring(line.offered, status=200))
    with pytest.raises(MisuseError):
        line.do(Reject(line.offered, 200))


# Where messages go


def test_answers_leave_by_the_port_the_request_came_from_only_when_asked() -> None:
    """RFC 3581: rport; without it the port is the Via's."""
    line = Line()
    from_nat = Flow("udp", ("192.0.2.1", 5060), ("203.0.113.7", 40000))
    line.receive(request("OPTIONS", via="SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bK-a;rport"), from_nat)
    assert line.flows[-1].remote == ("203.0.113.7", 40000)
    assert "received=203.0.113.7" in line.sent[-1].vias[0]
    assert "rport=40000" in line.sent[-1].vias[0]
    line.receive(request("OPTIONS", via="SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bK-b"), from_nat)
    assert line.flows[-1].remote == ("203.0.113.7", 5062)


def test_a_forged_received_is_overwritten() -> None:
    """Else anybody could aim our answers at anybody."""
    line = Line()
    line.receive(
        request("OPTIONS", via="SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-a;received=198.51.100.1;maddr=198.51.100.2")
    )
    assert line.flows[-1].remote == ("192.0.2.9", 5060)
    assert "198.51.100.1" not in line.sent[-1].vias[0]


def test_all_vias_come_back_in_order() -> None:
    """RFC 3261 8.2.6.2: the proxies on the way need theirs."""
    line = Line()
    vias = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-a, SIP/2.0/UDP 192.0.2.8;branch=z9hG4bK-b"
    line.receive(request("OPTIONS", via=vias, headers=("v: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK-c",)))
    assert [v.rpartition("-")[2][0] for v in line.sent[-1].vias] == ["a", "b", "c"]


def test_requests_in_the_call_follow_the_record_route() -> None:
    """RFC 3261 12.1.1, loose routing: the first hop is the proxy, the request line the target."""
    line, _ = answered(headers=("Record-Route: <sip:192.0.2.20;lr>, <sip:192.0.2.21:5070;lr>",))
    (bye,) = line.do(HangUp(line.offered))
    assert isinstance(bye, Request)
    assert bye.uri == "sip:alice@192.0.2.9"
    assert bye.values("Route") == ["<sip:192.0.2.20;lr>", "<sip:192.0.2.21:5070;lr>"]
    assert line.flows[-1].remote == ("192.0.2.20", 5060)


def test_answers_that_make_a_dialog_hand_the_route_back() -> None:
    """RFC 3261 12.1.1: all Record-Route lines, in order, in the ringing and the 200; a refusal makes no dialog."""
    routes = ("Record-Route: <sip:192.0.2.20;lr>, <sip:192.0.2.21;lr>", "Record-Route: <sip:192.0.2.22;lr>")
    line = Line()
    (trying,) = line.receive(invite(headers=routes))
    (ringing,) = line.do(Ring(line.offered))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert [message.all("Record-Route") for message in (trying, ringing, ok)] == [
        [],
        *[["<sip:192.0.2.20;lr>, <sip:192.0.2.21;lr>", "<sip:192.0.2.22;lr>"]] * 2,
    ]
    refused = Line()
    refused.receive(invite(headers=routes))
    assert refused.do(Reject(refused.offered, 486))[0].all("Record-Route") == []


def test_a_strict_router_gets_its_own_address_in_the_request_line() -> None:
    """RFC 3261 12.2.1.1: for proxies of RFC 2543."""
    line, _ = answered(headers=("Record-Route: <sip:192.0.2.20>, <sip:192.0.2.21;lr>",))
    (bye,) = line.do(HangUp(line.offered))
    assert isinstance(bye, Request)
    assert bye.uri == "sip:192.0.2.20"
    assert bye.values("Route") == ["<sip:192.0.2.21;lr>", "<sip:alice@192.0.2.9>"]


def test_a_caller_behind_nat_is_reached_the_way_it_came() -> None:
    """Its Contact is an address only its own network knows."""
    line = Line()
    from_nat = Flow("udp", ("192.0.2.1", 5060), ("203.0.113.7", 40000))
    via = "SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bK-a;rport"
    line.receive(invite(via=via, contact="<sip:alice@10.0.0.5:5062>"), from_nat)
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok), from_nat)
    line.do(HangUp(line.offered))
    assert line.flows[-1] == from_nat


def test_a_caller_on_a_connection_is_reached_on_it() -> None:
    """RFC 5923 in spirit: its listening port may be nowhere."""
    line = Line(TCP)
    line.receive(invite(contact="<sip:alice@192.0.2.9:5099;transport=tcp>"))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    line.do(HangUp(line.offered))
    assert line.flows[-1] == TCP


def test_after_its_connection_is_lost_the_contact_is_called() -> None:
    """A lost connection is not a lost call."""
    line = Line(TCP)
    line.receive(invite(contact="<sip:alice@192.0.2.9:5099;transport=tcp>"))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    line.lose(TCP)
    line.do(HangUp(line.offered))
    assert line.flows[-1] == Flow("tcp", ("192.0.2.1", 5060), ("192.0.2.9", 5099))


def test_an_answer_whose_connection_is_lost_finds_another_way() -> None:
    """RFC 3261 18.2.2: to the source's host, at the port its Via names."""
    line = Line(TCP)
    line.receive(invite(via="SIP/2.0/TCP 192.0.2.9:5099;branch=z9hG4bK-1;rport"))
    line.lose(TCP)
    line.do(Accept(line.offered, OUR_SDP))
    line.advance(0.5)
    assert line.flows[-2:] == [Flow("tcp", ("192.0.2.1", 5060), ("192.0.2.9", 5099))] * 2


def test_a_connection_is_in_use_while_a_call_lives_on_it() -> None:
    """So that the shell does not take it for idle."""
    line = Line(TCP)
    assert not line.endpoint.uses(TCP)
    line.receive(invite())
    assert line.endpoint.uses(TCP)
    line.do(HangUp(line.offered))
    assert not line.endpoint.uses(TCP)


def test_the_advertised_address_stands_in_via_and_contact() -> None:
    """Behind NAT our own socket's address is of no use to anybody."""
    line = Line(advertised={"udp": ("198.51.100.5", 5080)})
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert ok.contact is not None
    assert str(ok.contact.uri) == "sip:desk@198.51.100.5:5080"
    line.receive(ack_of(ok))
    (bye,) = line.do(HangUp(line.offered))
    assert (bye.via.host, bye.via.port) == ("198.51.100.5", 5080)
