"""The demonstration: a synthetic caller books an appointment, interrupts, loses the line, calls back, is resumed.

    python -m examples.demo [--data DIR]

Everything is real but the caller's lips: SIP and RTP over loopback sockets, speech recognition, synthesis, the
session store. Exits with 1 when any step did not happen.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import structlog

from gateway.app.config import GatewayConfig
from gateway.app.dial import synthesise
from gateway.app.gateway import Gateway
from gateway.app.phone import Phone, PhoneLine, Target
from gateway.call.live import LiveCall
from gateway.core import events as e
from gateway.providers.load import build_tts
from gateway.session.ports import TextToSpeech

REDIAL_AFTER_S = 4.0
CALLER, BOT_VOICE, CALLER_VOICE = "5550101", "slt", "rms"


class Timeline:
    """Prints what happens as it happens, and keeps it for the final check."""

    def __init__(self) -> None:
        self.events: list[e.AnyEvent] = []
        self._texts: dict[tuple[str, int], str] = {}
        self._zero: float | None = None
        self._turn_over_at = 0.0

    def watch(self, call: LiveCall, event: e.AnyEvent) -> None:
        self.events.append(event)
        line = self._line(event)
        if line is not None:
            self.say(event.at, *line)

    def say(self, at: float, who: str, what: str) -> None:
        self._zero = at if self._zero is None else self._zero
        print(f"{at - self._zero:8.2f}  {who:<8} {what}", flush=True)

    def _line(self, event: e.AnyEvent) -> tuple[str, str] | None:
        match event:
            case e.CallStarted(called=called, route=route):
                return "gateway", f"call to {called}, route {route}"
            case e.SessionStarted(session=session):
                return "gateway", f"new session {session}"
            case e.SessionResumed(session=session, step=step, away_s=away_s):
                return "gateway", f"session {session} resumed at {step} after {away_s:.1f} s"
            case e.UtteranceSynthesised(call=call, clip=clip, text=text):
                self._texts[call, clip] = text
            case e.UtteranceStarted(at=at, call=call, clip=clip):
                waited = f"   [{(at - self._turn_over_at) * 1000:.0f} ms after the turn]" if self._turn_over_at else ""
                self._turn_over_at = 0.0
                return "bot", f"{self._texts.get((call, clip), '...')}{waited}"
            case e.UtterancePlayed(complete=False, heard=heard) if heard:
                return "bot", f"... cut off; heard: {heard!r}"
            case e.PlaybackPaused():
                return "gateway", "playback paused: is this an interruption?"
            case e.BargedIn(by=by):
                return "caller", f"interrupts (decided by {by})"
            case e.FalseAlarm():
                return "gateway", "false alarm, playback goes on"
            case e.UserTurnEnded(at=at, text=text, digits=digits, silent=silent):
                self._turn_over_at = at
                return ("caller", text or digits or "(not understood)") if not silent else ("caller", "(silence)")
            case e.DialogueCompleted(outcome=outcome, data=data):
                return "gateway", f"dialogue completed: {outcome} {data}"
            case e.CallEnded(reason=reason, by=by, duration_s=duration_s):
                return "gateway", f"call ended: {reason} by {by} after {duration_s:.1f} s"
        return None

    def seen(self, kind: type[e.Event]) -> list[e.Event]:
        return [event for event in self.events if isinstance(event, kind)]


class Caller:
    """The synthetic caller: a phone and a voice."""

    def __init__(self, phone: Phone, voice: TextToSpeech) -> None:
        self.phone, self._voice = phone, voice

    async def say(self, text: str) -> None:
        self.phone.note(f"says: {text}")
        await self.phone.speak(await synthesise(self._voice, text))

    async def answer(self, text: str) -> None:
        """Hear the bot out, then say it."""
        if not await self.phone.far_side_finishes(quiet_s=1.0, within_s=30.0):
            raise Missed(f"the bot did not come to an end before {text!r}")
        await self.say(text)

    async def interrupt(self, text: str) -> None:
        """Speak while the bot does."""
        if not self.phone.far_side_talks and not await self.phone.far_side_begins(within_s=10.0):
            raise Missed("the bot did not speak, nothing to interrupt")
        await asyncio.sleep(0.8)
        await self.say(text)


class Missed(Exception):
    """A step of the demonstration did not happen."""


async def first_call(caller: Caller) -> None:
    await caller.answer("I would like to book an appointment")
    await caller.interrupt("a haircut please")
    await caller.phone.far_side_finishes(quiet_s=1.0)
    await caller.phone.vanish()
    await asyncio.sleep(REDIAL_AFTER_S)


async def second_call(caller: Caller) -> None:
    await caller.answer("on Thursday")
    await caller.answer("in the morning")
    await caller.answer("yes")
    if not await caller.phone.until_ended(within_s=20.0):
        raise Missed("the bot did not end the call after the goodbye")


async def demonstrate(data: Path) -> int:
    timeline = Timeline()
    gateway = Gateway(
        GatewayConfig(
            bind="127.0.0.1", sip_port=0, http_port=0, rtp_ports="42000-42199", data=str(data),
            tts={"kind": "flite", "voice": BOT_VOICE},
        )
    )  # fmt: skip
    gateway.desk.watchers.append(timeline.watch)
    await gateway.start()
    voice = build_tts("flite", {"voice": CALLER_VOICE})
    fault = ""
    try:
        async with PhoneLine() as line:
            target = Target(f"sip:desk@127.0.0.1:{gateway.sip.port}")
            for part in (first_call, second_call):
                phone = line.phone(CALLER, lambda at, what: None)
                await phone.dial(target)
                await part(Caller(phone, voice))
    except Missed as missed:
        fault = str(missed)
    finally:
        await gateway.close()
        await voice.close()
    return report(timeline, data, fault)


def report(timeline: Timeline, data: Path, fault: str) -> int:
    booked = [event for event in timeline.events if isinstance(event, e.DialogueCompleted)]
    steps = {
        "the bot was interrupted": bool(timeline.seen(e.BargedIn)),
        "the second call resumed the session": bool(timeline.seen(e.SessionResumed)),
        "the appointment was booked": any(event.outcome == "booked" for event in booked),
        "both calls were closed": len(timeline.seen(e.CallEnded)) == 2,
    }
    print()
    for step, happened in steps.items():
        print(f"  {'yes' if happened else 'NO '}  {step}")
    if fault:
        print(f"  NO   {fault}")
    print(f"\nRecordings: {data / 'calls'}\nSessions:   {data / 'sessions.db'}")
    return 0 if all(steps.values()) and not fault else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="where recordings and sessions go (a new temporary folder)")
    data = parser.parse_args().data or Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    return asyncio.run(demonstrate(data))


if __name__ == "__main__":
    sys.exit(main())
