"""Makes the recorded calls of `bundles/` anew, with real SIP and RTP on loopback: `python tests/replay/record.py`.

A synthetic caller (flite's voice rms; the bot has another) talks to the shipped appointment desk. Each call's bundle
is kept small, replayed, and accepted: from then on it must repeat exactly. Give names to record only those
(`called-back` needs `cut-off` before it).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from gateway.app.config import GatewayConfig
from gateway.app.dial import synthesise
from gateway.app.gateway import Gateway
from gateway.app.phone import Phone, PhoneLine, Target
from gateway.core.clock import SystemClock
from gateway.providers.load import build_tts
from gateway.replay.cli import against, update
from gateway.replay.keep import keep
from gateway.replay.reading import read_bundle
from gateway.replay.run import ReplayOptions, replay_bundle

BUNDLES = Path(__file__).parent / "bundles"

Say = Callable[[str], Awaitable[None]]


async def pause(seconds: float) -> None:
    """A caller takes their time: real time, for it is what gets recorded."""
    clock = SystemClock()
    await clock.sleep_until(clock.now() + seconds)


async def booking(phone: Phone, say: Say) -> None:
    """Book an appointment, correct the day, agree; the bot says goodbye."""
    for text in (
        "I'd like to book an appointment",
        "a haircut please",
        "on friday",
        "in the morning",
        "no, on thursday please",
        "yes",
    ):
        await phone.far_side_finishes()
        await say(text)
    await phone.until_ended(within_s=20)


async def cut_off(phone: Phone, say: Say) -> None:
    """Interrupt the greeting by speaking, a question by a key; then the line drops."""
    await phone.far_side_begins(within_s=10)
    await pause(1.5)
    await say("I'd like to book an appointment")
    await phone.far_side_begins(within_s=10)
    await pause(0.5)
    await phone.press("2")
    await phone.far_side_finishes()
    await say("on monday")
    await phone.far_side_finishes()
    await phone.vanish()
    await pause(4.0)  # until they call back; the gateway has noticed the dead line by then


async def called_back(phone: Phone, say: Say) -> None:
    """The same caller again, a little later: greeted as a return, goes on at the open question."""
    for text in ("in the morning", "yes"):
        await phone.far_side_finishes()
        await say(text)
    await phone.until_ended(within_s=20)


CALLS: dict[str, tuple[str, Callable[[Phone, Say], Awaitable[None]]]] = {
    "booking": ("4930100", booking),
    "cut-off": ("4930200", cut_off),
    "called-back": ("4930200", called_back),
}
"""By the bundle's name: the caller's number, and what they do."""


async def record(names: list[str], data: Path) -> dict[str, Path]:
    """The named calls' bundles, each in a folder below `data`."""
    config = GatewayConfig(bind="127.0.0.1", sip_port=0, http_port=0, rtp_ports="26000-26099", data=str(data))
    gateway, ids = Gateway(config), {}
    await gateway.start()
    voice = build_tts("flite", {"inline": True, "voice": "rms"})
    try:
        async with PhoneLine() as line:
            for name in names:
                number, scenario = CALLS[name]
                phone = line.phone(number, lambda at_s, what: print(f"{at_s:8.2f}  {what}"))

                async def say(text: str, phone: Phone = phone) -> None:
                    phone.note(f"we say: {text}")
                    await phone.speak(await synthesise(voice, text))

                print(f"\n{name}")
                await phone.dial(Target(f"sip:desk@127.0.0.1:{gateway.sip.port}"))
                ids[name] = list(gateway.desk.board)[-1].id
                await scenario(phone, say)
                await phone.hang_up()
            await gateway.drain()
    finally:
        await gateway.close()
    return {name: data / "calls" / call_id for name, call_id in ids.items()}


def main(names: list[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as data:
        recorded = asyncio.run(record(names or list(CALLS), Path(data)))
        for name, bundle in recorded.items():
            kept = BUNDLES / name
            shutil.rmtree(kept, ignore_errors=True)
            keep(bundle, kept)
            live = read_bundle(kept)
            print(f"\n{name}: replayed against the live call\n{against(live, replay_bundle(live)).render()}")
            update(kept, live, ReplayOptions())
            size = sum(file.stat().st_size for file in kept.rglob("*") if file.is_file())
            print(f"accepted; {size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
