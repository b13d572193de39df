"""`gateway call`: a caller for the command line, to try a route without a phone. Prints a timeline."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from gateway.app.callees import Callee, Target, TrunkTarget
from gateway.app.config import load
from gateway.app.outbound import line_options
from gateway.app.phone import CallRefused, Phone, PhoneLine
from gateway.app.trunk_config import Address, credentials
from gateway.core.errors import ConfigError
from gateway.ops.logs import configure
from gateway.providers.load import build_tts
from gateway.providers.wav import read_wav
from gateway.session.ports import TextToSpeech
from gateway.session.resample import to_8k
from gateway.sip.reach import literal

CALLER = "1001"


def dial(chosen: argparse.Namespace) -> int:
    """Only errors are logged: the timeline is what the user came for, and says what went wrong by itself."""
    configure("console", level="ERROR")
    return asyncio.run(_dial(chosen))


def note(at_s: float, what: str) -> None:
    print(f"{at_s:8.2f}  {what}", flush=True)


async def _dial(chosen: argparse.Namespace) -> int:
    recording = read_wav(chosen.play) if chosen.play else None
    callee, line = _through_trunk(chosen) if chosen.trunk else _straight(chosen)
    async with line:
        phone = line.phone(chosen.caller or ("" if chosen.trunk else CALLER), note)
        try:
            await phone.dial(callee, record=chosen.record)
        except CallRefused as refused:
            print(f"not connected: {refused} ({refused.why})", flush=True)
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


def _straight(chosen: argparse.Namespace) -> tuple[Callee, PhoneLine]:
    target = Target(chosen.uri)
    return target, PhoneLine(chosen.bind or ("127.0.0.1" if target.is_here else "0.0.0.0"))


def _through_trunk(chosen: argparse.Namespace) -> tuple[Callee, PhoneLine]:
    """By the trunk's own rules; without registering, as the gateway may have that account in use."""
    named = chosen.config or os.environ.get("GATEWAY_CONFIG")
    config = load(Path(named) if named else None, os.environ, {})
    trunk = next((one for one in config.trunk if one.name == chosen.trunk), None)
    if trunk is None:
        known = ", ".join(one.name for one in config.trunk) or "none is configured"
        raise ConfigError(f"there is no trunk {chosen.trunk!r} (known: {known}); --config names the configuration")
    callee = TrunkTarget(trunk, chosen.uri, credentials(trunk, os.environ))
    bind = chosen.bind or ("127.0.0.1" if all(_is_here(one) for one in trunk.targets) else config.bind)
    return callee, PhoneLine(bind, options=line_options(config), dns_servers=config.dns_servers)


def _is_here(address: Address) -> bool:
    host = literal(address.host)
    return host is not None and host.is_loopback


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
