"""Who is let in, who must say who they are, and what happens to floods."""

from __future__ import annotations

import pytest
from sip_wire import PEER, Line, invite, request, statuses

from gateway.core.errors import ConfigError
from gateway.core.ids import SeededIds
from gateway.sip.auth import DigestClient
from gateway.sip.commands import Credentials
from gateway.sip.events import CallOffered
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response, parse


def guarded(**options: object) -> Line:
    return Line(**{"unknown_sources": "challenge", "accounts": {"alice": "secret"}, **options})


def signed(answer: Request | Response, password: str = "secret") -> bytes:
    """The peer's INVITE again, with an answer to the challenge."""
    assert isinstance(answer, Response)
    message = parse(invite(branch="z9hG4bK-2", cseq=2))
    assert isinstance(message, Request)
    client = DigestClient(Credentials("alice", password), SeededIds(1))
    assert client.challenged(message, answer)
    client.authorize(message)
    return message.to_bytes()


def test_a_stranger_is_challenged_and_let_in_with_its_password() -> None:
    """RFC 3261 22.2; the account is a fact of the offer."""
    line = guarded()
    (challenge,) = line.receive(invite())
    assert statuses([challenge]) == [401]
    assert line.endpoint.transactions == 0
    assert statuses(line.receive(signed(challenge))) == [100]
    assert ("account", "alice") in line.event(CallOffered).facts


def test_a_wrong_password_is_challenged_again() -> None:
    """Not stale: the client must not try the same once more."""
    line = guarded()
    (challenge,) = line.receive(invite())
    (again,) = line.receive(signed(challenge, "wrong"))
    assert statuses([again]) == [401]
    assert "stale" not in again.required("WWW-Authenticate")


def test_an_old_nonce_is_stale() -> None:
    """The client may sign anew without asking its user."""
    line = guarded()
    (challenge,) = line.receive(invite())
    line.advance(400)
    (again,) = line.receive(signed(challenge))
    assert "stale=true" in again.required("WWW-Authenticate")


def test_gateways_with_one_secret_take_the_answer_to_one_anothers_challenge() -> None:
    """Behind a dispatcher the signed request may reach another machine, whose uptime, and so `now`, is another."""
    first, second = (
        guarded(nonce_secret=b"shared by both", epoch=1e9),
        guarded(nonce_secret=b"shared by both", epoch=2e6),
    )
    second.now = 100.0 + 1e9 - 2e6 + 1.0
    (challenge,) = first.receive(invite())
    assert statuses(second.receive(signed(challenge))) == [100]
    assert ("account", "alice") in second.event(CallOffered).facts


def test_gateways_with_secrets_of_their_own_do_not() -> None:
    """The other one challenges anew, stale: the caller may sign again without asking its user."""
    first, second = guarded(seed="first"), guarded(seed="second")
    (challenge,) = first.receive(invite())
    (again,) = second.receive(signed(challenge))
    assert "stale=true" in again.required("WWW-Authenticate")


def test_a_nonce_of_the_far_future_is_stale() -> None:
    """A gateway whose clock once was wrong must not have left nonces that live for years."""
    first, second = guarded(nonce_secret=b"shared by both", epoch=1e9), guarded(nonce_secret=b"shared by both")
    (challenge,) = first.receive(invite())
    (again,) = second.receive(signed(challenge))
    assert "stale=true" in again.required("WWW-Authenticate")


def test_a_known_network_needs_no_password() -> None:
    """Trunks are known by where they are."""
    line = guarded(known_networks=("192.0.2.0/24", "2001:db8::/32"))
    line.receive(invite())
    line.event(CallOffered)


def test_strangers_can_be_refused() -> None:
    """An INVITE gets 403; anything else no answer."""
    line = Line(unknown_sources="reject")
    assert statuses(line.receive(invite())) == [403]
    assert line.receive(request("OPTIONS")) == []
    assert line.endpoint.counters["dropped"] == 1


def test_a_network_that_is_none_is_a_configuration_error() -> None:
    """With the form it should have."""
    with pytest.raises(ConfigError, match=r"192\.0\.2\.0/24"):
        Line(known_networks=("example.com",))


def test_one_source_cannot_take_it_all() -> None:
    """The excess of one source gets 503, others are served, and after a while it is served again."""
    line = Line(invites_per_s_and_source=2.0)

    def call(number: int, host: str = PEER[0]) -> int:
        flow = Flow("udp", ("192.0.2.1", 5060), (host, 5060))
        return statuses(line.receive(invite(branch=f"z9hG4bK-{number}", call_id=str(number)), flow))[0]

    assert [call(n) for n in range(4)] == [100, 100, 503, 503]
    assert call(10, "192.0.2.77") == 100
    line.advance(0.5)
    assert [call(20), call(21)] == [100, 503]


def test_twice_the_admitted_rate_is_half_refused_with_retry_after() -> None:
    """Full service for what fits."""
    line = Line(invites_per_s=10.0, retry_after_s=3)
    answers = []
    for number in range(200):
        line.advance(0.05)
        answers += line.receive(invite(branch=f"z9hG4bK-{number}", call_id=str(number)))
    refused = [answer for answer in answers if statuses([answer]) == [503]]
    assert {answer.required("Retry-After") for answer in refused} == {"3"}
    assert abs(statuses(answers).count(100) - 110) <= 2
