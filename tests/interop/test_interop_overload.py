"""More calls than the gateway admits, or the machine can do: the excess is told when to come back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gateway_process import NO_WORDS, GatewayProcess
from ports import rtp_ports
from raw_caller import RawCaller, Reply
from sipp_program import scenario, sipp_calls
from waiting import wait_until

pytestmark = pytest.mark.interop

ADMITTED_PER_S, FOR_S = 10, 6


def test_twice_the_admitted_rate_is_half_refused_and_half_served(tmp_path: Path) -> None:
    """sipp takes nothing but a whole call or a 503 with Retry-After; the calls that got in are answered and ended."""
    config = f"[limits]\ncalls_per_s = {ADMITTED_PER_S}\n[recording]\nbundles = false\n{NO_WORDS}"
    offered = 2 * ADMITTED_PER_S * FOR_S
    with GatewayProcess(tmp_path / "data", config=config) as gateway:
        begun = time.monotonic()
        either = scenario("served_or_refused")
        sipp_calls(gateway.sip_port, *either, called="milliwatt", calls=offered, per_s=2 * ADMITTED_PER_S, within_s=30)
        served = len(gateway.find("call.started"))
        took_s = time.monotonic() - begun
        # A second's worth may come at once, on top of what is admitted while it lasts.
        assert 0.8 * ADMITTED_PER_S * FOR_S <= served <= ADMITTED_PER_S * (took_s + 1) + 1
        assert offered - served >= offered / 4
        wait_until(lambda: len(gateway.find("call.ended", reason="hangup", by="caller")) == served, within_s=5)
        assert not gateway.troubles()


def test_nobody_else_gets_in_while_the_audio_of_live_calls_is_late(tmp_path: Path) -> None:
    """A microsecond is late here, so that the first call is as much as the machine can do. It goes on; the second one
    is told to come again, and is let in when the first has ended."""
    config = f"[limits]\nmedia_late_ms = 0.001\n[recording]\nbundles = false\n{NO_WORDS}"
    with GatewayProcess(tmp_path / "data", config=config) as gateway:
        with RawCaller(gateway.sip_port, number="first") as first:
            first.call(9)
            gateway.wait_log("media.overloaded", legs=1)
            reply = invited(gateway)
            assert (reply.status, reply.header("Retry-After")) == (503, "5")
            assert len(gateway.get("/api/calls")) == 1
            first.hang_up()
        wait_until(lambda: invited(gateway).status == 200, within_s=10)
        gateway.wait_log("call.started", count=2)
        assert len(gateway.find("call.started")) == 2


def test_a_call_for_which_there_is_no_rtp_port_is_refused_at_the_door(tmp_path: Path) -> None:
    """As many calls as the ports carry; one more is no call that began and failed, but told when to come again."""
    first, _ = rtp_ports()
    config = f"media_workers = 1\n[recording]\nbundles = false\n{NO_WORDS}"
    with GatewayProcess(tmp_path / "data", "--rtp-ports", f"{first}-{first + 3}", config=config) as gateway:
        with RawCaller(gateway.sip_port, number="one") as one, RawCaller(gateway.sip_port, number="two") as two:
            assert {one.call(9), two.call(9)} == {first, first + 2}
            reply = invited(gateway)
            assert (reply.status, reply.header("Retry-After")) == (503, "5")
            one.hang_up()
            two.hang_up()
        gateway.wait_log("call.ended", count=2)
        assert len(gateway.find("call.started")) == 2
        assert not gateway.troubles()


def invited(gateway: GatewayProcess) -> Reply:
    with RawCaller(gateway.sip_port, number="second") as second:
        reply = second.ask(second.request("INVITE", second.sdp(9)))
    assert reply is not None
    return reply
