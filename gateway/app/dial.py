"""`gateway call`: a caller for the command line, to try a route without a phone. Prints a timeline."""

from __future__ import annotations

import argparse
import asyncio

from gateway.app.phone import CallRefused, Phone, PhoneLine, Target
from gateway.core.errors import ConfigError
from gateway.ops.logs import configure
from gateway.providers.load import build_tts
from gateway.providers.wav import read_wav
from gateway.session.ports import TextToSpeech
from gateway.session.resample import to_8k


def dial(chosen: argparse.Namespace) -> int:
    """Only warnings are logged: the timeline is what the user came for."""
    configure("console", level="WARNING")
    return asyncio.run(_dial(chosen))


def note(at_s: float, what: str) -> None:
    print(f"{at_s:8.2f}  {what}", flush=True)


async def _dial(chosen: argparse.Namespace) -> int:
    target = Target(chosen.uri)
    recording = read_wav(chosen.play) if chosen.play else None
    async with PhoneLine(chosen.bind) as line:
        phone = line.phone(chosen.caller, note)
        try:
            await phone.dial(target, record=chosen.record)
        except CallRefused as refused:
            note(0.0, f"not connected: {refused}")
            return 1
        try:
            async with asyncio.timeout(chosen.duration):
                await _talk(phone, chosen, recording)
                await phone.until_ended(within_s=chosen.duration)
        except TimeoutError:
            note(chosen.duration, "time is up")
        await phone.hang_up()
        _print_stats(phone)
    return 0


async def _talk(phone: Phone, chosen: argparse.Namespace, recording: bytes | None) -> None:
    if recording is not None:
        await phone.speak(recording)
    if chosen.dtmf:
        await phone.far_side_finishes(within_s=10.0)
        await phone.press(chosen.dtmf)
    if chosen.say:
        tts = build_tts("flite", {"voice": chosen.voice})
        try:
            for text in chosen.say:
                await phone.far_side_finishes()
                phone.note(f"we say: {text}")
                await phone.speak(await synthesise(tts, text))
        finally:
            await tts.close()


async def synthesise(tts: TextToSpeech, text: str) -> bytes:
    """The whole of `text` as 8 kHz PCM."""
    pcm = b"".join([chunk.pcm async for chunk in tts.speak(text)])
    if not pcm:
        raise ConfigError(f"the voice made no sound of {text!r}")
    return to_8k(pcm, tts.sample_rate)


def _print_stats(phone: Phone) -> None:
    stats = phone.stats
    if stats is not None:
        mos = f", MOS {stats.mos:.2f}" if stats.mos is not None else ""
        print(
            f"received {stats.packets_received} packets, lost {stats.packets_lost}, "
            f"sent {stats.packets_sent}, jitter {stats.jitter_ms:.1f} ms{mos}"
        )
