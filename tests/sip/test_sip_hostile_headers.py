"""Header values nobody could have meant: every request is answered, every answer told on, and nothing stays behind."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sip_wire import OUR_SDP, SDP, UDP, Line, ack_of, invite, reply, request, statuses

from gateway.sip.commands import Accept, Credentials, HangUp, Offer, Place, Register, Ring, Unregister
from gateway.sip.events import CallAccepted, CallFailed, CallOffered, Registered
from gateway.sip.message import Request
from gateway.sip.names import COMMA_SEPARATED, LONG

READ_BY_SOMEBODY = sorted({name for name in LONG.values() if name not in ("Content-Length", "Content-Type")})
PIECES = st.sampled_from(
    [
        *(
            '"',
            ",",
            '"a',
            "<",
            ">",
            "<sip:a@b>",
            "<sip:[::1]>",
            "sip:",
            ";",
            "=",
            ";tag=x",
            ";index=1.1",
            "?Reason=%ff",
        ),
        *("%00", "\\", " ", "100rel", "timer", "replaces", "90;refresher=uac", "4294967296", "\udcff", "\0", "é", "*"),
        *("Digest ", 'realm="voicebot-gateway"', "nonce=1.2", "a=b", ";encoding=hex", "0", "-1", "id;user"),
    ]
)
VALUES = st.lists(PIECES, max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\r\n"), max_size=30
)
HEADERS = st.lists(st.tuples(st.sampled_from(READ_BY_SOMEBODY), VALUES), max_size=6).map(
    lambda lines: tuple(f"{name}: {value}" for name, value in lines)
)
UNCUT = tuple(f'{name}: a,"' for name in sorted(COMMA_SEPARATED - {"Via"}))


def finish(line: Line) -> None:
    """Hang up whatever stands, let time pass, and see that nothing is left."""
    for event in list(line.events):
        line.do(HangUp(event.dialog))
    for sent in list(line.sent):
        if isinstance(sent, Request):
            line.receive(reply(sent, 487 if sent.method == "INVITE" else 200))
    line.advance(400)
    assert (line.endpoint.calls, line.endpoint.transactions) == (0, 0)
    assert not line.endpoint._core.dialogs


@pytest.mark.parametrize("policy", ["accept", "challenge"])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "MESSAGE", "REFER", "BYE", "UPDATE"])
@settings(max_examples=60, deadline=None)
@given(headers=HEADERS)
@example(headers=UNCUT)
def test_every_request_is_answered_whatever_its_headers(method: str, policy: str, headers: tuple[str, ...]) -> None:
    """Outside dialogs: an offered call, or a refusal that leaves nothing."""
    line = Line(unknown_sources=policy, accounts={"a": "b"})
    message = invite(headers=headers) if method == "INVITE" else request(method, headers=headers)
    answers = line.receive(message)
    assert answers or line.endpoint.counters["scanners"]
    offered = [event for event in line.events if isinstance(event, CallOffered)]
    assert line.endpoint.calls == len(offered)
    for event in offered:
        # What stores and logs do with it.
        repr(event).encode()
    finish(line)


@pytest.mark.parametrize("name", READ_BY_SOMEBODY)
def test_no_single_line_silences_an_invite(name: str) -> None:
    """A list that cannot be cut, in each header there is."""
    line = Line()
    assert line.receive(invite(headers=(f'{name}: a,"',)))
    finish(line)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["INVITE", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "MESSAGE", "OPTIONS", "BYE"]), HEADERS)
@example("INVITE", UNCUT)
@example("UPDATE", UNCUT)
def test_requests_in_a_call_are_answered_whatever_their_headers(method: str, headers: tuple[str, ...]) -> None:
    """A re-INVITE may wait for its user; everything else has its final answer at once."""
    line = Line()
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    body = SDP if method in ("INVITE", "UPDATE") else b""
    answers = line.receive(request(method, branch="z9hG4bK-2", cseq=2, to_tag=ok.to.tag, headers=headers, body=body))
    waits = any(type(event).__name__ in ("OfferReceived", "TransferRequested") for event in line.events)
    assert waits or max(statuses(answers), default=0) >= 200 or line.endpoint.counters["scanners"]
    finish(line)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([180, 183, 200, 302, 401, 407, 422, 486, 503]), HEADERS)
@example(183, ("Require: 100rel", *UNCUT))
@example(302, UNCUT)
@example(200, UNCUT)
def test_answers_to_our_invite_are_told_whatever_their_headers(status: int, headers: tuple[str, ...]) -> None:
    """A final answer always comes to whoever placed the call."""
    line = Line()
    credentials = Credentials("a", "b")
    (placed,) = line.do(Place("out", "sip:bob@192.0.2.9", UDP, OUR_SDP, "sip:d@192.0.2.1", credentials=credentials))
    sent = line.receive(reply(placed, status, headers=headers, body=SDP))
    told = [event for event in line.events if isinstance(event, (CallAccepted, CallFailed))]
    again = [message for message in sent if isinstance(message, Request) and message.method == "INVITE"]
    stray = line.endpoint.counters["stray_responses"] + line.endpoint.counters["malformed"]
    assert status < 200 or told or again or stray
    finish(line)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([200, 401, 423, 503]), HEADERS)
@example(200, UNCUT)
def test_a_registration_goes_on_whatever_the_answers_headers(status: int, headers: tuple[str, ...]) -> None:
    """There is always a next REGISTER."""
    line = Line()
    (register,) = line.do(Register("trunk", "sip:h", "sip:a@h", UDP, Credentials("a", "b")))
    line.receive(reply(register, status, headers=headers))
    assert line.endpoint.next_deadline() is not None
    if any(isinstance(event, Registered) for event in line.events):
        line.do(Unregister("trunk"))
    else:
        line.events.clear()
        line.do(Unregister("trunk"))
    finish(line)


@settings(max_examples=60, deadline=None)
@given(HEADERS)
def test_early_media_and_glare_with_hostile_answers(headers: tuple[str, ...]) -> None:
    """Answers to a re-INVITE of ours, and requests while a call rings."""
    line = Line()
    line.receive(invite(headers=("Supported: 100rel",)))
    line.do(Ring(line.offered, 183, OUR_SDP))
    line.receive(request("PRACK", branch="z9hG4bK-2", cseq=2, to_tag=line.sent[-1].to.tag, headers=headers))
    ok = line.do(Accept(line.offered, OUR_SDP))
    if ok:
        line.receive(ack_of(ok[0]))
        (ours,) = line.do(Offer(line.offered, OUR_SDP))
        line.receive(reply(ours, 200, headers=headers, body=SDP))
    finish(line)
