"""Damaged messages against calls in every phase: nothing raises, nothing hangs, nothing is left over."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sip_wire import OUR_SDP, SDP, TCP, UDP, Line, ack_of, invite, reply, request

from gateway.sip.commands import Accept, HangUp, Offer, Place, Register, Ring, Transfer, Unregister
from gateway.sip.events import CallOffered
from gateway.sip.message import Request, parse

HEADERS = (
    "Supported: timer, 100rel",
    "Session-Expires: 90;refresher=uac",
    "Record-Route: <sip:192.0.2.20;lr>",
    "Diversion: <sip:1@h>;reason=x",
)


def conversation(line: Line) -> list[bytes]:
    """Bring the line into the middle of everything; gives messages that mean something there."""
    line.receive(invite(call_id="up", headers=HEADERS))
    up = line.events[-1].dialog
    (ok,) = line.do(Accept(up, OUR_SDP))
    line.receive(ack_of(ok, call_id="up"))
    line.receive(invite(call_id="ringing", branch="z9hG4bK-2", headers=HEADERS))
    ringing = [event for event in line.events if isinstance(event, CallOffered)][-1].dialog
    (media,) = line.do(Ring(ringing, 183, OUR_SDP))
    (placed,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:desk@192.0.2.1"))
    (registering,) = line.do(Register("trunk", "sip:h", "sip:a@h", UDP))
    (re_invite,) = line.do(Offer(up, OUR_SDP))
    (refer,) = line.do(Transfer(up, "sip:sales@h"))
    tag = ok.to.tag
    early = ("Require: 100rel", "RSeq: 1", *HEADERS)
    rack = (f"RAck: {media.required('RSeq')} 1 INVITE",)
    return [
        invite(call_id="new", branch="z9hG4bK-3", headers=HEADERS),
        invite(call_id="up", branch="z9hG4bK-4", cseq=2, to_tag=tag, headers=HEADERS),
        request("UPDATE", call_id="up", branch="z9hG4bK-5", cseq=3, to_tag=tag, headers=HEADERS),
        request("INFO", call_id="up", branch="z9hG4bK-6", cseq=4, to_tag=tag, body=b"Signal=1"),
        request(
            "REFER", call_id="up", branch="z9hG4bK-7", cseq=5, to_tag=tag, headers=("Refer-To: <sip:x@h?Replaces=y>",)
        ),
        request(
            "NOTIFY",
            call_id="up",
            branch="z9hG4bK-8",
            cseq=6,
            to_tag=tag,
            headers=("Event: refer",),
            body=b"SIP/2.0 200",
        ),
        request("PRACK", call_id="ringing", branch="z9hG4bK-9", cseq=2, to_tag=media.to.tag, headers=rack, body=SDP),
        request("CANCEL", call_id="ringing", branch="z9hG4bK-2"),
        request("BYE", call_id="up", branch="z9hG4bK-10", cseq=7, to_tag=tag),
        invite(call_id="r", branch="z9hG4bK-11", headers=(f"Replaces: up;to-tag={tag};from-tag=theirs",)),
        reply(placed, 183, headers=early, body=SDP),
        reply(placed, 200, headers=HEADERS, body=SDP),
        reply(placed, 401, headers=('WWW-Authenticate: Digest realm="r", nonce="n"',)),
        reply(placed, 302, headers=("Contact: <sip:x@h>;q=0.5",)),
        reply(placed, 422, headers=("Min-SE: 3000",)),
        reply(registering, 200, headers=("Expires: 60",)),
        reply(re_invite, 200, body=SDP),
        reply(re_invite, 491),
        reply(refer, 202),
    ]


DAMAGE = st.tuples(
    st.sampled_from(["none", "cut", "double", "put", "line", "number"]),
    st.integers(0, 2000),
    st.binary(max_size=4) | st.sampled_from([b"\r\n", b";", b",", b"<", b'"', b"%", b"\0", b"sip:", b"9" * 12, b"-1"]),
)


def damaged(message: bytes, how: str, at: int, put: bytes) -> bytes:
    at %= len(message)
    match how:
        case "cut":
            return message[:at] + message[at + 1 + len(put) * 3 :]
        case "double":
            return message[:at] + message[at : at + 40] + message[at:]
        case "put":
            return message[:at] + put + message[at + len(put) :]
        case "line":
            lines = message.split(b"\r\n")
            lines[at % len(lines)] = lines[(at * 7) % len(lines)] + put
            return b"\r\n".join(lines)
        case "number":
            return message.replace(b"1", put)
        case _:
            return message


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 18), DAMAGE, st.sampled_from([0.0, 0.1, 5.0, 40.0])), max_size=12))
def test_no_message_harms_the_endpoint(plan: list[tuple[int, tuple[str, int, bytes], float]]) -> None:
    """After it all every call can be hung up, and nothing stays in memory."""
    line = Line()
    messages = conversation(line)
    for index, (how, at, put), pause in plan:
        line.receive(damaged(messages[index], how, at, put))
        line.advance(pause)
    for event in list(line.events):
        line.do(HangUp(event.dialog))
    line.do(HangUp("out"))
    line.do(Unregister("trunk"))
    for sent in list(line.sent):
        if isinstance(sent, Request) and sent.method == "INVITE":
            line.receive(reply(sent, 487))
    line.advance(400)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)
    assert not line.endpoint._core.dialogs


@given(st.binary(max_size=200), st.sampled_from(["udp", "tcp"]))
def test_random_bytes_harm_nobody(data: bytes, transport: str) -> None:
    """On either kind of flow."""
    line = Line(UDP if transport == "udp" else TCP)
    line.receive(data)
    assert line.endpoint.calls == 0


@given(st.lists(st.sampled_from(invite(headers=HEADERS).split(b"\r\n")), min_size=3, max_size=30))
def test_shuffled_headers_are_answered_or_dropped(lines: list[bytes]) -> None:
    """Any line anywhere, any number of times."""
    line = Line()
    data = b"\r\n".join([b"INVITE sip:desk@192.0.2.1 SIP/2.0", *lines]) + b"\r\n\r\n"
    for answer in line.receive(data):
        parse(answer.to_bytes())
