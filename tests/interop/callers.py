"""Our own caller, where the gateway's memory and nerves are judged rather than its protocols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import pytest
from call_bundle import CallBundle
from gateway_process import GatewayProcess
from ports import rtp_ports
from sounds import read_wav, speech

from gateway.app.phone import Phone, PhoneLine, Target

P = ParamSpec("P")
T = TypeVar("T")

BOOK = "I would like to book an appointment"
BOOK_WHOLLY = "I would like to book a haircut on Thursday morning"
WHAT_TO_DO, WHICH_SERVICE, WHICH_DAY, MORNING_OR_AFTERNOON, IS_THAT_RIGHT = (
    "Do you want to book, move, or cancel an appointment?",
    "A haircut, a beard trim, or hair color?",
    "Which day, Monday to Saturday?",
    "In the morning or in the afternoon?",
    "Is that right?",
)  # what the desk's questions end with


def line(part: int = 1) -> PhoneLine:
    """A line for one call at a time. Lines that are open together take a `part` of the RTP ports each."""
    return PhoneLine("127.0.0.1", rtp_ports(part))


class Called(Protocol):
    """Who listens there: a gateway, or a proxy before it."""

    sip_port: int


async def dial(
    line: PhoneLine, peer: Called, route: str, number: str = "5550101", *, record: Path | None = None
) -> Phone:
    phone = line.phone(number, lambda at, what: None)
    await phone.dial(Target(f"sip:{route}@127.0.0.1:{peer.sip_port}"), record=str(record) if record else None)
    return phone


async def soon(wait: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A wait that blocks, done beside the phone's loop."""
    return await asyncio.to_thread(wait, *args, **kwargs)


async def say(phone: Phone, text: str) -> None:
    await phone.speak(speech(text).pcm())


async def answer(phone: Phone, call: CallBundle, question: str, text: str) -> None:
    """Hear the bot ask `question` to its end, then say `text`."""
    await soon(call.wait_asked, question)
    await say(phone, text)


@asynccontextmanager
async def a_call_beside(gateway: GatewayProcess, folder: Path) -> AsyncIterator[None]:
    """The test tone, listened to meanwhile: not a single packet of it may be missing in the end.

    A tick that a busy machine did too late may be concealed; a break that somebody would notice may not be there.
    """
    heard = folder / "beside.wav"
    async with line(4) as phones:
        phone = await dial(phones, gateway, "milliwatt", "5559999", record=heard)
        call = await soon(gateway.call)
        yield
        assert not await phone.until_ended(within_s=1.2), "the call beside was ended"
        await phone.hang_up()
        ended = await soon(gateway.ended, call)
    assert phone.stats is not None
    assert (phone.stats.packets_lost, ended["packets_lost"], ended["packets_malformed"]) == (0, 0, 0)
    for sound in (read_wav(heard).channels()[0], call.recording()[1]):
        steady = sound.cut(0.3, sound.seconds - 0.3)
        assert steady.seconds > 0.5
        assert steady.loud(over=12000).mean() > 0.97
        assert steady.hz() == pytest.approx(1004, abs=0.5)


def slots(call: CallBundle) -> dict[str, Any]:
    """What the desk's agent last kept."""
    return dict(call.find("AgentRemembered")[-1]["state"]["slots"])
