"""sipp, an independent implementation, calls our endpoint; its scenarios decide what is right."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from certificates import make_certificate
from sip_answerer import Answerer, Caller, has_ipv6
from sipp_program import needs_sipp, scenario, sipp_called, sipp_calls

from gateway.sip.commands import Credentials
from gateway.sip.events import CallAccepted, CallFailed, CallOffered
from gateway.sip.flow import Transport
from gateway.sip.io import EndpointOptions
from gateway.sip.tls import client_context, server_context

pytestmark = [pytest.mark.interop, needs_sipp]


async def called_by_sipp(
    port: int, *arguments: str, called: str = "", calls: int = 20, host: str = "127.0.0.1"
) -> None:
    await asyncio.to_thread(sipp_calls, port, *arguments, called=called, calls=calls, per_s=50, host=host)


@contextlib.asynccontextmanager
async def sipp_that_is_called(*arguments: str, calls: int) -> AsyncIterator[int]:
    """At the port given; at the end its own verdict must be success."""
    with sipp_called(*arguments, calls=calls) as (sipp, port):
        yield port
        await asyncio.to_thread(sipp.succeeds)


@pytest.mark.parametrize("transport", ["u1", "t1", "tn"])
async def test_sipps_own_caller_is_served(transport: str) -> None:
    """The built-in scenario over UDP, over one TCP connection, and over one for each call."""
    async with Answerer() as answerer:
        await called_by_sipp(
            answerer.server.port, "-sn", "uac", "-d", "50", "-t", transport, "-max_socket", "500", calls=50
        )
        assert answerer.counts["CallEnded"] == 50
        assert answerer.server.endpoint.calls == 0


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("transport", ["u1", "t1"])
async def test_over_ipv6(transport: str) -> None:
    """The same, with addresses in brackets."""
    async with Answerer(host="::1") as answerer:
        await called_by_sipp(answerer.server.port, "-sn", "uac", "-d", "50", "-t", transport, host="::1")
        assert answerer.counts["CallEnded"] == 20


async def test_every_call_survives_five_percent_loss() -> None:
    """100 calls, each message lost with probability 0.05 in either direction; retransmission mends all of it."""
    async with Answerer() as answerer:
        await called_by_sipp(answerer.server.port, "-sn", "uac", "-d", "50", "-lost", "5", calls=100)
        assert answerer.counts["CallOffered"] == 100
        # sipp takes any 200 for the one it waits for, so a repeated one may make it forget a BYE that was lost.
        assert answerer.counts["CallEnded"] >= 95


@pytest.mark.parametrize("name", ["hold", "late_offer", "update", "prack"])
async def test_scenario(name: str) -> None:
    """One file under sipp/ each; sipp checks the answers itself."""
    async with Answerer() as answerer:
        await called_by_sipp(answerer.server.port, *scenario(name))
        assert answerer.counts["CallEnded"] == 20


@pytest.mark.parametrize("name", ["early_update", "prack_offers"])
async def test_a_session_that_changes_while_it_rings(name: str) -> None:
    """UPDATE and PRACK bring offers before the call is up (RFC 3262, 3311); sipp wants a 200 that repeats none."""
    async with Answerer() as answerer:
        await called_by_sipp(answerer.server.port, *scenario(name), called="early")
        assert (answerer.counts["OfferReceived"], answerer.counts["CallEnded"]) == (20, 20)


async def test_sipps_own_caller_over_tls(tmp_path: Path) -> None:
    """One TLS connection for each call. Debian's sipp has no TLS of its own, so a tunnel stands before it."""
    make_certificate(tmp_path, "server")
    context = server_context(tmp_path / "server.pem", tmp_path / "server.key")
    async with Answerer(tls=context) as answerer, tunnel(answerer.server.port, tmp_path / "server.pem") as port:
        await called_by_sipp(port, "-sn", "uac", "-d", "50", "-t", "tn", "-max_socket", "500", calls=50)
        assert {event.flow.transport for event in answerer.events if isinstance(event, CallOffered)} == {"tls"}
        assert answerer.counts["CallEnded"] == 50


@contextlib.asynccontextmanager
async def tunnel(to: int, authority: Path) -> AsyncIterator[int]:
    """A port whose plain connections go on over TLS."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await asyncio.open_connection("127.0.0.1", to, ssl=client_context(authority))
        await asyncio.gather(carry(reader, far[1]), carry(far[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_scenario_cancel() -> None:
    """200 to the CANCEL, 487 to the INVITE."""
    async with Answerer() as answerer:
        await called_by_sipp(answerer.server.port, *scenario("cancel"), called="ring")
        assert answerer.counts["CallCancelled"] == 20
        assert answerer.server.endpoint.calls == 0


async def test_scenario_busy() -> None:
    """A refusal, its repetition ended by the ACK."""
    async with Answerer() as answerer:
        await called_by_sipp(answerer.server.port, *scenario("busy"), called="busy")


async def test_scenario_challenged() -> None:
    """sipp answers our challenge, and is let in."""
    options = EndpointOptions(unknown_sources="challenge", accounts={"alice": "secret"}, digest_algorithms=("MD5",))
    async with Answerer(options) as answerer:
        await called_by_sipp(answerer.server.port, *scenario("challenged"))
        assert answerer.counts["CallEnded"] == 20


# We call sipp


@pytest.mark.parametrize(("transport", "mode"), [("udp", "u1"), ("tcp", "t1")])
async def test_sipps_own_callee_is_called(transport: Transport, mode: str) -> None:
    """Ringing, 200, ACK, BYE; on one TCP connection for all calls."""
    async with Caller() as caller, sipp_that_is_called("-sn", "uas", "-t", mode, calls=50) as port:
        await caller.call(port, transport, 50)
    assert [type(outcome) for outcome in caller.outcomes] == [CallAccepted] * 50
    assert caller.progress[180] == 50


async def test_every_call_we_place_survives_loss() -> None:
    """Lost INVITEs, ACKs and BYEs are all mended. sipp takes no BYE before the ACK, so that gets its time."""
    async with Caller(hold_s=8) as caller, sipp_that_is_called(*scenario("callee_loses"), calls=100) as port:
        await caller.call(port, "udp", 100)
    assert [type(outcome) for outcome in caller.outcomes] == [CallAccepted] * 100


async def test_early_media_is_acknowledged_reliably() -> None:
    """sipp insists on PRACK (RFC 3262)."""
    async with Caller() as caller, sipp_that_is_called(*scenario("callee_early_media"), calls=10) as port:
        await caller.call(port, "udp", 10)
    assert caller.progress[183] == 10


async def test_a_redirect_is_reported() -> None:
    """With the address it leads to."""
    async with Caller() as caller, sipp_that_is_called(*scenario("callee_redirects"), calls=10) as port:
        await caller.call(port, "udp", 10)
    assert {outcome.targets for outcome in caller.outcomes if isinstance(outcome, CallFailed)} == {
        ("sip:new@192.0.2.77",)
    }


@pytest.mark.parametrize(("password", "status"), [("secret", 200), ("wrong", 403)])
async def test_a_challenge_is_answered(password: str, status: int) -> None:
    """sipp computes the digest itself, and lets in only who knows the password."""
    async with (
        Caller(Credentials("desk", password)) as caller,
        sipp_that_is_called(*scenario("callee_challenges"), calls=10) as port,
    ):
        await caller.call(port, "udp", 10)
    assert [getattr(outcome, "status", 200) for outcome in caller.outcomes] == [status] * 10
