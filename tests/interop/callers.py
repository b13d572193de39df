"""Our own caller, where the gateway's memory and nerves are judged rather than its protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from gateway_process import CallBundle, GatewayProcess, rtp_ports
from sounds import speech

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


async def dial(
    line: PhoneLine, gateway: GatewayProcess, route: str, number: str = "5550101", *, record: Path | None = None
) -> Phone:
    phone = line.phone(number, lambda at, what: None)
    await phone.dial(Target(f"sip:{route}@127.0.0.1:{gateway.sip_port}"), record=str(record) if record else None)
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


def slots(call: CallBundle) -> dict[str, Any]:
    """What the desk's agent last kept."""
    return dict(call.find("AgentRemembered")[-1]["state"]["slots"])
