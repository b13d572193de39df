"""Which way a call of ours goes: large ones over TCP, all by the route given; and what counts as their answer."""

from __future__ import annotations

import msgspec
import pytest
from sip_wire import OUR_SDP, SDP, UDP, US, Line, methods, reply

from gateway.sip.commands import Credentials, HangUp, Place, SendInfo
from gateway.sip.events import CallAccepted, CallFailed
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response

PLACE = Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1")
LARGE = msgspec.structs.replace(PLACE, headers=(("X-Long", "x" * 1000),))
OVER_TCP = Flow("tcp", US, UDP.remote)


def line() -> Line:
    one = Line()
    one.endpoint.listening({"udp": 5060, "tcp": 5060})
    return one


def placed(place: Place) -> tuple[Line, Request]:
    one = line()
    (sent,) = one.do(place)
    assert isinstance(sent, Request)
    return one, sent


def test_a_large_request_goes_over_tcp() -> None:
    """RFC 3261 18.1.1: as fragments it would get lost. Via and Contact say so, and the ACK goes where Contact says."""
    one, sent = placed(LARGE)
    assert one.flows == [OVER_TCP]
    assert (sent.via.transport, ";transport=tcp" in sent.required("Contact")) == ("tcp", True)
    one.receive(reply(sent, 200, body=SDP), OVER_TCP)
    assert one.event(CallAccepted).sdp == SDP


def test_a_small_one_goes_by_udp() -> None:
    """As it was asked for."""
    one, sent = placed(PLACE)
    assert len(sent.to_bytes()) < 1300
    assert one.flows == [UDP]


def test_without_tcp_of_our_own_it_goes_by_udp() -> None:
    """Nobody could answer otherwise."""
    one = Line()
    one.endpoint.listening({"udp": 5060})
    one.do(LARGE)
    assert one.flows == [UDP]


def test_a_peer_without_tcp_gets_it_by_udp_after_all() -> None:
    """RFC 3261 18.1.1: a reset is answered by the datagram; a second failure is one."""
    one, _ = placed(LARGE)
    (again,) = one.lose(OVER_TCP)
    assert isinstance(again, Request)
    assert (again.via.transport, again.cseq.number, one.flows[-1]) == ("udp", 2, UDP)
    assert "transport=tcp" not in again.required("Contact")
    one.lose(UDP)
    assert one.event(CallFailed).status == 503


def test_a_peer_whose_firewall_swallows_tcp_gets_it_by_udp_too() -> None:
    """After the time in which a target may say nothing; and then it has that time once more."""
    one, _ = placed(msgspec.structs.replace(LARGE, silent_for_s=4.0))
    one.advance(4.1)
    assert one.flows[-1] == UDP
    assert one.events == []
    one.advance(4.1)
    assert one.event(CallFailed).status == 408


def test_a_caller_who_gives_up_is_not_called_for_again() -> None:
    """Not even by the other transport."""
    one, _ = placed(LARGE)
    one.do(HangUp("out"))
    assert methods(one.lose(OVER_TCP)) == []


def test_a_call_begins_with_the_route_given() -> None:
    """RFC 3608: as the registrar had it, in order; CANCEL and the ACK of a refusal go the same way."""
    route = ("<sip:a.example;lr>", "<sip:b.example;lr>")
    one, sent = placed(msgspec.structs.replace(PLACE, route=route))
    assert tuple(sent.all("Route")) == route
    one.receive(reply(sent, 180))
    (cancel,) = one.do(HangUp("out"))
    assert tuple(cancel.all("Route")) == route
    *_, ack = one.receive(reply(sent, 487))
    assert (methods([ack]), tuple(ack.all("Route"))) == (["ACK"], route)


EARLY = ("Require: 100rel", "RSeq: 1")


def test_a_description_that_prack_has_settled_is_the_answer() -> None:
    """RFC 3262 5: the 200 repeats none."""
    one, sent = placed(PLACE)
    (prack,) = one.receive(reply(sent, 183, headers=EARLY, body=SDP))
    assert methods([prack]) == ["PRACK"]
    one.receive(reply(prack, 200))
    one.receive(reply(sent, 200))
    assert one.event(CallAccepted).sdp == SDP


def test_another_forks_description_is_not_the_answer() -> None:
    """Only the one that picked up counts (RFC 3261 13.2.2.4)."""
    one, sent = placed(PLACE)
    other = SDP.replace(b"4000", b"5000")
    one.receive(reply(sent, 183, tag="a", body=SDP))
    one.receive(reply(sent, 183, tag="b", body=other))
    one.receive(reply(sent, 200, tag="b"))
    assert one.event(CallAccepted).sdp == other


def up() -> Line:
    one, sent = placed(PLACE)
    one.receive(reply(sent, 200, body=SDP))
    one.clear()
    return one


@pytest.mark.parametrize("status", [200, 415, 500])
def test_keys_by_info_keep_their_order(status: int) -> None:
    """The next goes when the one before it has been answered, however."""
    one = up()
    for key in "12#":
        one.do(SendInfo("out", "application/dtmf-relay", f"Signal={key}".encode()))
    told = []
    while one.sent:
        info = one.sent[-1]
        assert isinstance(info, Request)
        told.append(info.body)
        one.clear()
        one.receive(reply(info, status))
    assert told == [b"Signal=1", b"Signal=2", b"Signal=#"]


def test_keys_that_nobody_answers_end_with_the_call() -> None:
    """Silence is the end of the dialog, not of the queue alone."""
    one = up()
    for key in "12":
        one.do(SendInfo("out", "application/dtmf-relay", f"Signal={key}".encode()))
    one.advance(40)
    infos = {message.cseq.number for message in one.sent if isinstance(message, Request) and message.method == "INFO"}
    assert len(infos) == 1
    assert not any(isinstance(message, Response) for message in one.sent)


def test_a_peer_that_calls_every_nonce_stale_is_left_alone() -> None:
    """Each retry is one round trip; for ever would be a loop at the speed of the line."""
    place = msgspec.structs.replace(PLACE, credentials=Credentials("4711", "secret"))
    one, sent = placed(place)
    for number in range(50):
        challenge = f'WWW-Authenticate: Digest realm="p", nonce="{number}", stale=true'
        one.receive(reply(sent, 401, headers=(challenge,)))
        latest = [message for message in one.sent if isinstance(message, Request) and message.method == "INVITE"][-1]
        if latest is sent:
            break
        sent = latest
    assert sent.cseq.number == 8
    assert one.event(CallFailed).status == 401
