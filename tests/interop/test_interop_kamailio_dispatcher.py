"""Two gateways behind Kamailio's dispatcher, sharing one store: one is killed, and callers hardly notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis_server
from call_bundle import CallBundle
from callers import WHICH_SERVICE, dial, line, slots, soon
from gateway_process import QUICK, GatewayProcess
from kamailio_server import Kamailio
from ports import rtp_ports
from sipp_program import scenario, sipp_calls
from waiting import wait_until

pytestmark = pytest.mark.interop

ASKED_FOR_THE_SERVICE = f"Which service would you like? {WHICH_SERVICE}"


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """One that both gateways open."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.db'}"
        return
    binary = redis_server.find_binary()
    if binary is None:
        pytest.skip("redis is not installed (apt install redis-tools)")
    server = redis_server.RedisServer(binary)
    server.start()
    try:
        yield server.new_store()
    finally:
        server.remove()


@pytest.fixture
def gateways(tmp_path: Path, store: str) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    config = f'store = "{store}"\n{QUICK}'
    first, second = rtp_ports(2), rtp_ports(3)
    with ExitStack() as stack:
        # A gateway that a test kills has not ended by itself.
        yield (
            stack.enter_context(
                GatewayProcess(tmp_path / "one", "--rtp-ports", f"{first[0]}-{first[1]}", config=config, leave=True)
            ),
            stack.enter_context(
                GatewayProcess(tmp_path / "two", "--rtp-ports", f"{second[0]}-{second[1]}", config=config, leave=True)
            ),
        )


async def calls(kamailio: Kamailio, count: int) -> None:
    """Short calls by sipp, each of which must be answered and ended by the book."""
    through = scenario("through_proxy")
    await soon(sipp_calls, kamailio.sip_port, *through, called="milliwatt", calls=count, per_s=10)


def who_took_it(gateways: tuple[GatewayProcess, GatewayProcess], number: str) -> tuple[GatewayProcess, CallBundle]:
    """The gateway that has this caller's call, and the call."""

    def found() -> tuple[GatewayProcess, CallBundle] | None:
        for gateway in gateways:
            for started in gateway.find("call.started"):
                bundle = CallBundle(gateway.data / "calls" / started["call"])
                if bundle.find("CallStarted", caller=number):
                    return gateway, bundle
        return None

    return wait_until(found, within_s=10) or pytest.fail("nobody took the call")


async def test_a_gateway_is_killed_and_its_caller_goes_on_with_the_other(
    tmp_path: Path, gateways: tuple[GatewayProcess, GatewayProcess], number: str
) -> None:
    """kill -9 in mid-call: all calls after it are answered, and whoever calls back is asked the same question."""
    ports = [gateway.sip_port for gateway in gateways]
    with Kamailio(tmp_path / "kamailio", gateways=ports) as kamailio:
        await calls(kamailio, 4)
        answered = [len(gateway.find("call.started")) for gateway in gateways]
        assert answered == [2, 2], "both take their turn"
        async with line() as phones:
            phone = await dial(phones, kamailio, "desk", number)
            victim, first = await soon(who_took_it, gateways, number)
            survivor = next(gateway for gateway in gateways if gateway is not victim)
            await soon(first.wait, "UtteranceStarted")
            await phone.press("1")
            await soon(first.wait, "AgentReplied", text=ASKED_FOR_THE_SERVICE)
            session = first.find("SessionStarted")[0]["session"]
            await soon(wait_until, lambda: remembered(survivor, session), within_s=3)
            victim.kill_alone()
            await phone.vanish()
            # The first of these may be handed to the dead one, and goes on to the next within a second.
            before = len(survivor.find("call.started"))
            await calls(kamailio, 6)
            assert len(survivor.find("call.started")) == before + 6
            await dial(phones, kamailio, "desk", number)
            taken_by, second = await soon(who_took_it, (survivor,), number)
            assert taken_by is survivor
            await soon(
                second.wait, "AgentReplied", text=f"Welcome back. So far I have: a booking. {ASKED_FOR_THE_SERVICE}"
            )
            assert second.find("SessionResumed")[0]["session"] == session
            assert slots(second) == {"task": "book"}
        assert not survivor.troubles()


def remembered(gateway: GatewayProcess, session: str) -> bool:
    """Whether the store that the other gateway shares holds what the caller has said."""
    events = gateway.stored(session)
    return any(event["type"] == "AgentRemembered" and event["state"]["slots"] == {"task": "book"} for event in events)
