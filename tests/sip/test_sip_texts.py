"""Texts (MESSAGE, RFC 3428): whom they are for, what of them is taken, and that no 200 goes to a text nobody has."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_wire import OUR_SDP, PEER, TCP, UDP, US, Line, ack_of, invite, request, statuses

from gateway.core.ids import SeededIds
from gateway.sip.auth import DigestClient
from gateway.sip.commands import Accept, AnswerMessage, Credentials, HangUp
from gateway.sip.events import CallOffered, MessageReceived
from gateway.sip.extensions.message import MAX_OCTETS, TEXTS_AT_ONCE, harmless
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response, parse

ELSEWHERE = Flow("udp", US, ("192.0.2.77", 5060))


def talking(line: Line | None = None, number: int = 1, flow: Flow = UDP) -> tuple[Line, str, str]:
    """A line with a call of alice's that is up: its handle, and our tag in it."""
    line = line or Line()
    line.receive(invite(call_id=f"call-{number}", branch=f"z9hG4bK-call-{number}"), flow)
    handle = [event.dialog for event in line.events if isinstance(event, CallOffered)][-1]
    (ok,) = line.do(Accept(handle, OUR_SDP))
    line.receive(ack_of(ok), flow)
    return line, handle, ok.to.tag


def text(body: bytes = b"a haircut please", *, tag: str = "", number: int = 2, **fields: object) -> bytes:
    """A text of alice's; with `tag` in her call, else beside it, as softphones send them."""
    kind = str(fields.pop("content_type", "text/plain;charset=UTF-8"))
    known = {"branch": f"z9hG4bK-text-{number}", "cseq": number, "to_tag": tag, "body": body, "content_type": kind}
    if not tag:
        known |= {"call_id": f"text-{number}", "from_tag": "texts"}
    return request("MESSAGE", **{**known, **fields})  # type: ignore[arg-type]


def received(line: Line) -> list[MessageReceived]:
    return [event for event in line.events if isinstance(event, MessageReceived)]


def test_a_text_in_the_call_is_told_and_its_answer_is_ours_to_give() -> None:
    """RFC 3428 7: 200 says that the text has arrived where it is read; until that is known there is no answer."""
    line, handle, tag = talking()
    assert line.receive(text(tag=tag)) == []
    (told,) = received(line)
    assert (told.dialog, told.text) == (handle, "a haircut please")
    assert line.receive(text(tag=tag)) == []  # a repetition
    (ok,) = line.do(AnswerMessage(handle, told.number))
    assert (statuses([ok]), ok.to.tag) == ([200], tag)
    assert statuses(line.receive(text(tag=tag))) == [200]
    assert len(received(line)) == 1


def test_who_takes_the_text_may_refuse_it() -> None:
    """With a reason that the sender's phone can show."""
    line, handle, tag = talking()
    line.receive(text(tag=tag))
    (answer,) = line.do(AnswerMessage(handle, received(line)[0].number, 480, "Nobody Reads Now"))
    assert isinstance(answer, Response)
    assert (answer.status, answer.reason) == (480, "Nobody Reads Now")


def test_a_text_beside_the_call_reaches_the_one_call_of_its_sender() -> None:
    """Softphones send texts out of dialog; the same user at the same address is taken for the caller. Told once."""
    line, handle, _ = talking()
    assert line.receive(text()) == []
    (told,) = received(line)
    assert told.dialog == handle
    (ok,) = line.do(AnswerMessage(handle, told.number))
    assert statuses([ok]) == [200]
    assert ok.to.tag
    assert statuses(line.receive(text())) == [200]
    assert len(received(line)) == 1


def test_a_text_from_another_address_is_nobody_s() -> None:
    """A name alone is easily forged: 404, and nothing is told or kept."""
    line, _, _ = talking()
    before = line.endpoint.transactions
    assert statuses(line.receive(text(), ELSEWHERE)) == [404]
    assert received(line) == []
    assert line.endpoint.transactions == before


@pytest.mark.parametrize("name", [b"bob", b"anonymous"])
def test_a_text_from_another_user_is_nobody_s(name: bytes) -> None:
    """Phones behind one address have names of their own; those without one cannot be told apart."""
    line = Line()
    line.receive(invite().replace(b"sip:alice@example.org", b"sip:anonymous@anonymous.invalid"))
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    assert statuses(line.receive(text().replace(b"sip:alice@", b"sip:" + name + b"@"))) == [404]
    assert received(line) == []


def test_a_text_beside_two_calls_is_for_neither() -> None:
    """Which one it is for it does not say, and guessing would put words into the wrong conversation."""
    line, first, _ = talking()
    talking(line, 5)
    assert statuses(line.receive(text())) == [480]
    line.do(HangUp(first))
    line.receive(text(number=3))
    assert len(received(line)) == 1


def test_a_text_without_any_call_is_refused() -> None:
    """We keep no texts for later."""
    line = Line()
    assert statuses(line.receive(text())) == [404]
    assert line.endpoint.transactions == 0


