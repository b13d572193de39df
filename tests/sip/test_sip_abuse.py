"""Floods, scanners and forgers: calls go on unharmed, and nothing grows with what strangers send."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from sip_wire import OUR_SDP, Line, ack_of, invite, request, statuses

from gateway.sip.admission import REMEMBERED_SOURCES
from gateway.sip.commands import Accept
from gateway.sip.events import CallEnded
from gateway.sip.flow import Flow

US = ("192.0.2.1", 5060)


def stranger(number: int) -> Flow:
    return Flow("udp", US, (f"203.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 5060))


def answered(**options: object) -> tuple[Line, str]:
    """A call that is up, and our tag in it."""
    line = Line(**options)
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    return line, ok.to.tag


FLOODS: dict[str, Callable[[int], bytes]] = {
    "OPTIONS": lambda n: request("OPTIONS", branch=f"z9hG4bK-f{n}", call_id=f"f{n}"),
    "REGISTER of a scanner": lambda n: request(
        "REGISTER", branch=f"z9hG4bK-f{n}", call_id=f"f{n}", headers=("User-Agent: friendly-scanner",)
    ),
    "REGISTER": lambda n: request("REGISTER", branch=f"z9hG4bK-f{n}", call_id=f"f{n}"),
    "BYE for nothing": lambda n: request("BYE", branch=f"z9hG4bK-f{n}", call_id=f"f{n}", to_tag="x"),
    "CANCEL for nothing": lambda n: request("CANCEL", branch=f"z9hG4bK-f{n}", call_id=f"f{n}"),
    "ACK for nothing": lambda n: request("ACK", branch=f"z9hG4bK-f{n}", call_id=f"f{n}", to_tag="x"),
    "answers to nothing": lambda n: (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{n}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag={n}\r\n"
        f"Call-ID: f{n}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode(),
    "rubbish": lambda n: b"\xff%d" % n * 50,
    "methods nobody knows": lambda n: request(f"BREW{n}", branch=f"z9hG4bK-f{n}", call_id=f"f{n}"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_grows_nothing_and_harms_no_call(kind: str) -> None:
    """Each from another address: no transaction, no timer, no memory; the call beside is answered as ever."""
    line, tag = answered()
    before = (line.endpoint.transactions, len(line.endpoint._core.timers), line.endpoint.calls)
    make = FLOODS[kind]
    for number in range(200):
        line.endpoint.receive(make(number), stranger(number), line.now)
    tracemalloc.start()
    try:
        for number in range(200, 2200):
            line.endpoint.receive(make(number), stranger(number), line.now)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (line.endpoint.transactions, len(line.endpoint._core.timers), line.endpoint.calls) == before
    assert grown < 100_000  # bytes; 50 for each of them would be a message kept
    assert len(line.endpoint.counters) < 30
    assert statuses(line.receive(request("BYE", branch="z9hG4bK-bye", cseq=2, to_tag=tag))) == [200]
    line.event(CallEnded)


def test_a_scanner_is_not_even_told_that_somebody_is_here() -> None:
    """No answer of any kind to any of its methods; counted."""
    line = Line()
    for method in ("OPTIONS", "REGISTER", "INVITE", "BREW"):
        assert line.receive(request(method, headers=("User-Agent: sipvicious 0.3",))) == []
    assert (line.endpoint.counters["scanners"], line.events) == (4, [])


@pytest.mark.parametrize("policy", ["accept", "challenge", "reject"])
def test_what_is_remembered_of_sources_is_bounded(policy: str) -> None:
    """However many addresses call: the oldest are forgotten."""
    options = {"unknown_sources": policy, "known_networks": ("198.51.100.0/24",), "accounts": {"a": "b"}}
    line = Line(invites_per_s_and_source=1, max_calls=10, **options)
    for number in range(REMEMBERED_SOURCES + 500):
        line.endpoint.receive(invite(call_id=str(number), branch=f"z9hG4bK-{number}"), stranger(number), line.now)
    door = line.endpoint._doorkeeper
    assert len(door._sources) == REMEMBERED_SOURCES
    assert len(door._knows) <= REMEMBERED_SOURCES
    assert line.endpoint.calls <= 10


def test_one_source_is_held_to_its_rate_and_the_others_are_served() -> None:
    """The excess of one gets 503 with Retry-After; who calls beside it notices nothing."""
    line = Line(invites_per_s_and_source=2, retry_after_s=3)
    refused = 0
    for number in range(20):
        message = invite(call_id=f"greedy{number}", branch=f"z9hG4bK-g{number}")
        for answer in line.receive(message, stranger(1)):
            if statuses([answer]) == [503]:
                assert answer.required("Retry-After") == "3"
                refused += 1
    assert refused == 18
    assert statuses(line.receive(invite(call_id="modest", branch="z9hG4bK-m"), stranger(2))) == [100]
    line.advance(1)
    assert statuses(line.receive(invite(call_id="later", branch="z9hG4bK-l"), stranger(1))) == [100]


def test_forged_nonces_cost_nothing_to_remember() -> None:
    """Only nonces of ours that were answered rightly are kept, for the replay check."""
    line = Line(unknown_sources="challenge", accounts={"a": "b"})
    for number in range(500):
        digest = (
            f'Authorization: Digest username="a", realm="voicebot-gateway", nonce="{number:x}.{number}", '
            f'uri="sip:desk@192.0.2.1", response="{number:032x}", algorithm=MD5, qop=auth, nc=00000001, cnonce="x"'
        )
        (challenge,) = line.receive(invite(call_id=str(number), branch=f"z9hG4bK-{number}", headers=(digest,)))
        assert statuses([challenge]) == [401]
    assert not line.endpoint._doorkeeper._digest._counts
    assert line.endpoint.transactions == 0
