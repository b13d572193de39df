"""sipp, an independent implementation, calls our endpoint; its scenarios decide what is right."""

from __future__ import annotations

import pytest
from sip_answerer import SCENARIOS, Answerer, sipp

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("transport", ["u1", "t1", "tn"])
async def test_sipps_own_caller_is_served(transport: str) -> None:
    """The built-in scenario over UDP, over one TCP connection, and over one for each call."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sn", "uac", "-d", "50", "-t", transport, "-max_socket", "500", calls=50)
        assert answerer.counts["CallEnded"] == 50
        assert answerer.server.endpoint.calls == 0


async def test_every_call_survives_five_percent_loss() -> None:
    """100 calls, each message lost with probability 0.05 in either direction; retransmission mends all of it."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sn", "uac", "-d", "50", "-lost", "5", calls=100)
        assert answerer.counts["CallOffered"] == 100
        # sipp takes any 200 for the one it waits for, so a repeated one may make it forget a BYE that was lost.
        assert answerer.counts["CallEnded"] >= 95


@pytest.mark.parametrize("scenario", ["hold", "late_offer", "update"])
async def test_scenario(scenario: str) -> None:
    """One file under sipp/ each; sipp checks the answers itself."""
    async with Answerer() as answerer:
        await sipp(answerer.server.port, "-sf", str(SCENARIOS / f"{scenario}.xml"))
        assert answerer.counts["CallEnded"] == 20


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