def test_a_call_that_only_rings_takes_no_texts() -> None:
    """There is no conversation yet that could read them."""
    line = Line()
    (trying,) = line.receive(invite())
    assert statuses(line.receive(text())) == [404]
    assert statuses([trying]) == [100]


def test_a_text_that_nobody_has_answered_when_the_call_ends_is_refused() -> None:
    """Its sender must not believe it was read."""
    line, handle, tag = talking()
    line.receive(text(tag=tag))
    sent = line.do(HangUp(handle))
    assert 480 in statuses(sent)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<x/>", "application/im-iscomposing+xml", 415),
        (b"hi", "text/html", 415),
        (b"hi", "text/plain;charset=iso-8859-1", 415),
        (b"hi", "application/sdp", 415),
        (b"\xff\xfe", "text/plain", 400),
        (b" \x00\r\n\xe2\x80\xae", "text/plain", 400),
        (b"x" * (MAX_OCTETS + 1), "text/plain", 413),
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_what_is_no_text_is_refused(body: bytes, kind: str, status: int, beside: bool) -> None:
    """415 with what we take (RFC 3261 8.2.3), 413 beyond the limit, 400 for what says nothing."""
    line, _, tag = talking()
    (answer,) = line.receive(text(body, tag="" if beside else tag, content_type=kind))
    assert statuses([answer]) == [status]
    assert (answer.first("Accept") == "text/plain;charset=utf-8") == (status == 415)
    assert received(line) == []


@pytest.mark.parametrize("kind", ["text/plain", "TEXT/PLAIN; Charset=utf-8", 'text/plain;charset="UTF-8"'])
def test_plain_text_is_taken_however_it_is_named(kind: str) -> None:
    """UTF-8 is what it is when nothing else is said (RFC 3428 4), and as long as the limit."""
    line, _, tag = talking()
    line.receive(text("füße 👍".encode(), tag=tag, content_type=kind))
    line.receive(text(b"x" * MAX_OCTETS, tag=tag, content_type=kind, number=3))
    assert [told.text for told in received(line)] == ["füße 👍", "x" * MAX_OCTETS]


def test_a_flood_of_texts_is_turned_away() -> None:
    """Each costs an agent's answer: a handful at once and then one a second, whichever way they come."""
    line, _, tag = talking()
    answers = [statuses(line.receive(text(tag=tag if n % 2 else "", number=n))) for n in range(2, 22)]
    assert answers[: int(TEXTS_AT_ONCE)] == [[]] * int(TEXTS_AT_ONCE)
    assert answers[int(TEXTS_AT_ONCE) :] == [[480]] * (20 - int(TEXTS_AT_ONCE))
    line.advance(1.0)
    assert line.receive(text(number=30)) == []


def test_strangers_are_challenged_for_texts_too() -> None:
    """As for INVITE: 401, and a signed text reaches the call."""
    line = Line(known_networks=("192.0.2.9/32",), unknown_sources="challenge", accounts={"alice": "secret"})
    line, _, _ = talking(line)
    assert line.receive(text()) == []  # from where her call came, which is known
    (challenge,) = line.receive(text(number=3), ELSEWHERE)
    assert isinstance(challenge, Response)
    assert challenge.status == 401
    signed = parse(text(number=4))
    assert isinstance(signed, Request)
    client = DigestClient(Credentials("alice", "secret"), SeededIds(1))
    assert client.challenged(signed, challenge)
    client.authorize(signed)
    assert statuses(line.receive(signed.to_bytes(), ELSEWHERE)) == [404]  # let in; but no call is there


def test_strangers_who_are_not_let_in_hear_nothing() -> None:
    """Where unknown sources are rejected, a text from one gets no answer at all."""
    line = Line(unknown_sources="reject")
    assert line.receive(text()) == []


def test_a_call_over_tcp_takes_texts_from_the_same_host() -> None:
    """A softphone may send them over UDP, or by a connection of its own: the address counts, not its port."""
    line, handle, _ = talking(flow=TCP)
    line.receive(text(), Flow("udp", US, (PEER[0], 40000)))
    assert [told.dialog for told in received(line)] == [handle]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_a_text_holds_is_harmless(written: str) -> None:
    """One line without controls and without invisible marks that turn its direction; doing it twice changes nothing."""
    cleaned = harmless(written)
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Zl", "Zp")]
    assert not [c for c in cleaned if unicodedata.category(c) == "Cf" and c not in "\u200c\u200d"]
    assert harmless(cleaned) == cleaned
    assert cleaned == cleaned.strip()


def test_what_is_harmless_stays() -> None:
    """Letters of every script, and emoji made of several."""
    for plain in ("Grüß Gott", "שלום", "می‌خواهم", "👩‍👩‍👧"):
        assert harmless(plain) == plain
    assert harmless("two\r\nlines\tand\0more\x1b[31m\u202egnp") == "two lines and more [31mgnp"
