"""sipp, an independent implementation, calls our endpoint; its scenarios decide what is right."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sip_answerer import SCENARIOS, Answerer, Caller, has_ipv6, sipp, sipp_callee
from test_interop_sip_tls import make_certificate

from gateway.sip.commands import Credentials
from gateway.sip.events import CallAccepted, CallFailed, CallOffered
from gateway.sip.flow import Transport
from gateway.sip.io import EndpointOptions
from gateway.sip.tls import client_context, server_context

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("transport", ["u1", "t1", "tn"])
async def test_sipps_own_caller_is_served(transport: str) -> None:
    """The built-in scenario over UDP, over one TCP connection, and over one for each call."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sn", "uac", "-d", "50", "-t", transport, "-max_socket", "500", calls=50)
        assert answerer.counts["CallEnded"] == 50
        assert answerer.server.endpoint.calls == 0


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("transport", ["u1", "t1"])
async def test_over_ipv6(transport: str) -> None:
    """The same, with addresses in brackets."""
    async with Answerer(host="::1") as answerer:
        await sipp(answerer.server.port, "-sn", "uac", "-d", "50", "-t", transport, host="::1")
        assert answerer.counts["CallEnded"] == 20


async def test_every_call_survives_five_percent_loss() -> None:
    """100 calls, each message lost with probability 0.05 in either direction; retransmission mends all of it."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sn", "uac", "-d", "50", "-lost", "5", calls=100)
        assert answerer.counts["CallOffered"] == 100
        # sipp takes any 200 for the one it waits for, so a repeated one may make it forget a BYE that was lost.
        assert answerer.counts["CallEnded"] >= 95


@pytest.mark.parametrize("scenario", ["hold", "late_offer", "update", "prack"])
async def test_scenario(scenario: str) -> None:
    """One file under sipp/ each; sipp checks the answers itself."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sf", str(SCENARIOS / f"{scenario}.xml"))
        assert answerer.counts["CallEnded"] == 20


@pytest.mark.parametrize("scenario", ["early_update", "prack_offers"])
async def test_a_session_that_changes_while_it_rings(scenario: str) -> None:
    """UPDATE and PRACK bring offers before the call is up (RFC 3262, 3311); sipp wants a 200 that repeats none."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sf", str(SCENARIOS / f"{scenario}.xml"), "-s", "early")
        assert (answerer.counts["OfferReceived"], answerer.counts["CallEnded"]) == (20, 20)


async def test_sipps_own_caller_over_tls(tmp_path: Path) -> None:
    """One TLS connection for each call. Debian's sipp has no TLS of its own, so a tunnel stands before it."""
    make_certificate(tmp_path, "server")
    context = server_context(tmp_path / "server.pem", tmp_path / "server.key")
    async with Answerer(tls=context) as answerer, tunnel(answerer.server.port, tmp_path / "server.pem") as port:
        await sipp(port, "-sn", "uac", "-d", "50", "-t", "tn", "-max_socket", "500", calls=50)
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
        await sipp(answerer.server.port, "-sf", str(SCENARIOS / "cancel.xml"), "-s", "ring")
        assert answerer.counts["CallCancelled"] == 20
        assert answerer.server.endpoint.calls == 0


async def test_scenario_busy() -> None:
    """A refusal, its repetition ended by the ACK."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sf", str(SCENARIOS / "busy.xml"), "-s", "busy")


async def test_scenario_challenged() -> None:
    """sipp answers our challenge, and is let in."""
    options = EndpointOptions(unknown_sources="challenge", accounts={"alice": "secret"}, digest_algorithms=("MD5",))
    async with Answerer(options) as answerer:
        await sipp(answerer.server.port, "-sf", str(SCENARIOS / "challenged.xml"))
        assert answerer.counts["CallEnded"] == 20


# We call sipp


@pytest.mark.parametrize(("transport", "mode"), [("udp", "u1"), ("tcp", "t1")])
async def test_sipps_own_callee_is_called(transport: Transport, mode: str) -> None:
    """Ringing, 200, ACK, BYE; on one TCP connection for all calls."""
    async with Caller() as caller, sipp_callee("-sn", "uas", "-t", mode, calls=50) as port:
        await caller.call(port, transport, 50)
    assert [type(outcome) for outcome in caller.outcomes] == [CallAccepted] * 50
    assert caller.progress[180] == 50


async def test_every_call_we_place_survives_loss() -> None:
    """Lost INVITEs, ACKs and BYEs are all mended. sipp takes no BYE before the ACK, so that gets its time."""
    scenario = str(SCENARIOS / "callee_loses.xml")
    async with Caller(hold_s=8) as caller, sipp_callee("-sf", scenario, calls=100) as port:
        await caller.call(port, "udp", 100)
    assert [type(outcome) for outcome in caller.outcomes] == [CallAccepted] * 100


async def test_early_media_is_acknowledged_reliably() -> None:
    """sipp insists on PRACK (RFC 3262)."""
    scenario = str(SCENARIOS / "callee_early_media.xml")
    async with Caller() as caller, sipp_callee("-sf", scenario, calls=10) as port:
        await caller.call(port, "udp", 10)
    assert caller.progress[183] == 10


async def test_a_redirect_is_reported() -> None:
    """With the address it leads to."""
    scenario = str(SCENARIOS / "callee_redirects.xml")
    async with Caller() as caller, sipp_callee("-sf", scenario, calls=10) as port:
        await caller.call(port, "udp", 10)
    assert {outcome.targets for outcome in caller.outcomes if isinstance(outcome, CallFailed)} == {
        ("sip:new@192.0.2.77",)
    }


@pytest.mark.parametrize(("password", "status"), [("secret", 200), ("wrong", 403)])
async def test_a_challenge_is_answered(password: str, status: int) -> None:
    """sipp computes the digest itself, and lets in only who knows the password."""
    scenario = str(SCENARIOS / "callee_challenges.xml")
    async with Caller(Credentials("desk", password)) as caller, sipp_callee("-sf", scenario, calls=10) as port:
        await caller.call(port, "udp", 10)
    assert [getattr(outcome, "status", 200) for outcome in caller.outcomes] == [status] * 10
