"""Peers that cannot be reached: told at once and in plain words, logged once, and no harm to anybody else."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from certificates import make_certificate
from sip_phone import Phone
from sip_wire import request
from structlog.testing import capture_logs

from gateway.sip.commands import HangUp, Probe
from gateway.sip.events import CallAccepted, CallEnded, CallFailed, ProbeAnswered
from gateway.sip.tls import client_context, connect_fault, server_context


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    phone = Phone()
    await phone.server.start("127.0.0.1", 0)
    yield phone
    await phone.server.close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_icmp_fails_a_call_at_once(phone: Phone, closed_port: int) -> None:
    """RFC 3261 18.4, and the way to the next target: nobody waits 32 s for a port that is closed."""
    phone.call(closed_port)
    failed = await phone.next()
    assert isinstance(failed, CallFailed)
    assert (failed.status, failed.reason) == (503, "Connection refused")


async def test_icmp_about_one_peer_is_nothing_to_another(phone: Phone, closed_port: int) -> None:
    """The kernel hands the error to whichever datagram is sent next; that one goes out all the same."""
    other = Phone()
    await other.server.start("127.0.0.1", 0)
    for number in range(20):
        phone.call(closed_port, f"dead-{number}")
        phone.call(other.server.port, f"alive-{number}")
    outcomes = [await phone.next() for _ in range(40)]
    alive = {event.dialog for event in outcomes if isinstance(event, CallAccepted)}
    dead = {event.dialog for event in outcomes if isinstance(event, CallFailed)}
    assert (len(alive), len(dead)) == (20, 20)
    assert {name.partition("-")[0] for name in alive} == {"alive"}
    await other.server.close()


async def test_a_call_that_is_up_outlives_its_peers_restart(phone: Phone) -> None:
    """A closed port for a moment must not end what both sides still want: only new requests fail by ICMP."""
    other = Phone()
    await other.server.start("127.0.0.1", 0)
    port = other.server.port
    phone.call(port)
    assert isinstance(await phone.next(), CallAccepted)
    await other.server.close()
    flow = phone.server.flow_to("127.0.0.1", port)
    phone.server.send(Probe("ping", "sip:127.0.0.1", flow))
    answered = await phone.next()
    assert isinstance(answered, ProbeAnswered)
    assert (answered.status, answered.reason) == (503, "Connection refused")
    assert phone.server.endpoint.calls == 1
    phone.server.send(HangUp("out"))


async def test_it_is_logged_once(phone: Phone, closed_port: int) -> None:
    """However often it is tried."""
    with capture_logs() as logged:
        for number in range(3):
            phone.call(closed_port, f"out-{number}")
            await phone.next()
    told = [line for line in logged if line["event"] == "sip.unreachable"]
    assert [(line["remote"][1], line["error"]) for line in told] == [(closed_port, "Connection refused")]


async def test_answers_that_reach_nobody_are_nobodys_concern(phone: Phone) -> None:
    """A flood with forged senders brings an ICMP error for each: no line in the log, and calls go on."""
    other = Phone()
    await other.server.start("127.0.0.1", 0)
    with capture_logs() as logged:
        for number in range(50):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.1", 0))
                branch = f"z9hG4bK-{number}"
                stranger.sendto(request("OPTIONS", branch=branch), ("127.0.0.1", phone.server.port))
        phone.call(other.server.port)
        assert isinstance(await phone.next(), CallAccepted)
        phone.call(other.server.port, "again")
        assert isinstance(await phone.next(), CallAccepted)
    assert not [line for line in logged if line["event"] != "sip.listening"]
    await other.server.close()


async def reason_of(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, list[str]]:
    """Why a probe over TLS fails, tried three times; and what was logged of it."""
    ours, theirs = Phone(tls_client=client), Phone(tls_server=server)
    await theirs.server.start("127.0.0.1", 0, ("tls",))
    await ours.server.start("127.0.0.1", 0, ("udp",))
    try:
        flow = ours.server.flow_to("127.0.0.1", theirs.server.port, "tls")
        with capture_logs() as logged:
            for _ in range(3):
                ours.server.send(Probe("ping", "sip:127.0.0.1", flow))
                answered = await ours.next()
        assert isinstance(answered, ProbeAnswered)
        assert answered.status == 503
        return answered.reason, [line["error"] for line in logged if line["event"] == "sip.connect_failed"]
    finally:
        await ours.server.close()
        await theirs.server.close()


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"days": -1}, "has expired"),
        ({"days": 10, "since_days": 1}, "not valid yet"),
        ({"days": 10, "address": "192.0.2.1"}, "not for this address"),
    ],
)
async def test_a_certificate_at_fault_is_said_in_plain_words(
    tmp_path: Path, certificate: dict[str, int | str], words: str
) -> None:
    """Whose it is and what is wrong with it, once; tried again it is the same fault, not another line."""
    pem, key = make_certificate(tmp_path, **certificate)  # type: ignore[arg-type]
    reason, logged = await reason_of(server_context(pem, key), client_context(pem))
    assert words in reason
    assert reason.startswith("the peer's certificate")
    assert logged == [reason]


async def test_an_unknown_authority_is_said_with_its_remedy(tmp_path: Path) -> None:
    """SSL_CERT_FILE is what the operator can set."""
    pem, key = make_certificate(tmp_path, days=10)
    reason, _ = await reason_of(server_context(pem, key), client_context())
    assert "SSL_CERT_FILE" in reason


def test_other_faults_have_words_too() -> None:
    """Silence, a peer that speaks no TLS, and one that does not take our certificate."""
    assert "firewall" in connect_fault(TimeoutError())
    assert connect_fault(ConnectionRefusedError(111, "Connection refused")) == "Connection refused"
    alert = ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED]")
    alert.reason = "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    assert connect_fault(alert).startswith("the peer does not accept our certificate (certificate expired)")
    assert "speaks TLS" in connect_fault(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"))


async def test_a_call_ends_well_after_all_this(phone: Phone) -> None:
    """The error queue is empty again: a call goes as any other."""
    other = Phone()
    await other.server.start("127.0.0.1", 0)
    phone.call(other.server.port)
    assert isinstance(await phone.next(), CallAccepted)
    phone.server.send(HangUp("out"))
    while not isinstance(event := await other.next(), CallEnded):
        assert event is not None
    await other.server.close()
