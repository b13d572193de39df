"""A line that returns the bot's voice, through the real front door."""

import pytest
from call_bundle import CallBundle
from callers import soon
from echoing_peer import EchoingPeer
from gateway_process import GatewayProcess
from raw_caller import RawCaller
from sounds import speech

pytestmark = pytest.mark.interop

INTERRUPTION = speech("No, stop it please, I want to cancel my appointment.", voice="rms")


async def heard_out(call: CallBundle) -> None:
    await soon(call.wait_asked, "appointment?")


@pytest.mark.parametrize(("delay_ms", "loss_db"), [(60, 6), (240, 12)])
async def test_the_bot_does_not_interrupt_itself(
    gateway: GatewayProcess, number: str, delay_ms: int, loss_db: float
) -> None:
    """It says what it has to say to the end, without a pause, though all of it comes back."""
    with (
        RawCaller(gateway.sip_port, "desk", number=number) as caller,
        EchoingPeer(delay_ms=delay_ms, loss_db=loss_db) as peer,
    ):
        await soon(caller.call, peer.port)
        call = await soon(gateway.call)
        await heard_out(call)
        await soon(caller.hang_up)
        await soon(gateway.ended, call)
    assert not call.find("BargedIn")
    assert not call.find("PlaybackPaused")
    assert not call.find("SpeechBegan")
    line, _ = call.recording()
    assert line.loud().sum() > 50, "there was no echo at all"


async def test_a_caller_over_the_echo_interrupts(gateway: GatewayProcess, number: str) -> None:
    """The echo goes on, 12 dB below the bot; the caller is about as loud."""
    with (
        RawCaller(gateway.sip_port, "desk", number=number) as caller,
        EchoingPeer(delay_ms=120, loss_db=12) as peer,
    ):
        await soon(caller.call, peer.port)
        call = await soon(gateway.call)
        await soon(call.wait, "UtteranceStarted")
        peer.say(INTERRUPTION)
        await soon(call.wait, "BargedIn")
        await soon(call.wait, "UserTurnEnded")
        await soon(caller.hang_up)
        await soon(gateway.ended, call)
