"""Registering with a trunk's registrar, and probing peers (RFC 3261 10 and 11)."""

from __future__ import annotations

import msgspec
import pytest
from sip_wire import UDP, US, Line, methods, reply

from gateway.core.errors import MisuseError
from gateway.sip.commands import Credentials, MoveRegistration, Probe, Register, Unregister
from gateway.sip.events import ProbeAnswered, Registered, RegistrationFailed, Unregistered
from gateway.sip.flow import Flow
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


def test_a_nonce_that_grew_old_between_refreshes_is_no_wrong_password() -> None:
    """Not every registrar says `stale`: a refresh signed ahead is signed once more with the new nonce."""
    line, sent = registering()
    (again,) = line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    line.receive(granted(again, 300))
    refresh, *_ = line.advance(271)
    (signed,) = line.receive(reply(refresh, 401, headers=(CHALLENGE.replace("abc", "def"),)))
    assert 'nonce="def"' in signed.required("Authorization")
    assert line.receive(reply(signed, 401, headers=(CHALLENGE.replace("abc", "ghi"),))) == []
    assert line.event(RegistrationFailed).status == 401


SECOND, THIRD = (Flow("udp", US, (f"192.0.2.{n}", 5060)) for n in (20, 30))
FAILING_OVER = msgspec.structs.replace(COMMAND, others=(SECOND, THIRD), silent_for_s=4.0)


def sent_by(line: Line) -> list[Flow]:
    """By which way each REGISTER went."""
    return [flow for flow, data in zip(line.flows, line.raw, strict=True) if data.startswith(b"REGISTER")]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_registrar_without_room_is_followed_by_the_next(status: int) -> None:
    """RFC 3263 4.3, at once; only when none is left it is a failure, and a pause."""
    line = Line()
    (sent,) = line.do(FAILING_OVER)
    (second,) = line.receive(reply(sent, status))
    assert (line.flows[-1], line.events) == (SECOND, [])
    (third,) = line.receive(reply(second, status))
    assert line.flows[-1] == THIRD
    line.receive(reply(third, status))
    failed = line.event(RegistrationFailed)
    assert failed.status == status
    line.clear()
    line.advance(failed.retry_in_s + 0.01)
    assert sent_by(line) == [UDP]


def test_a_silent_registrar_is_given_up_soon_while_there_is_another() -> None:
    """And what it says too late changes nothing. The last one is waited for as RFC 3261 has it."""
    line = Line()
    (first,) = line.do(FAILING_OVER)
    line.advance(3.9)
    assert set(sent_by(line)) == {UDP}
    line.advance(0.2)
    assert sent_by(line)[-1] == SECOND
    line.receive(granted(first, 600))
    assert line.events == []
    second = line.sent[-1]
    line.receive(granted(second, 600))
    assert line.event(Registered).flow == SECOND


def test_a_registrar_that_cannot_be_reached_is_followed_by_the_next() -> None:
    """A connection that does not come about, ICMP: the transport says so at once."""
    line = Line()
    line.do(FAILING_OVER)
    (second,) = line.lose(UDP)
    assert (methods([second]), line.flows[-1]) == (["REGISTER"], SECOND)


def test_a_wrong_password_is_not_carried_from_door_to_door() -> None:
    """It is wrong everywhere, and accounts are locked for less."""
    line = Line()
    (sent,) = line.do(FAILING_OVER)
    assert line.receive(reply(sent, 403)) == []
    assert line.event(RegistrationFailed).status == 403


def test_each_registrars_challenge_is_its_own() -> None:
    """The same realm with another nonce at another registrar is no wrong password."""
    line = Line()
    (sent,) = line.do(FAILING_OVER)
    (signed,) = line.receive(reply(sent, 401, headers=(CHALLENGE,)))
    (second,) = line.receive(reply(signed, 503))
    assert second.first("Authorization") is None
    (signed,) = line.receive(reply(second, 401, headers=(CHALLENGE.replace("abc", "def"),)))
    assert 'nonce="def"' in signed.required("Authorization")


def test_the_refresh_goes_where_the_registration_is() -> None:
    """Until that way fails; then on to the others, the best first."""
    line = Line()
    (sent,) = line.do(FAILING_OVER)
    (second,) = line.receive(reply(sent, 503))
    line.receive(granted(second, 300))
    line.clear()
    while not sent_by(line):
        line.advance(1)
    refresh = line.sent[0]
    assert set(sent_by(line)) == {SECOND}
    line.receive(reply(refresh, 503))
    assert sent_by(line)[-1] == UDP


def test_a_registration_moves_when_its_best_way_is_another() -> None:
    """At once, as calls come to where we are registered; it stays where it is when only the rest has changed."""
    line, sent = registering()
    line.receive(granted(sent, 300))
    assert line.do(MoveRegistration("trunk", UDP, (THIRD,))) == []
    (moved,) = line.do(MoveRegistration("trunk", SECOND, (UDP,)))
    assert (moved.call_id, moved.cseq.number, line.flows[-1]) == (sent.call_id, 2, SECOND)
    line.receive(granted(moved, 300))
    line.do(Unregister("trunk"))
    assert line.flows[-1] == SECOND
    assert len(line.events) == 2


def test_proxies_on_the_way_may_stay_in_it() -> None:
    """RFC 3327: we say that we know of Path; RFC 3608: what the registrar wants as our route is handed on."""
    line, sent = registering()
    assert "path" in sent.tokens("Supported")
    route = "Service-Route: <sip:a.example;lr>, <sip:b.example;lr>"
    line.receive(reply(sent, 200, contact=None, headers=("Expires: 300", route)))
    assert line.event(Registered).service_route == ("<sip:a.example;lr>", "<sip:b.example;lr>")


@pytest.mark.parametrize("route", ["<sip:a.example>", "<tel:1>", "rubbish", '"', "<sip:a.example;lr>, <sip:b>"])
def test_a_route_we_cannot_go_is_not_taken(route: str) -> None:
    """The registration counts all the same."""
    line, sent = registering()
    line.receive(reply(sent, 200, contact=None, headers=("Expires: 300", f"Service-Route: {route}")))
    assert line.event(Registered).service_route == ()
