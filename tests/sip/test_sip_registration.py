"""Registering with a trunk's registrar, and probing peers (RFC 3261 10 and 11)."""

from __future__ import annotations

import pytest
from sip_wire import UDP, Line, methods, reply

from gateway.core.errors import MisuseError
from gateway.sip.commands import Credentials, Probe, Register, Unregister
from gateway.sip.events import ProbeAnswered, Registered, RegistrationFailed, Unregistered
from gateway.sip.message import Request, Response

COMMAND = Register(
    "trunk", "sip:provider.example", "sip:4711@provider.example", UDP, Credentials("4711", "secret"), expires_s=600
)
CHALLENGE = 'WWW-Authenticate: Digest realm="provider", nonce="abc", qop="auth"'


def registering() -> tuple[Line, Request]:
    line = Line()
    (sent,) = line.do(COMMAND)
    assert isinstance(sent, Request)
    return line, sent


def granted(sent: Request | Response, seconds: int) -> bytes:
    contact = f"{sent.required('Contact').partition(';expires')[0]};expires={seconds}"
    return reply(sent, 200, contact=None, headers=(f"Contact: <sip:old@192.0.2.8>;expires=7, {contact}",))


def test_a_register_says_who_and_where() -> None:
    """RFC 3261 10.2: the registrar in the request line, the address in From and To, us in Contact."""
    _, sent = registering()
    assert (sent.method, sent.uri) == ("REGISTER", "sip:provider.example")
    assert str(sent.to.uri) == str(sent.from_.uri) == "sip:4711@provider.example"
    assert sent.required("Contact") == "<sip:4711@192.0.2.1:5060>;expires=600"


def test_a_challenge_is_answered_and_the_registration_kept_fresh() -> None:
    """The refresh comes before the end, in the same Call-ID with the next CSeq, credentials at once."""
    line, sent = registering()
    (again,) = line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    assert (again.call_id, again.cseq.number) == (sent.call_id, 2)
    line.receive(granted(again, 300))
    assert line.event(Registered).expires_s == 300
    assert line.advance(239) == []
    refresh, *_ = line.advance(32)
    assert (refresh.cseq.number, refresh.first("Authorization") is not None) == (3, True)
    line.receive(granted(refresh, 300))
    assert len(line.events) == 2


def test_the_registrars_word_counts_in_whichever_place() -> None:
    """Our Contact's own expires, else the Expires header, else what we asked for."""
    line, sent = registering()
    line.receive(reply(sent, 200, contact=None, headers=("Expires: 120",)))
    assert line.event(Registered).expires_s == 120
    line, sent = registering()
    line.receive(reply(sent, 200, contact=None))
    assert line.event(Registered).expires_s == 600


def test_a_registration_for_no_time_does_not_spin() -> None:
    """`Expires: 0` in a 200 has made others send a REGISTER per round trip."""
    line, sent = registering()
    line.receive(reply(sent, 200, contact=None, headers=("Expires: 0",)))
    assert line.event(RegistrationFailed).retry_in_s >= 15
    assert line.advance(14) == []


def test_a_second_does_not_spin_either() -> None:
    """However little is granted, five seconds pass."""
    line, sent = registering()
    line.receive(granted(sent, 1))
    assert line.advance(4.9) == []
    assert methods(line.advance(0.2)) == ["REGISTER"]


def test_423_is_followed_by_a_longer_wish() -> None:
    """RFC 3261 10.2.8."""
    line, sent = registering()
    (again,) = line.receive(reply(sent, 423, headers=("Min-Expires: 3600",)))
    assert again.required("Expires") == "3600"
    line.receive(reply(again, 423, headers=("Min-Expires: 3600",)))
    assert line.event(RegistrationFailed).status == 423


def test_failures_are_retried_with_growing_pauses() -> None:
    """RFC 5626 4.5: 30 s doubling, scattered by half."""
    line, sent = registering()
    pauses = []
    for _ in range(9):
        line.clear()
        line.receive(reply(sent, 503))
        pauses.append(line.event(RegistrationFailed).retry_in_s)
        (sent,) = line.advance(pauses[-1] + 0.01)
    for index, pause in enumerate(pauses):
        full = min(1800, 30 * 2**index)
        assert full / 2 <= pause <= full
    line.receive(granted(sent, 600))
    line.clear()
    sent, *_ = line.advance(541)
    line.receive(reply(sent, 503))
    assert line.event(RegistrationFailed).retry_in_s <= 30


def test_retry_after_is_heeded() -> None:
    """RFC 3261 21.5.4."""
    line, sent = registering()
    line.receive(reply(sent, 503, headers=("Retry-After: 100 (maintenance);duration=5",)))
    assert line.event(RegistrationFailed).retry_in_s == 100


def test_silence_is_a_408() -> None:
    """An unreachable registrar is reported, not retried in a loop."""
    line, _ = registering()
    line.advance(33)
    assert line.event(RegistrationFailed).status == 408


def test_a_wrong_password_is_said_once_and_retried_slowly() -> None:
    """No loop of 401s."""
    line, sent = registering()
    (again,) = line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    assert line.receive(reply(again, 401, headers=(CHALLENGE.replace("abc", "def"),))) == []
    assert line.event(RegistrationFailed).status == 401


def test_unregistering_takes_the_contact_back_and_is_the_end() -> None:
    """RFC 3261 10.2.2: expires=0; nothing is refreshed afterwards."""
    line, sent = registering()
    line.receive(granted(sent, 300))
    (gone,) = line.do(Unregister("trunk"))
    assert gone.required("Contact").endswith(";expires=0")
    line.receive(reply(gone, 200, contact=None))
    assert line.event(Unregistered).dialog == "trunk"
    assert methods(line.advance(1000)) == []
    assert line.endpoint.next_deadline() is None
    line.do(COMMAND)


def test_unregistering_from_a_silent_registrar_ends_too() -> None:
    """Whoever shuts down waits for this, and for no more than a transaction takes."""
    line, sent = registering()
    line.receive(granted(sent, 300))
    line.do(Unregister("trunk"))
    line.advance(33)
    assert line.event(Unregistered).dialog == "trunk"
    assert line.endpoint.next_deadline() is None


def test_the_way_to_the_registrar_is_kept_open() -> None:
    """RFC 5626 4.4: behind a NAT calls could not come in otherwise."""
    line, sent = registering()
    line.receive(granted(sent, 600))
    line.clear()
    line.advance(100)
    assert line.raw == [b"\r\n\r\n"] * 4
    assert line.endpoint.uses(UDP)


def test_mistakes_of_ours() -> None:
    """An address that is none, a handle in use."""
    line, _ = registering()
    with pytest.raises(MisuseError):
        line.do(COMMAND)
    with pytest.raises(MisuseError):
        Line().do(Register("x", "provider", "sip:a@b", UDP))


def test_a_probe_tells_the_answer_and_the_time_it_took() -> None:
    """OPTIONS as a sign of life."""
    line = Line()
    (sent,) = line.do(Probe("ping", "sip:192.0.2.9", UDP))
    assert (methods([sent]), str(sent.to.uri)) == (["OPTIONS"], "sip:192.0.2.9")
    line.advance(0.25)
    line.receive(reply(sent, 404))
    event = line.event(ProbeAnswered)
    assert (event.status, event.round_trip_s) == (404, 0.25)


def test_a_probe_nobody_answers_is_a_408() -> None:
    """After 64*T1."""
    line = Line()
    line.do(Probe("ping", "sip:192.0.2.9", UDP))
    line.advance(33)
    assert line.event(ProbeAnswered).status == 408
